// Rows uniform on the simplex: exponentials, -log of uniforms, divided by their sum from left to right.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tallydraw/elementary.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/philox.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// out [n, k]: row i from the words of row start + i of the stream, as cells are (philox.hpp), of the purpose `start` and
/// this attempt; the uniform of a word is (word + 1/2) 2^-32.
inline void sample_shares(std::uint64_t key, std::uint32_t attempt, std::uint64_t start, double* out, index n, index k,
                          int threads) {
  constexpr index cells = 1024;  // of a tile of rows; blocks of four words that are made at once
  const index step = k < cells ? cells / k : 1, blocks = (k + 3) / 4, at_once = cells / step;
  parallel_blocks(n, 16 * step, threads, [=](index begin, index end, int) {
    std::uint32_t words[4 * cells];
    for (index a = begin; a < end; a += step) {
      const index rows = std::min(step, end - a);
      double* const to = out + a * k;
      for (index b = 0; b < blocks; b += at_once) {
        const index width = 4 * std::min(at_once, blocks - b), m = std::min(width, k - 4 * b);
        fill_cells(key, counter_tag(purpose::start, 0, attempt), start + static_cast<std::uint64_t>(a), rows,
                   static_cast<std::uint32_t>(b), width / 4, words);
        for (index i = 0; i < rows; ++i)
          for (index j = 0; j < m; ++j) to[i * k + 4 * b + j] = (words[i * width + j] + 0.5) * 0x1p-32;
      }
      log(to, rows * k, to);
      for (index i = 0; i < rows; ++i) {  // of negative logs: their sum is negative too
        double* const row = to + i * k;
        double sum = row[0];
        for (index j = 1; j < k; ++j) sum += row[j];
        for (index j = 0; j < k; ++j) row[j] = row[j] / sum;
      }
    }
  });
}

}  // namespace tallydraw::TALLYDRAW_ISA
