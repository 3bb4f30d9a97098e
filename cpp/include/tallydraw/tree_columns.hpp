// Blocks of rows as columns of codes, where every context is at most one feature; and numbers of cells that say what is
// observed behind a missing one:
//
//   number of a cell   means
//   x < C_j            observed
//   C_j                missing, nothing observed behind it (silent)
//   C_j + 1 + m        missing; m numbers the numbers of its children, in structure.order, the last one fastest,
//                      child c having radix[c] of them
//   the largest        missing, and one of these numbers has no place
//
// Feature j has logs of what a cell adds (totals_view) for each code of its parent, and its numbers fastest: observed
// cells and missing ones are looked up alike.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "tallydraw/bit_columns.hpp"
#include "tallydraw/codes.hpp"
#include "tallydraw/log_prob_columns.hpp"
#include "tallydraw/transpose.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// What the kernels are given of the tables: flat probabilities; the same with table rows, then classes innermost; logs
/// of observed cells, and of these and totals.
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
  for (; word != 0; word &= word - 1) f(lowest_bit(word));
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

/// Combined codes, and numbers of what is observed behind a missing cell: one step wider than plain codes, which
/// tallydraw._totals keeps to.
template <class U>
using combined_code = twice_as_wide<U>;

/// The logs that cells of feature j add: `width` codes under each code of its parent, `zero` of them in all, and past
/// these nothing to add.
struct column_table {
  const double* logs;
  index width;
  index zero;
};
inline column_table table_of(const encoder& e, const scored_tables& tables, bool with_totals, index j) {
  const index contexts = e.s.n_contexts[j];
  const totals_view& totals = tables.totals;
  if (with_totals) return {totals.logs + totals.offsets[j], totals.width[j], contexts * totals.width[j]};
  return {tables.logs + tables.offsets[j], e.s.n_categories[j], contexts * e.s.n_categories[j]};
}

/// Some strips of a block: what is found out of rows is found for some of them first.
struct strip_range {
  index begin;
  index end;
};

/// Numbers the cells of some strips. Bits of cells that have none are set in none[d][strips]. Returns whether some are.
template <class U, class I = combined_code<U>>
inline bool number_columns(const encoder& e, children_view children, const scored_tables& tables,
                           const code_columns<U>& z, strip_range some, I* numbers, std::uint64_t* none) {
  constexpr I all = static_cast<I>(~I{0});
  bool some_none = false;
  const index begin_row = 64 * some.begin, rows = std::min(64 * some.end, z.rows) - begin_row;
  for (index i = e.s.d - 1; i >= 0; --i) {
    const index j = e.s.order[i];
    const U* const own = z.x + j * z.rows + begin_row;
    I* const to = numbers + j * z.rows + begin_row;
    std::uint64_t* const bits = none + j * z.strips;
    std::fill(bits + some.begin, bits + some.end, std::uint64_t{0});
    const index first = children.begin[j], end = children.begin[j + 1];
    const I n = static_cast<I>(e.s.n_categories[j]);
    const bool tabulated = tables.totals.width[j] > e.s.n_categories[j] + 1;
    const auto column = [&](index at) { return numbers + children.child[at] * z.rows + begin_row; };
    const auto silent_of = [&](index at) { return static_cast<I>(e.s.n_categories[children.child[at]]); };
    const auto radix_of = [&](index at) {
      return static_cast<I>(tabulated ? tables.totals.radix[children.child[at]] : 0);
    };
    I any = 0;
    const auto choose = [&](index r, I place, I fits, I loud) {
      const I x = static_cast<I>(own[r]), gone = all_if<I>(x >= n);
      const I number = static_cast<I>(static_cast<I>(n + 1 + place) | static_cast<I>(~fits));
      const I missing = static_cast<I>((number & loud) | (n & static_cast<I>(~loud)));
      any = static_cast<I>(any | (gone & loud & static_cast<I>(~fits)));
      to[r] = static_cast<I>((x & static_cast<I>(~gone)) | (missing & gone));
    };
    if (first == end) {
      for (index r = 0; r < rows; ++r) to[r] = static_cast<I>(own[r]);
    } else if (end - first == 1) {
      const I* const v = column(first);
      const I silent = silent_of(first), radix = radix_of(first);
      for (index r = 0; r < rows; ++r) choose(r, v[r], all_if<I>(v[r] < radix), all_if<I>(v[r] != silent));
    } else {
      I place[most_column_rows], fits[most_column_rows], loud[most_column_rows];
      for (index at = first; at < end; ++at) {
        const I* const v = column(at);
        const I silent = silent_of(at), radix = radix_of(at);
        if (at == first) {
          for (index r = 0; r < rows; ++r) {
            place[r] = v[r];
            fits[r] = all_if<I>(v[r] < radix);
            loud[r] = all_if<I>(v[r] != silent);
          }
          continue;
        }
        for (index r = 0; r < rows; ++r) {
          place[r] = static_cast<I>(static_cast<decltype(I{} + 0u)>(place[r]) * radix + v[r]);
          fits[r] = static_cast<I>(fits[r] & all_if<I>(v[r] < radix));
          loud[r] = static_cast<I>(loud[r] | all_if<I>(v[r] != silent));
        }
      }
      for (index r = 0; r < rows; ++r) choose(r, place[r], fits[r], loud[r]);
    }
    if (any == 0) continue;
    some_none = true;
    for (index at = 0; at < rows; at += 64)
      bits[some.begin + at / 64] = bits_where(to + at, std::min<index>(64, rows - at), all);
  }
  return some_none;
}

