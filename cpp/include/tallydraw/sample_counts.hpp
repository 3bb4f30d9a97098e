// Multinomial counts as conditional binomials, outcomes from left to right: outcome c takes a binomial share of what is
// left, p = (L_c - L_(c-1)) / (2^64 - L_(c-1)). Both p and q come from the levels, so neither loses digits near 1; the
// last outcome of any weight has L_c = 2^64 and takes the rest, and one of no weight takes nothing. The counter of a
// count is (row low, row high, outcome, attempt * 256 + 8): one block an attempt.
#pragma once

#include <cstdint>

#include "tallydraw/binomial.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/philox.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

namespace counts {

constexpr index chunk = 64;  // first attempts whose words are made at once

/// What the outcomes up to now have left over.
struct remainder {
  index trials;
  std::uint64_t level;
};

/// The counts of outcomes begin … end - 1, of which none is the last.
inline void draw(remainder& left, const std::uint64_t* level, index begin, index end, std::uint64_t key,
                 std::uint64_t row, const std::uint32_t* words, index* out) noexcept {
  for (index c = begin; c < end; ++c) {
    const std::uint64_t width = level[c] - left.level;
    index count = 0;
    if (left.trials > 0 && width > 0) {
      if (level[c] == UINT64_MAX) {
        count = left.trials;
      } else {
        const std::uint64_t beyond = 0 - level[c];  // 2^64 - L_c
        const double whole = left.level == 0 ? 0x1p64 : static_cast<double>(0 - left.level);
        const double p = static_cast<double>(width) / whole;
        const double q = static_cast<double>(beyond) / whole;
        const auto outcome = static_cast<std::uint32_t>(c);
        const std::uint32_t* first = words + 4 * (c - begin);
        count = width <= beyond ? binomial(left.trials, p, q, key, row, outcome, first)
                                : left.trials - binomial(left.trials, q, p, key, row, outcome, first);
      }
    }
    out[c] = count;
    left.trials -= count;
    left.level = level[c];
  }
}

}  // namespace counts

/// out[t], of n_columns counts, is how totals[t] draws from the table row rows[t] of `level` fall; the stream is row
/// start + t. totals <= 2^53.
inline void sample_counts(const std::uint64_t* level, index n_columns, const index* rows, const index* totals, index n,
                          std::uint64_t key, std::uint64_t start, index* out, int threads) {
  using counts::chunk;
  const index free = n_columns - 1;
  const index side_by_side = free == 0 ? chunk : free < chunk ? chunk / free : 1;
  const index grain = (1 + 2048 / (n_columns * side_by_side)) * side_by_side;
  parallel_blocks(n, grain, threads, [=](index first, index last, int) {
    std::uint32_t words[4 * chunk];
    for (index a = first; a < last; a += side_by_side) {
      const index m = last - a < side_by_side ? last - a : side_by_side;
      counts::remainder left[chunk];
      for (index i = 0; i < m; ++i) left[i] = {totals[a + i], 0};
      for (index begin = 0; begin < free; begin += chunk) {  // once, where several rows go side by side
        const index end = begin + chunk < free ? begin + chunk : free;
        const std::uint64_t row = start + static_cast<std::uint64_t>(a);
        if (m > 1 || left[0].trials > 0)
          fill_cells(key, counter_tag(purpose::counts, 0), row, m, static_cast<std::uint32_t>(begin), end - begin,
                     words);
        for (index i = 0; i < m; ++i)
          counts::draw(left[i], level + rows[a + i] * n_columns, begin, end, key, row + static_cast<std::uint64_t>(i),
                       words + 4 * i * (end - begin), out + (a + i) * n_columns);
      }
      for (index i = 0; i < m; ++i) out[(a + i) * n_columns + free] = left[i].trials;
    }
  });
}

}  // namespace tallydraw::TALLYDRAW_ISA
