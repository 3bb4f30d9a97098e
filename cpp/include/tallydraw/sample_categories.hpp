// Flat draws: draw t is word t mod 4 of row t div 4, so draws [a, b) can be made alone.
#pragma once

#include <cstdint>
#include <optional>
#include <type_traits>

#include "tallydraw/levels.hpp"
#include "tallydraw/outcomes.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/philox.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// What the first bits of a word decide, of one table row that very many draws are made from: cell i holds the outcome
/// of every u that begins with the bits i; where a level lies inside the cell, the first candidate, marked as open.
struct direct_table {
  static constexpr index bits = 13;
  static constexpr index least_draws = 1 << 14;  // that pay for the table
  template <class T>
  static constexpr index more_than = has_search<T> ? most_searched : most_compared;
  static constexpr index most_categories = 512;  // beyond, too many cells are open
  static constexpr std::uint16_t open = 1 << 15;
  std::uint16_t cell[1 << bits];

  template <class T>
  explicit direct_table(const feature_levels<T>& f) {
    index i = 0;
    for (index c = 0; c < f.n; ++c) {
      const std::uint16_t outcome = static_cast<std::uint16_t>(c);
      const index last = static_cast<index>(f.level[c] >> (64 - bits));
      for (; i < last; ++i) cell[i] = outcome;
      if (i == last && f.level[c] << bits != 0) cell[i++] = outcome | open;
    }
  }
};

/// out[i] = the outcome of words[i]; low(i) gives the low word of draw i.
template <class T, class Low>
inline void outcomes_direct(const feature_levels<T>& f, const direct_table& table, const std::uint32_t* words, index n,
                            T* out, const Low& low) {
  for (index i = 0; i < n; ++i) {
    index c = table.cell[words[i] >> (32 - direct_table::bits)];
    if (c & direct_table::open) c = outcome_from(f, 0, c ^ direct_table::open, words[i], low, i);
    out[i] = static_cast<T>(c);
  }
}

/// Draws start … start + n - 1 from table row 0, or rows[i]. `search` may be null, and `direct`, as it is where there are
/// rows.
template <class T>
inline void sample_flat(const feature_levels<T>& f, const direct_table* direct, const row_search<T>* search,
                        const index* rows, std::uint32_t tag, std::uint64_t key, std::uint64_t start, index n, T* out) {
  constexpr index block = 1024;
  alignas(64) std::uint32_t words[4 + block + group_size] = {};
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
      outcomes_from_rows(f, rows + begin, words + skip, size, out + begin, low, search);
    else if (direct)
      outcomes_direct(f, *direct, words + skip, size, out + begin, low);
    else
      outcomes_from_row(f, 0, words + skip, size, out + begin, low);
  }
}

/// out[i] = flat draw start + i, which is below 2^64, for `draw_purpose`, from row rows[i] of the n_rows, or row 0.
inline void sample_categories(const levels_view& levels, index n_categories, index n_rows, const index* rows,
                              index draw_purpose, std::uint64_t key, std::uint64_t start, outcomes_view out, index n,
                              int threads) {
  const std::uint32_t tag = counter_tag(static_cast<purpose>(draw_purpose), 0);
  with_outcomes(out, [&](auto* to) {
    using T = std::remove_pointer_t<decltype(to)>;
    const auto f = feature_of<T>(levels, n_categories, 0, 0, n_rows);
    std::optional<direct_table> direct;
    if (!rows && n >= direct_table::least_draws && f.n > direct_table::more_than<T> &&
        f.n <= direct_table::most_categories)
      direct.emplace(f);
    std::optional<row_search<T>> search;
    if (rows && row_search<T>::pays(f, n)) search.emplace(f);
    parallel_blocks(n, index{1} << 14, threads, [&](index begin, index end, int) {
      sample_flat(f, direct ? &*direct : nullptr, search ? &*search : nullptr, rows ? rows + begin : nullptr, tag, key,
                  start + static_cast<std::uint64_t>(begin), end - begin, to + begin);
    });
  });
}

/// Flat draw `draw` of purpose::flat from the levels of one table row with n cells: by halving, which needs nothing
/// prepared.
inline index sample_one(const std::uint64_t* level, index n, std::uint64_t key, std::uint64_t draw) {
  const auto word = [=](std::uint32_t part) {
    return one_word(key, counter_tag(purpose::flat, part), draw / 4, draw % 4);
  };
  const feature_levels<std::uint64_t> f{level, nullptr, nullptr, n, -1, 1};
  return outcome_bisect(f, 0, word(0), [&](index) { return word(1); }, 0);
}

}  // namespace tallydraw::TALLYDRAW_ISA