/// Bits of missing cells behind which something is observed, in heard[d][strips], of some strips.
template <class U>
inline void find_heard(const encoder& e, children_view children, const code_columns<U>& z, strip_range some,
                       std::uint64_t* heard) {
  const index strips = z.strips;
  for (index i = e.s.d - 1; i >= 0; --i) {
    const index j = e.s.order[i];
    std::uint64_t* const own = heard + j * strips;
    for (index strip = some.begin; strip < some.end; ++strip) own[strip] = 0;
    for (index at = children.begin[j]; at < children.begin[j + 1]; ++at) {
      const std::uint64_t *const gone = z.gone + children.child[at] * strips, *const below = heard + (gone - z.gone);
      for (index strip = some.begin; strip < some.end; ++strip) own[strip] |= ~gone[strip] | below[strip];
    }
    for (index strip = some.begin; strip < some.end; ++strip) own[strip] &= z.gone[j * strips + strip];
  }
}

/// What the totals without a number need.
struct needs {
  index totals;    // so many there are
  index messages;  // of missing cells to missing parents
};

/// Bits of totals without a number in unknown[d][strips], and of the missing cells that they need, these among them, in
/// needed[d][strips], of some strips. `loud` are the bits of missing cells without a number.
template <class U>
inline needs find_unknown(const encoder& e, const code_columns<U>& z, strip_range some, const std::uint64_t* loud,
                          const std::uint64_t* heard, std::uint64_t* unknown, std::uint64_t* needed) {
  const index strips = z.strips;
  needs n{};
  for (index i = 0; i < e.s.d; ++i) {
    const index j = e.s.order[i], parent = e.parent != nullptr ? e.parent[j] : j;
    const index own = j * strips, above = parent * strips;
    std::uint64_t any = 0;
    for (index strip = some.begin; strip < some.end; ++strip) {
      const std::uint64_t under = parent == j ? 0 : z.gone[above + strip];
      const std::uint64_t top = loud[own + strip] & ~under;
      const std::uint64_t need = parent == j ? 0 : heard[own + strip] & under & needed[above + strip];
      unknown[own + strip] = top;
      needed[own + strip] = top | need;
      any |= top | need;
    }
    if (any == 0) continue;
    for (index strip = some.begin; strip < some.end; ++strip) {
      n.totals += popcount(unknown[own + strip]);
      n.messages += popcount(needed[own + strip] & ~unknown[own + strip]);
    }
  }
  return n;
}

/// The combined codes of a feature from its numbers and its parent's, of `contexts` categories; null: it has none.
template <class N, class I>
inline void combine_numbers(const N* own, const N* above, index contexts, const column_table& table, index rows,
                            I* combined) {
  const I width = static_cast<I>(table.width), zero = static_cast<I>(table.zero), n_above = static_cast<I>(contexts);
  if (above == nullptr) {
    for (index r = 0; r < rows; ++r) combined[r] = static_cast<I>(own[r]) < width ? static_cast<I>(own[r]) : width;
    return;
  }
  using W = decltype(I{} + 0u);
  for (index r = 0; r < rows; ++r) {
    const I x = static_cast<I>(own[r]), a = static_cast<I>(above[r]);
    const I known = all_if<I>((x < width) & (a < n_above));
    combined[r] = static_cast<I>((static_cast<I>(W{a} * width + x) & known) | (zero & static_cast<I>(~known)));
  }
}

}  // namespace tallydraw::TALLYDRAW_ISA
