// Scores of rows in blocks, as columns of codes: where features have parents all over the row, combined codes are made of
// whole columns. Sums are taken feature by feature, so each row's from left to right.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tallydraw/attributes.hpp"
#include "tallydraw/codes.hpp"
#include "tallydraw/doubles.hpp"
#include "tallydraw/log_prob_lookup.hpp"
#include "tallydraw/messages_by_class.hpp"
#include "tallydraw/transpose.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Most rows of a block.
constexpr index most_column_rows = 1024;

/// Rows of a block, a power of two: their codes stay in the second-level cache, their sums in the first, but enough of
/// them share what is done once a feature. Of few rows each thread has some.
inline index column_rows(const structure_view& s, index n, int threads) {
  const index by_codes = (index{1} << 17) / (s.d + 1), by_sums = (index{1} << 11) / s.n_classes;
  const index wanted = std::min(most_column_rows, std::min(by_codes, by_sums));
  const index least = std::min<index>(64, (index{1} << 20) / (s.d + 1));
  const index most = std::min(std::max(wanted, least), 2 * ((n + threads - 1) / threads) - 1);
  index rows = 1;
  while (2 * rows <= most) rows *= 2;
  return rows;
}

/// Combined codes of feature j, which has one parent, from its column and its parent's; the slot where either is missing.
template <class U>
inline void combine_columns(const encoder& e, index j, const U* own, const U* above, index rows, U* combined) {
  const U* const slot = static_cast<const U*>(e.slot);
  const U n = slot[j], n_above = slot[e.parent[j]], whole = static_cast<const U*>(e.whole)[j];
  for (index r = 0; r < rows; ++r) combined[r] = combine_two(above[r], n_above, n, own[r], n, whole);
}

/// Entries of a table that columns of codes look up in registers.
#if defined(TALLYDRAW_WIDE_LOOKUP)
constexpr index most_looked_up = 4 * lookup_size;

/// sums[r] += table[z[r]], r < rows, from a table of n entries that Parts registers hold.
template <int Parts, class U>
inline void look_up_column(const U* z, index rows, const double* table, index n, double* sums) {
  double entries[Parts * lookup_size] = {};
  for (index i = 0; i < n; ++i) entries[i] = table[i];
  wide_double held[Parts];
  for (int p = 0; p < Parts; ++p) held[p] = wide_double_load(entries + p * lookup_size);
  for (index r = 0; r < rows; r += lookup_size)
    wide_double_store(wide_double_add(wide_double_load(sums + r), wide_lookup<Parts>(held, wide_codes(z + r))),
                      sums + r);
}
#else
constexpr index most_looked_up = 0;
#endif

/// Features added at once by add_columns.
constexpr index most_added = 4;

/// sums[r * K + class] += tables[f][z[f][r] * K + class], r < rows, for f < F from left to right.
template <int F, class U>
TALLYDRAW_APART inline void add_columns(const U* const* z, const double* const* tables, index rows, index k,
                                        double* sums) {
  for (index c = 0, w = 0; c < k; c += w) {
    w = classes_at_once(k - c);
    with_classes(w, [&](auto width) {
      constexpr int W = decltype(width)::value;
      const auto add = [=](auto apart, index first) {
        const U* codes[F];
        const double* from[F];
        for (int f = 0; f < F; ++f) codes[f] = z[f], from[f] = tables[f] + first;
        double* to = sums + first;
        for (index r = 0; r < rows; ++r, to += apart) {
          doubles<W> sum;
          sum.load(to);
          for (int f = 0; f < F; ++f) sum.add(from[f] + static_cast<index>(codes[f][r]) * apart);
          sum.store(to);
        }
      };
      if (k == W)
        add(std::integral_constant<index, W>{}, 0);
      else
        add(k, c);
    });
  }
}

/// sums[r * K + class] += table[z[r] * K + class], r < rows, from a table of n entries a class.
template <class U>
inline void add_column(const U* z, index rows, const double* table, [[maybe_unused]] index n, index k, double* sums) {
#if defined(TALLYDRAW_WIDE_LOOKUP)
  if constexpr (sizeof(U) <= 2)
    if (k == 1 && n <= most_looked_up && rows % lookup_size == 0) {
      if (n <= lookup_size) return look_up_column<1>(z, rows, table, n, sums);
      if (n <= 2 * lookup_size) return look_up_column<2>(z, rows, table, n, sums);
      return look_up_column<4>(z, rows, table, n, sums);
    }
#endif
  add_columns<1>(&z, &table, rows, k, sums);
}

/// Whether complete rows are scored by columns: one class or few, and contexts that are not simply the feature before,
/// but of rows of two features (measured).
template <class U>
inline bool by_columns(const encoder& e) {
  const index k = e.s.n_classes;
  return sizeof(U) <= 2 && e.contexts && e.parent != nullptr && (k == 1 || k == 2 || k == 4) && !(e.chain && e.s.d > 2);
}

/// As log_prob_features, of rows [row0, row1), at most column_rows of them; codes and other have room for as many, up to
/// a power of two. Lanes are of one part. Returns what was met.
template <class U>
inline unsigned score_columns(const encoder& e, index row0, index row1, const double* lanes, const index* lane_offsets,
                              const double* first, std::uint8_t* incomplete, U* codes, U* other, double* sums) {
  const index d = e.s.d, k = e.s.n_classes, m = row1 - row0;
  index block = 1;
  while (block < m) block *= 2;
  const unsigned met =
      visit_unsigned(e.x.type, [&](auto v) { return encode_plain<decltype(v)>(e, row0, row1, 0, d, codes); });
  if (met & met_missing) mark_incomplete(e, codes, m, 0, d, incomplete);
  std::memset(codes + m * d, 0, static_cast<std::size_t>((block - m) * d) * sizeof(U));  // rows that nobody reads
  const U* const x = transpose(codes, other, block, d);
  for (index r = 0; r < m; ++r)
    for (index c = 0; c < k; ++c) sums[r * k + c] = first[c];
  for (index j = 0; j < d; ++j) {  // left to right
    U combined[most_column_rows];
    const U* z = x + j * block;
    if (e.parent[j] != j) {
      combine_columns(e, j, z, x + e.parent[j] * block, m, combined);
      z = combined;
    }
    add_column(z, m, lanes + lane_offsets[j], lane_rows(e.s, j), k, sums);
  }
  return met;
}

}  // namespace tallydraw::TALLYDRAW_ISA
