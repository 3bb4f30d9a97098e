// Flat draws: draw t is word t mod 4 of row t div 4, so draws [a, b) can be made alone.
#pragma once

#include <cstdint>

#include "tallydraw/levels.hpp"
#include "tallydraw/outcomes.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/philox.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Draws start … start + n - 1, which do not pass 2^64, from table row 0, or rows[i].
template <class T>
inline void sample_flat(const feature_levels& f, const index* rows, std::uint32_t tag, std::uint64_t key,
                        std::uint64_t start, index n, T* out) {
  constexpr index block = 1024;
  std::uint32_t words[4 + block + group_size] = {};
  for (index begin = 0; begin < n; begin += block) {
    const index size = n - begin < block ? n - begin : block;
    const std::uint64_t first = start + static_cast<std::uint64_t>(begin);
    const index skip = static_cast<index>(first % 4);
    fill_flat(key, tag, first / 4, (skip + size + 3) / 4, words);
    const auto low = [=](index i) {
      const std::uint64_t t = first + static_cast<std::uint64_t>(i);
      return one_word(key, tag + 1, t / 4, t % 4);
    };
    if (rows)
      outcomes_from_rows(f, rows + begin, words + skip, size, out + begin, low);
    else
      outcomes_from_row(f, 0, words + skip, size, out + begin, low);
  }
}

/// out[i] = flat draw start + i, which is below 2^64, for `draw_purpose`, from table row rows[i] of the n_rows, or row 0.
inline void sample_categories(const levels_view& levels, index n_categories, index n_rows, const index* rows,
                              index draw_purpose, std::uint64_t key, std::uint64_t start, outcomes_view out, index n,
                              int threads) {
  const feature_levels f = feature_of(levels, n_categories, 0, 0, n_rows);
  const std::uint32_t tag = counter_tag(static_cast<purpose>(draw_purpose), 0);
  with_outcomes(out, [&](auto* to) {
    parallel_blocks(n, index{1} << 14, threads, [&](index begin, index end, int) {
      sample_flat(f, rows ? rows + begin : nullptr, tag, key, start + static_cast<std::uint64_t>(begin), end - begin,
                  to + begin);
    });
  });
}

}  // namespace tallydraw::TALLYDRAW_ISA
