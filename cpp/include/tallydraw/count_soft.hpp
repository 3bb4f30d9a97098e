// Soft counts of features of few codes: a row adds the weight of each class to one cell of every feature. Eight
// features are lanes; the sums of each code and of some classes stay in registers while rows go by, and of a row's
// weights each is added under the mask of the features that have the code. Only where vectors have masks: others would
// add twice as much.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tallydraw/bit_columns.hpp"
#include "tallydraw/class_lanes.hpp"
#include "tallydraw/count_tiles.hpp"

namespace tallydraw::TALLYDRAW_ISA {

#if defined(__AVX512F__)

constexpr index soft_codes = 4;       // of a feature, at most
constexpr index soft_lanes = 8;       // features side by side
constexpr index soft_classes = 8;     // at a time, at most
constexpr index soft_registers = 24;  // of sums

/// Whether features [j0, j1) of so many rows are worth it: each of few combined codes.
inline bool are_soft(const structure_view& s, index j0, index j1, index rows) {
  for (index j = j0; j < j1; ++j)
    if (lane_rows(s, j) > soft_codes + 1) return false;
  return rows >= 64 && j1 - j0 >= soft_lanes / 2;
}

/// sums[z][m][l] += weights[r * k + m] where bit l of masks[z][r * tile_width / 8] is set, in order of the rows.
template <int Codes, int Classes>
inline void add_masked(const std::uint8_t* masks, index rows, const double* weights, index k, double* sums) {
  __m512d sum[Codes][Classes];
  for (int z = 0; z < Codes; ++z)
    for (int m = 0; m < Classes; ++m) sum[z][m] = _mm512_loadu_pd(sums + (z * Classes + m) * soft_lanes);
  for (index r = 0; r < rows; ++r, weights += k, masks += tile_width / soft_lanes) {
    __mmask8 met[Codes];
    for (int z = 0; z < Codes; ++z) met[z] = masks[z * rows_at_once * (tile_width / soft_lanes)];
    for (int m = 0; m < Classes; ++m) {
      const __m512d weight = _mm512_set1_pd(weights[m]);
      for (int z = 0; z < Codes; ++z) sum[z][m] = _mm512_mask_add_pd(sum[z][m], met[z], sum[z][m], weight);
    }
  }
  for (int z = 0; z < Codes; ++z)
    for (int m = 0; m < Classes; ++m) _mm512_storeu_pd(sums + (z * Classes + m) * soft_lanes, sum[z][m]);
}

/// f(n) for n in [1, Most], as a type.
template <int Most, class F>
inline void with_constant(index n, F&& f) {
  if constexpr (Most > 1)
    if (n < Most) return with_constant<Most - 1>(n, f);
  f(std::integral_constant<int, Most>{});
}

/// Adds the weights of a tile of at most rows_at_once rows, [rows, k] of the classes, to the class lanes of features
/// j0 … j0 + width - 1.
TALLYDRAW_APART inline void add_soft(const structure_view& s, index j0, const std::uint8_t* tile, index rows,
                                     index width, const double* weights, index k, const index* lane_offsets,
                                     double* lanes) {
  constexpr index groups = tile_width / soft_lanes;
  std::uint8_t masks[soft_codes * rows_at_once * groups];  // [code, row, group]
  index codes = 1;
  for (index j = j0; j < j0 + width; ++j) codes = lane_rows(s, j) - 1 > codes ? lane_rows(s, j) - 1 : codes;
  for (index r = 0; r < rows; ++r)
    for (index z = 0; z < codes; ++z) {
      const std::uint64_t met = bits_equal_to(tile + r * width, static_cast<std::uint8_t>(z));
      std::memcpy(masks + (z * rows_at_once + r) * groups, &met, sizeof met);
    }
  const index at_once = soft_registers / codes < soft_classes ? soft_registers / codes : soft_classes;
  const index parts = (k + at_once - 1) / at_once;
  for (index g = 0; g * soft_lanes < width; ++g)
    for (index part = 0; part < parts; ++part) {
      const index c0 = k * part / parts, n = k * (part + 1) / parts - c0;
      const index first = j0 + g * soft_lanes, last = first + soft_lanes < j0 + width ? first + soft_lanes : j0 + width;
      double sums[soft_codes * soft_classes * soft_lanes] = {};
      const auto each_cell = [&](auto visit) {  // (private, public)
        for (index j = first; j < last; ++j) {
          const index z_end = lane_rows(s, j) - 1;
          for (index c = c0; c < c0 + n; ++c) {
            const index begin = c / widest_part * widest_part, lane = c - begin;
            const index lane_width = part_width(k - begin);
            double* const cells = lanes + lane_offsets[j] + begin * (z_end + 1) + lane;
            for (index z = 0; z < z_end; ++z)
              visit(sums[(z * n + c - c0) * soft_lanes + j - first], cells[z * lane_width]);
          }
        }
      };
      each_cell([](double& own, double& cell) { own = cell; });
      with_constant<soft_codes>(codes, [&](auto some_codes) {
        with_constant<soft_classes>(n, [&](auto some_classes) {
          constexpr int Z = decltype(some_codes)::value, M = decltype(some_classes)::value;
          if constexpr (Z * M <= soft_registers) add_masked<Z, M>(masks + g, rows, weights + c0, k, sums);
        });
      });
      each_cell([](double& own, double& cell) { cell = own; });
    }
}

#else

inline bool are_soft(const structure_view&, index, index, index) { return false; }
inline void add_soft(const structure_view&, index, const std::uint8_t*, index, index, const double*, index,
                     const index*, double*) {}

#endif

}  // namespace tallydraw::TALLYDRAW_ISA
