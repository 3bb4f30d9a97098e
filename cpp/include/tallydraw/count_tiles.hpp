// How codes are counted, in tiles of rows or by columns of bytes: three strategies with the same result.
// A tile is `m` rows of `width` codes, `stride` apart; the code after a feature's last is the slot of missing cells.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tallydraw/bit_columns.hpp"
#include "tallydraw/prefetch.hpp"
#include "tallydraw/views.hpp"
#include "tallydraw/wide.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// A private count, emptied into the result before it can overflow: half the bytes stay nearer.
using small_count = std::uint16_t;
constexpr index most_small = UINT16_MAX;

/// Rows that are counted together, at most: what is made of a block of them (codes, bits, masks) stays in the cache.
constexpr index rows_at_once = 2048;
using row_number = std::uint16_t;  // of one of these
static_assert(rows_at_once - 1 <= UINT16_MAX);

/// Features side by side in a tile: as many as bytes in the widest vector register, one cache line.
constexpr index tile_width = 64;

/// Bytes side by side that are compared and added as one, and how many categories at a time keep their sums in registers.
#if defined(__GNUC__)
constexpr int lane_bytes = 8 * static_cast<int>(wide_lanes);
typedef std::uint8_t byte_lanes __attribute__((vector_size(lane_bytes)));
#else
constexpr int lane_bytes = 8;
struct byte_lanes {
  std::uint8_t lane[lane_bytes];
};
#endif
constexpr int most_at_once = wide_lanes >= 8 ? 8 : wide_lanes >= 4 ? 4 : 2;
/// Categories up to which comparisons in lanes that all are used cost less than increments (measured).
constexpr index lane_categories = lane_bytes >= 64 ? 48 : lane_bytes;

/// sums[i] += v[i] == code in every lane.
inline void count_equal(const byte_lanes& v, std::uint8_t code, byte_lanes& sums) {
#if defined(__GNUC__)
  sums -= reinterpret_cast<byte_lanes>(v == code);  // true is -1
#else
  for (int i = 0; i < lane_bytes; ++i) sums.lane[i] = static_cast<std::uint8_t>(sums.lane[i] + (v.lane[i] == code));
#endif
}

/// Few categories, in byte lanes: 64 features are compared with N categories from c on, and the bytes that are equal are
/// added. `rows` names up to 255 rows of the tile, so no byte overflows; 64 bytes are read from the start of a row, those
/// past the tile's width belong to nobody. counted[64 i + j] = how often feature j is c + i. Where Ask, every row asks
/// for some of what comes next.
template <int N, bool Ask>
inline void count_lanes(const std::uint8_t* tile, index stride, const row_number* rows, index n_rows, std::uint8_t c,
                        ahead& next, std::uint8_t* counted) {
  constexpr int parts = tile_width / lane_bytes;
  byte_lanes sums[N][parts] = {};
  for (index r = 0; r < n_rows; ++r) {
    const std::uint8_t* row = tile + rows[r] * stride;
    if constexpr (Ask) next.some();
    for (int p = 0; p < parts; ++p) {
      byte_lanes v;
      std::memcpy(&v, row + p * lane_bytes, sizeof v);
      for (int i = 0; i < N; ++i) count_equal(v, static_cast<std::uint8_t>(c + i), sums[i][p]);
    }
  }
  std::memcpy(counted, sums, sizeof sums);
}

/// Adds rows of few categories to the tables of `width` features, `apart` cells from each other, by byte lanes.
inline void count_by_lanes(const std::uint8_t* tile, index stride, const row_number* rows, index n_rows,
                           const index* n_categories, index width, index apart, ahead& next, small_count* table) {
  const index most = *std::max_element(n_categories, n_categories + width);
  for (index g = 0; g < n_rows; g += 255) {
    const index m = n_rows - g < 255 ? n_rows - g : 255;
    for (index c = 0, n = 0; c < most; c += n) {
      std::uint8_t counted[most_at_once * tile_width];
      const auto count = [&](auto at_once) {
        constexpr int N = decltype(at_once)::value;
        n = N;
        if (c == 0)
          count_lanes<N, true>(tile, stride, rows + g, m, 0, next, counted);
        else
          count_lanes<N, false>(tile, stride, rows + g, m, static_cast<std::uint8_t>(c), next, counted);
      };
      if (most - c <= 2 || most_at_once == 2)
        count(std::integral_constant<int, 2>{});
      else if (most - c <= 4 || most_at_once == 4)
        count(std::integral_constant<int, std::min(4, most_at_once)>{});
      else
        count(std::integral_constant<int, most_at_once>{});
      for (index i = 0; i < n; ++i)
        for (index j = 0; j < width; ++j)
          if (c + i < n_categories[j]) {
            small_count& cell = table[j * apart + c + i];
            cell = static_cast<small_count>(cell + counted[i * tile_width + j]);
          }
    }
  }
}

