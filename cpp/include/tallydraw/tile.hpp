// A tile of draws: some rows by some features, computed feature by feature in columns, so that one feature's tables
// stay in cache and draws of different rows overlap, then turned into rows.
#pragma once

#include <cstdint>

#include "tallydraw/philox.hpp"
#include "tallydraw/transpose.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Cells of a tile of outcomes of type T, and its sides: at most max_tile_rows rows; all powers of two. Large tiles share
/// what is prepared of a table row, and their words lie in the nearer caches (measured).
template <class T>
constexpr index tile_cells = sizeof(T) <= 2 ? 8192 : 512;
constexpr index max_tile_rows = 512;

/// words[f * stride + i] = the word of row rows[i] and feature 4 block0 + f, for i < n and f < 4 blocks. `stride` is a
/// power of two; `rows` is readable up to the next multiple of `lanes`.
inline void fill_tile(std::uint64_t key, std::uint32_t tag, const std::uint64_t* rows, index n, std::uint32_t block0,
                      index blocks, std::uint32_t* words, index stride) {
  // Lanes are rows or blocks, whichever leaves fewer of them idle.
  if (blocks * ((n + lanes - 1) / lanes) <= n * ((blocks + lanes - 1) / lanes)) {
    for (index b = 0; b < blocks; ++b) {
      const std::uint32_t block = block0 + static_cast<std::uint32_t>(b);
      std::uint32_t* const w = words + 4 * b * stride;
      if (stride >= lanes) {
        fill_columns(key, tag, rows, n, block, {w, w + stride, w + 2 * stride, w + 3 * stride});
      } else {
        std::uint32_t x[4 * lanes];
        fill_columns(key, tag, rows, n, block, {x, x + lanes, x + 2 * lanes, x + 3 * lanes});
        for (index k = 0; k < 4; ++k)
          for (index i = 0; i < n; ++i) w[k * stride + i] = x[k * lanes + i];
      }
    }
    return;
  }
  for (index i = 0; i < n; ++i)
    for (index b = 0; b < blocks; b += lanes) {
      std::uint32_t row[4 * lanes];
      const index m = blocks - b < lanes ? blocks - b : lanes;
      fill_cells(key, tag, rows[i], 1, block0 + static_cast<std::uint32_t>(b), m, row);
      for (index k = 0; k < 4 * m; ++k) words[(4 * b + k) * stride + i] = row[k];
    }
}

}  // namespace tallydraw::TALLYDRAW_ISA
