// How a tile of combined codes is counted: two strategies with the same result.
// A tile is `m` rows of `width` codes, `stride` apart; the code after a feature's last is the slot of missing cells.
#pragma once

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
/// counted[j] = how often feature j is c, counted[64 + j] = how often it is c + 1.
inline void count_lanes(const std::uint8_t* tile, index stride, const std::int32_t* rows, index n_rows, std::uint8_t c,
                        std::uint8_t* counted) {
  std::uint8_t sums[2][tile_width] = {};
  const std::uint8_t codes[2] = {c, static_cast<std::uint8_t>(c + 1)};
  for (index r = 0; r < n_rows; ++r) {
    const std::uint8_t* row = tile + rows[r] * stride;
    for (int i = 0; i < 2; ++i)
      for (index j = 0; j < tile_width; ++j) sums[i][j] = static_cast<std::uint8_t>(sums[i][j] + (row[j] == codes[i]));
  }
  for (int i = 0; i < 2; ++i)
    for (index j = 0; j < tile_width; ++j) counted[i * tile_width + j] = sums[i][j];
}

/// Any number of categories: one increment a cell, feature j in table + base[j]. Neighbouring cells of a row are in
/// different tables, so an increment seldom waits for the store of the one before it. Apart is how far a feature's table
/// is from the next one's where that is known, else 0: an increment then is two instructions.
template <index Apart, class U>
inline void count_rows(const U* tile, index stride, const std::int32_t* rows, index n_rows, index width,
                       const std::int32_t* base, small_count* table) {
  const auto cell = [&](index j) { return Apart ? Apart * j : static_cast<index>(base[j]); };
  for (index r = 0; r < n_rows; ++r) {
    const U* row = tile + rows[r] * stride;
    index j = 0;
    for (; j + 8 <= width; j += 8) {
      small_count* const first = Apart ? table + cell(j) : table;
      for (index i = 0; i < 8; ++i) ++first[(Apart ? cell(i) : cell(j + i)) + static_cast<index>(row[j + i])];
    }
    for (; j < width; ++j) ++table[cell(j) + static_cast<index>(row[j])];
  }
}

/// The same of bytes that all are codes, read where they are: a row's `step` apart, or Step where that is known. `known`
/// rows are named, of which n_rows are counted; those after them are asked for, since no hardware sees them coming.
template <index Apart, index Step>
inline void count_bytes(const std::uint8_t* x, index stride, index step, const std::int32_t* rows, index n_rows,
                        index known, index width, small_count* table) {
  constexpr index ahead = 16;
  const index apart = Step ? Step : step;
  for (index r = 0; r < n_rows; ++r) {
    if (r + ahead < known) {
      const std::uint8_t* const next = x + rows[r + ahead] * stride;
      for (index at = 0; at < width * apart; at += 64) prefetch(next + at);
      prefetch(next + (width - 1) * apart);  // a row seldom begins where a line does
    }
    const std::uint8_t* row = x + rows[r] * stride;
    index j = 0;
    for (; j + 8 <= width; j += 8, row += 8 * apart)
      for (index i = 0; i < 8; ++i) ++table[Apart * j + Apart * i + row[i * apart]];
    for (; j < width; ++j, row += apart) ++table[Apart * j + *row];
  }
}

}  // namespace tallydraw::TALLYDRAW_ISA
