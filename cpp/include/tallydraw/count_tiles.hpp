// How a tile of combined codes is counted: two strategies with the same result.
// A tile is `m` rows of `width` codes, `stride` apart; the code after a feature's last is the slot of missing cells.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tallydraw/prefetch.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// A private count, emptied into the result before it can overflow: half the bytes stay nearer.
using small_count = std::uint16_t;
constexpr index most_small = UINT16_MAX;

/// Features side by side in a tile: as many as bytes in the widest vector register, one cache line.
constexpr index tile_width = 64;

/// Few categories, in byte lanes: 64 features are compared with categories c and c + 1 side by side, and the bytes that
/// are equal are added; two at a time, so that the sums stay in registers. `rows` names up to 255 rows of the tile, so
/// no byte overflows; 64 bytes are read from the start of a row, those past the tile's width belong to nobody.
/// counted[j] = how often feature j is c, counted[64 + j] = how often it is c + 1. Where Ask, every row asks for some of
/// what comes next.
template <bool Ask>
inline void count_lanes(const std::uint8_t* tile, index stride, const std::int32_t* rows, index n_rows, std::uint8_t c,
                        ahead& next, std::uint8_t* counted) {
  std::uint8_t sums[2][tile_width] = {};
  const std::uint8_t codes[2] = {c, static_cast<std::uint8_t>(c + 1)};
  for (index r = 0; r < n_rows; ++r) {
    const std::uint8_t* row = tile + rows[r] * stride;
    if constexpr (Ask) next.some();
    for (int i = 0; i < 2; ++i)
      for (index j = 0; j < tile_width; ++j) sums[i][j] = static_cast<std::uint8_t>(sums[i][j] + (row[j] == codes[i]));
  }
  for (int i = 0; i < 2; ++i)
    for (index j = 0; j < tile_width; ++j) counted[i * tile_width + j] = sums[i][j];
}

/// Adds rows of few categories to the tables of `width` features, `apart` cells from each other, by byte lanes.
inline void count_by_lanes(const std::uint8_t* tile, index stride, const std::int32_t* rows, index n_rows,
                           const index* n_categories, index width, index apart, ahead& next, small_count* table) {
  const index most = *std::max_element(n_categories, n_categories + width);
  for (index g = 0; g < n_rows; g += 255) {
    const index m = n_rows - g < 255 ? n_rows - g : 255;
    for (index c = 0; c < most; c += 2) {
      std::uint8_t counted[2 * tile_width];
      if (c == 0)
        count_lanes<true>(tile, stride, rows + g, m, 0, next, counted);
      else
        count_lanes<false>(tile, stride, rows + g, m, static_cast<std::uint8_t>(c), next, counted);
      for (index i = 0; i < 2; ++i)
        for (index j = 0; j < width; ++j)
          if (c + i < n_categories[j]) {
            small_count& cell = table[j * apart + c + i];
            cell = static_cast<small_count>(cell + counted[i * tile_width + j]);
          }
    }
  }
}

/// Any number of categories: one increment a cell, in the tables of features `apart` cells from each other. Neighbouring
/// cells of a row are in different tables, so an increment seldom waits for the store of the one before it. A row's codes
/// lie `step` apart. Apart and Step are these two where they are known, else 0: an increment then is two instructions.
/// `asked_for` rows are named, of which n_rows are counted and those after them are brought near: none where rows lie in
/// the cache.
template <index Apart, index Step, class U>
inline void count_rows(const U* x, index stride, index step, const std::int32_t* rows, index n_rows, index asked_for,
                       index width, index apart, small_count* table) {
  constexpr index ahead = 16;
  const index table_step = Apart ? Apart : apart;
  const index code_step = Step ? Step : step;
  for (index r = 0; r < n_rows; ++r) {
    if (r + ahead < asked_for) {
      const U* const next = x + rows[r + ahead] * stride;
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
