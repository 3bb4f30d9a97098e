// Blocks of rows as columns of codes that say what is observed behind a missing cell, where every context is at most
// one feature:
//
//   code of feature j        means
//   x < C_j                  observed
//   C_j                      missing, nothing observed behind it (silent)
//   C_j + 1 + m              missing; m numbers the codes of its children, in structure.order, the last one fastest,
//                            child c having radix[c] of them
//   the largest of the type  missing, and one of these codes has no place
//
// Where the totals of a block are made of messages at once (messages_packed.hpp), C_j + 1 is a missing cell that sends
// one to a missing parent, whatever is behind it.
//
// Feature j has logs of totals (totals_view) for each code of its parent, and m fastest.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "tallydraw/bit_columns.hpp"
#include "tallydraw/codes.hpp"
#include "tallydraw/transpose.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// What the kernels are given of the tables: flat probabilities; the same with table rows, then classes innermost; logs
/// of observed cells and of totals.
struct scored_tables {
  const double* probabilities;
  bool plain;
  const double* cells;
  const double* logs;
  const index* offsets;
  totals_view totals;
};

/// The children of feature j, in structure.order: child[begin[j]] … child[begin[j + 1] - 1].
struct children_view {
  const index* begin;
  const index* child;
};

inline children_view make_children(const encoder& e, index* words) {
  const structure_view& s = e.s;
  const index d = s.d;
  index* const begin = words;
  index* const child = words + d + 1;
  for (index j = 0; j <= d; ++j) begin[j] = 0;
  const auto parent = [&](index j) { return s.context_begin[j + 1] > s.context_begin[j] ? e.parent[j] : -1; };
  for (index j = 0; j < d; ++j)
    if (parent(j) >= 0) ++begin[parent(j) + 1];
  for (index j = 0; j < d; ++j) begin[j + 1] += begin[j];
  for (index i = 0; i < d; ++i)  // begin[p] moves on to where the children of p + 1 begin
    if (const index j = s.order[i]; parent(j) >= 0) child[begin[parent(j)]++] = j;
  for (index j = d; j > 0; --j) begin[j] = begin[j - 1];
  begin[0] = 0;
  return {begin, child};
}

/// A block of rows as columns: the code of row r and feature j is x[j * rows + r], and bit r % 64 of
/// gone[j * strips + r / 64] says whether it is missing.
template <class U>
struct code_columns {
  U* x;
  std::uint64_t* gone;
  index rows;
  index strips;
};

/// f(i) for every bit of a word that is set, ascending.
template <class F>
inline void for_bits(std::uint64_t word, F&& f) {
  for (; word != 0; word &= word - 1) f(popcount((word & (0 - word)) - 1));
}

/// Bit i is set where x[i] == v, i < n <= 64.
template <class U>
inline std::uint64_t bits_where(const U* x, index n, U v) {
  if constexpr (sizeof(U) == 1)
    if (n == 64) return bits_equal_to(x, v);
  std::uint8_t met[64] = {};
  for (index i = 0; i < n; ++i) met[i] = x[i] == v;
  return bits_equal_to(met, 1);
}

/// n rows of plain codes as columns of `rows`, a power of two: both buffers have room for as many, and `gone` for a word
/// a feature and strip. Codes past the n-th row are zeros.
template <class U>
inline code_columns<U> make_code_columns(const encoder& e, U* codes, index n, U* turned, index rows,
                                         std::uint64_t* gone) {
  const index d = e.s.d, strips = (rows + 63) / 64;
  std::memset(codes + n * d, 0, static_cast<std::size_t>((rows - n) * d) * sizeof(U));
  U* const x = transpose(codes, turned, rows, d) == turned ? turned : codes;
  const auto missing = [&](index j, index strip) {
    return bits_where(x + j * rows + 64 * strip, rows < 64 ? rows : 64, static_cast<const U*>(e.slot)[j]);
  };
  for (index j = 0; j < d; ++j)
    for (index strip = 0; strip < strips; ++strip) gone[j * strips + strip] = e.slots ? missing(j, strip) : 0;
  return {x, gone, rows, strips};
}

/// A child of a feature: its codes, C where it is silent (-1 where that could also be the largest of the type: then
/// messages tell), how many of its codes count, and its probabilities.
template <class U>
struct child_column {
  const U* x;
  index silent;
  index radix;
  const double* cells;
};

/// What is observed behind a missing cell.
struct behind {
  bool silent;  // nothing
  index place;  // its number; -1 where it has none
};

/// The children of one feature, ready to be looked at for many rows.
template <class U>
struct family {
  const child_column<U>* child;
  index n;
  bool tabulated;

  behind look(index r) const {
    if (n == 1) {
      const index v = child->x[r];
      return {v == child->silent, v < child->radix ? v : -1};
    }
    bool silent = true, fits = tabulated;
    index place = 0;
    for (index i = 0; i < n; ++i) {
      const index v = child[i].x[r];
      silent &= v == child[i].silent;
      fits &= v < child[i].radix;
      place = fits ? place * child[i].radix + v : -1;
    }
    return {silent, place};
  }

  /// Whether no message comes from further than the children.
  bool near(index r) const {
    bool is = true;
    for (index i = 0; i < n; ++i) is &= static_cast<index>(child[i].x[r]) <= child[i].silent;
    return is;
  }
};

template <class U>
inline family<U> make_family(const encoder& e, children_view children, const scored_tables& tables,
                             const code_columns<U>& z, index j, child_column<U>* columns) {
  const totals_view& totals = tables.totals;
  constexpr index most = std::numeric_limits<U>::max();
  const bool tabulated = totals.offsets != nullptr && totals.offsets[j + 1] > totals.offsets[j];
  index n = 0;
  for (index i = children.begin[j]; i < children.begin[j + 1]; ++i) {
    const index c = children.child[i], size = e.s.n_categories[c];
    const index radix = !tabulated ? 0 : totals.radix[c] < most ? totals.radix[c] : most;
    columns[n++] = {z.x + c * z.rows, size < most ? size : -1, radix, tables.cells + tables.offsets[c]};
  }
  return {columns, n, tabulated};
}

/// Gives missing cells under missing ones, in strips [begin, end), the codes that say what is behind them. Returns how
/// many there are of which no code tells it.
template <class U>
inline index number_behind(const encoder& e, children_view children, const scored_tables& tables,
                           const code_columns<U>& z, index begin, index end, child_column<U>* columns) {
  constexpr index most = std::numeric_limits<U>::max();
  index unknown = 0;
  if (e.parent == nullptr) return unknown;
  for (index i = e.s.d - 1; i >= 0; --i) {
    const index j = e.s.order[i], parent = e.parent[j], n = e.s.n_categories[j];
    if (parent == j || children.begin[j] == children.begin[j + 1]) continue;
    const family<U> own = make_family(e, children, tables, z, j, columns);
    for (index strip = begin; strip < end; ++strip)
      for_bits(z.gone[j * z.strips + strip] & z.gone[parent * z.strips + strip], [&](index bit) {
        const index r = 64 * strip + bit;
        const behind seen = own.look(r);
        const index code = seen.silent ? n : seen.place < 0 ? most : n + 1 + seen.place;
        const bool known = code < most && (seen.silent || code < tables.totals.radix[j]);
        z.x[j * z.rows + r] = static_cast<U>(known ? code : most);
        unknown += !known;
      });
  }
  return unknown;
}

}  // namespace tallydraw::TALLYDRAW_ISA
