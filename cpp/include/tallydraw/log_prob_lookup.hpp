// Logs of features with at most eight combined codes under few classes, by tables that lie in registers: one instruction
// looks up eight rows of one class, where the processor has one that does. Codes are turned into columns, 64 rows at a time; every row
// is still summed from left to right.
#pragma once

#include <cstdint>

#include "tallydraw/class_lanes.hpp"
#include "tallydraw/transpose.hpp"
#include "tallydraw/views.hpp"
#include "tallydraw/wide_lookup.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Entries of a table, the slot of missing cells among them where there are fewer codes; rows of a block.
constexpr index lookup_size = 8;
constexpr index lookup_rows = 64;

/// Past these many classes adding what is gathered is faster: one addition serves them all.
constexpr index lookup_classes = 4;

#if defined(TALLYDRAW_WIDE_LOOKUP)

/// Whether every table fits; fewer features are not worth their tables.
inline bool lookups_fit(const structure_view& s) {
  if (s.n_classes > lookup_classes) return false;
  for (index j = 0; j < s.d; ++j)
    if (s.n_contexts[j] * s.n_categories[j] > lookup_size) return false;
  return s.d >= 8;
}

/// Whether every table has room for its slot: otherwise rows with missing cells are not looked up.
inline bool slots_fit(const structure_view& s) {
  for (index j = 0; j < s.d; ++j)
    if (s.n_contexts[j] * s.n_categories[j] >= lookup_size) return false;
  return true;
}

/// 64-bit words of the tables.
inline index lookup_words(const structure_view& s) { return lookups_fit(s) ? s.d * s.n_classes * lookup_size : 0; }

/// tables[j][class][code] from class lanes, of one part; the slot's zero where it fits.
inline void fill_lookups(const structure_view& s, const double* lanes, const index* lane_offsets, double* tables) {
  const index width = part_width(s.n_classes);
  for (index j = 0; j < s.d; ++j) {
    const index entries = lane_rows(s, j);
    for (index c = 0; c < s.n_classes; ++c)
      for (index z = 0; z < lookup_size; ++z) *tables++ = z < entries ? lanes[lane_offsets[j] + z * width + c] : 0.0;
  }
}

/// The 64 rows of `columns` (d, 64) and W classes: out[row][class] = first[class] + their logs. Several groups of
/// eight rows share a table while it is in its register.
template <int W>
inline void look_up(const std::uint8_t* columns, index d, const double* tables, const double* first, double* out) {
  constexpr int groups_at_once = W <= 2 ? 8 : 4;
  for (index r = 0; r < lookup_rows; r += groups_at_once * lookup_size) {
    wide_double sum[groups_at_once][W];
    for (int g = 0; g < groups_at_once; ++g)
      for (int c = 0; c < W; ++c) sum[g][c] = wide_double_set(first[c]);
    for (index j = 0; j < d; ++j) {
      wide z[groups_at_once];
      for (int g = 0; g < groups_at_once; ++g) z[g] = wide_bytes(columns + j * lookup_rows + r + g * lookup_size);
      for (int c = 0; c < W; ++c) {
        const wide_double table = wide_double_load(tables + (j * W + c) * lookup_size);
        for (int g = 0; g < groups_at_once; ++g) sum[g][c] = wide_double_add(sum[g][c], wide_lookup(table, z[g]));
      }
    }
    for (int g = 0; g < groups_at_once; ++g)
      for (int c = 0; c < W; ++c) {
        double row[lookup_size];
        wide_double_store(sum[g][c], row);
        for (index i = 0; i < lookup_size; ++i) out[(r + g * lookup_size + i) * W + c] = row[i];
      }
  }
}

/// out (64, k) of 64 rows of combined codes (64, d). Overwrites the codes, and `other`, of the same size.
inline void look_up_rows(std::uint8_t* codes, std::uint8_t* other, index d, const double* tables, index k,
                         const double* first, double* out) {
  const std::uint8_t* const columns = transpose(codes, other, lookup_rows, d);
  switch (k) {
    case 1: return look_up<1>(columns, d, tables, first, out);
    case 2: return look_up<2>(columns, d, tables, first, out);
    case 3: return look_up<3>(columns, d, tables, first, out);
    default: return look_up<4>(columns, d, tables, first, out);
  }
}

#else

inline bool lookups_fit(const structure_view&) { return false; }
inline bool slots_fit(const structure_view&) { return false; }
inline index lookup_words(const structure_view&) { return 0; }
inline void fill_lookups(const structure_view&, const double*, const index*, double*) {}
inline void look_up_rows(std::uint8_t*, std::uint8_t*, index, const double*, index, const double*, double*) {}

#endif

}  // namespace tallydraw::TALLYDRAW_ISA