/// Comparisons and counts of 64 rows up to which bits are worth it (measured): none, where bits are made one by one.
#if defined(__x86_64__) || defined(_M_X64)
constexpr index most_bit_counts = 48;
#else
constexpr index most_bit_counts = 0;
#endif

/// classes[k * rows_at_once / 64 + w]: which of rows 64 w … 64 w + 63 of m are of class k; every one, where y is null.
inline void class_bits(const index* y, index m, index n_classes, std::uint64_t* classes) {
  constexpr index words = rows_at_once / 64;
  for (index i = 0; i < n_classes * words; ++i) classes[i] = y ? 0 : ~std::uint64_t{0};
  for (index r = 0; y && r < m; ++r) classes[y[r] * words + r / 64] |= std::uint64_t{1} << (r % 64);
}

/// Adds m <= rows_at_once bytes of a column of few categories to tables that are `apart` cells from class to class.
inline void count_by_bits(const std::uint8_t* column, index m, const std::uint64_t* classes, index n_classes,
                          index categories, index apart, small_count* table) {
  constexpr index words = rows_at_once / 64;
  std::uint64_t equal[words];
  const auto add = [](small_count& cell, index n) { cell = static_cast<small_count>(cell + n); };
  for (index c = 0; c < categories; ++c) {
    for (index w = 0; w < m / 64; ++w) equal[w] = bits_equal_to(column + 64 * w, static_cast<std::uint8_t>(c));
    for (index k = 0; k < n_classes; ++k) {
      index n = 0;
      for (index w = 0; w < m / 64; ++w) n += popcount(equal[w] & classes[k * words + w]);
      add(table[k * apart + c], n);
    }
  }
  for (index r = m / 64 * 64; r < m; ++r)
    for (index k = 0; k < n_classes; ++k)
      if (column[r] < categories && (classes[k * words + r / 64] >> (r % 64) & 1) != 0)
        add(table[k * apart + column[r]], 1);
}

/// Any number of categories: one increment a cell, in the tables of features `apart` cells from each other. Neighbouring
/// cells of a row are in different tables, so an increment seldom waits for the store of the one before it. A row's codes
/// lie `step` apart. Apart and Step are these two where they are known, else 0: an increment then is two instructions.
/// `asked_for` rows are named, of which n_rows are counted and those after them are brought near: none where rows lie in
/// the cache.
template <index Apart, index Step, class U>
inline void count_rows(const U* x, index stride, index step, const row_number* rows, index n_rows, index asked_for,
                       index width, index apart, small_count* table) {
  constexpr index rows_ahead = 16;
  const index table_step = Apart ? Apart : apart;
  const index code_step = Step ? Step : step;
  for (index r = 0; r < n_rows; ++r) {
    if (r + rows_ahead < asked_for) {
      const U* const next = x + rows[r + rows_ahead] * stride;
      constexpr index line = 64 / static_cast<index>(sizeof(U));
      for (index at = 0; at < width * code_step; at += line) prefetch(next + at);
      prefetch(next + (width - 1) * code_step);  // a row seldom begins where a line does
    }
    const U* row = x + rows[r] * stride;
    small_count* mine = table;
    index j = 0;
    for (; j + 8 <= width; j += 8, row += 8 * code_step, mine += 8 * table_step)
      for (index i = 0; i < 8; ++i) ++mine[table_step * i + static_cast<index>(row[i * code_step])];
    for (; j < width; ++j, row += code_step, mine += table_step) ++mine[static_cast<index>(*row)];
  }
}

}  // namespace tallydraw::TALLYDRAW_ISA
