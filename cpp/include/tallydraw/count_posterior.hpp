// A step of expectation-maximisation of a mixture of products: scores of rows under every component, their posteriors,
// and the soft counts of these, by tiles of rows whose scores stay in the first cache. What is added are multiples of a
// unit, and no sum reaches 2^53 units, as the caller sees to: all sums over features and over rows are exact, whatever
// their order. So features are taken in groups, each with one table of the sums of their logs, and one of counts that is
// summed out in the end; and threads split rows and count apart.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tallydraw/class_lanes.hpp"
#include "tallydraw/count_features.hpp"
#include "tallydraw/doubles.hpp"
#include "tallydraw/group_codes.hpp"
#include "tallydraw/log_prob_features.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/posterior.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

namespace posterior_counts {

constexpr index grain = 8192;  // cells of scores that a thread takes at once

/// Words of the tables of all groups: class lanes as those of features, without a slot.
inline index table_words(index k, const groups_view& groups) noexcept {
  const index lanes = k / widest_part * widest_part + part_width(k % widest_part);
  index words = 0;
  for (index g = 0; g < groups.n; ++g) words += whole_lines(codes_of_group(groups, g) * lanes);
  return words;
}

/// What is lent, in words: a table of logs; and to each thread one of counts, the scores of a tile, and where parts of
/// groups begin, to score by and to count into.
struct plan {
  index table;
  index tile;
  index parts;
  index thread_words() const noexcept { return table + tile + 2 * parts; }
};

inline plan make_plan(const structure_view& s, const groups_view& groups) noexcept {
  const index k = s.n_classes;
  return {table_words(k, groups), whole_lines(std::max(posterior_tiles::cells, k)),
          whole_lines(groups.n * ((k + widest_part - 1) / widest_part))};
}

/// f(part of the table of group g, its codes, g, first class, width).
template <class Number, class F>
inline void for_group_parts(index k, const groups_view& groups, Number* table, F&& f) {
  for (index g = 0; g < groups.n; ++g) {
    const index codes = codes_of_group(groups, g);
    Number* part = table;
    for (index c = 0; c < k; c += widest_part) {
      const index width = part_width(k - c);
      f(part, codes, g, c, width);
      part += codes * width;
    }
    table += whole_lines(part - table);
  }
}

/// The parts of all groups as add_logs and add_weights want them: those of the classes from c on, which for_lanes takes
/// together, at parts[c / 8 * n_groups].
template <class Number>
inline void find_group_parts(index k, const groups_view& groups, Number* table, Number** parts) {
  for_lanes(k, [&](index first, index n, auto, auto) {
    const index n_parts = (n + widest_part - 1) / widest_part;
    for_group_parts(k, groups, table, [&](Number* part, index, index g, index c, index) {
      if (c >= first && c < first + n)
        parts[first / widest_part * groups.n + g * n_parts + (c - first) / widest_part] = part;
    });
  });
}

/// The part of feature j, in class lanes, that begins with class c.
template <class Number>
inline Number* feature_part(const structure_view& s, Number* lanes, const index* lane_offsets, index j, index c) {
  return lanes + lane_offsets[j] + c * lane_rows(s, j);
}

/// Tables of groups from the logs of features: feature by feature, every row so far plus the row of each further code.
inline void add_up(const structure_view& s, const groups_view& groups, const double* lanes, const index* lane_offsets,
                   double* table) {
  for_group_parts(s.n_classes, groups, table, [&](double* rows, index, index g, index c, index width) {
    std::fill_n(rows, width, 0.0);
    index words = width;
    for (index j = groups.begin[g]; j < groups.begin[g + 1]; ++j) {
      const double* const own = feature_part(s, lanes, lane_offsets, j, c);
      for (index z = groups.n_codes[j]; z-- > 0;)  // the rows so far are those of code 0 in the end
        for (index i = 0; i < words; i += width)
          for (index l = 0; l < width; ++l) rows[z * words + i + l] = rows[i + l] + own[z * width + l];
      words *= groups.n_codes[j];
    }
  });
}

/// Adds the counts of groups to those of their features, and leaves them summed out.
inline void sum_out(const structure_view& s, const groups_view& groups, double* table, const index* lane_offsets,
                    double* lanes) {
  for_group_parts(s.n_classes, groups, table, [&](double* rows, index codes, index g, index c, index width) {
    index words = codes * width;
    for (index j = groups.begin[g + 1]; j-- > groups.begin[g];) {
      double* const own = feature_part(s, lanes, lane_offsets, j, c);
      words /= groups.n_codes[j];
      for (index z = 0; z < groups.n_codes[j]; ++z) {
        const double* const of_code = rows + z * words;
        for (index i = 0; i < words; i += width)
          for (index l = 0; l < width; ++l) own[z * width + l] += of_code[i + l];
        if (z > 0) add_vector(of_code, words, rows);
      }
    }
  });
}

}  // namespace posterior_counts

/// Scratch of count_posterior in words of 64 bits.
inline index count_posterior_scratch(const structure_view& s, const groups_view& groups, int threads) {
  const posterior_counts::plan plan = posterior_counts::make_plan(s, groups);
  return plan.table + threads * plan.thread_words();
}

/// Codes of groups [n, n_groups], features without contexts. logs: class lanes of features; first (K,): what scores
/// begin at. Adds the posterior of row r times weights[r] (1 where null), rounded as in weigh_posterior, to the class
/// lanes `counts` of each of its codes; evidence (n,). Where `shares` [n, K] are given they are the posteriors, and
/// `evidence` is not written. scratch: count_posterior_scratch words.
inline void count_posterior(const std::uint8_t* codes, index n, const structure_view& s, const groups_view& groups,
                            const double* logs, const index* lane_offsets, const double* first, const double* prior,
                            const double* shares, const double* weights, double grid, double* evidence, double* counts,
                            void* scratch, int threads) {
  namespace p = posterior_counts;
  const index d = groups.n, k = s.n_classes;
  const p::plan plan = p::make_plan(s, groups);
  double* const table = static_cast<double*>(scratch);
  double* const lent = table + plan.table;
  if (!shares) p::add_up(s, groups, logs, lane_offsets, table);
  for (int t = 0; t < threads; ++t) {
    double* const own = lent + t * plan.thread_words();
    std::fill_n(own, plan.table, 0.0);
    double* const parts = own + plan.table + plan.tile;
    p::find_group_parts<const double>(k, groups, table, reinterpret_cast<const double**>(parts));
    p::find_group_parts<double>(k, groups, own, reinterpret_cast<double**>(parts + plan.parts));
  }
  const index step = posterior_tiles::rows_in(posterior_tiles::cells, k);
  const index grain = std::max<index>(1, p::grain / (step * k)) * step;
  parallel_blocks(n, grain, threads, [=](index begin, index end, int thread) {
    double* const tile = lent + thread * plan.thread_words() + plan.table;
    const double* const* const score_by = reinterpret_cast<const double* const*>(tile + plan.tile);
    double* const* const count_into = reinterpret_cast<double* const*>(tile + plan.tile + plan.parts);
    for (index a = begin; a < end; a += step) {
      const index rows = std::min(step, end - a);
      const std::uint8_t* const z = codes + a * d;
      const double* const weight = weights ? weights + a : nullptr;
      if (shares) {
        weigh_shares(shares + a * k, rows, k, weight, grid, tile);
      } else {
        for_lanes(k, [&](index c, index m, auto full, auto rest) {
          constexpr int F = decltype(full)::value, R = decltype(rest)::value;
          add_logs<F, R>(z, d, rows, d, score_by + c / widest_part * d, m, first + c, 0, tile + c, k, ahead(z, z, 1));
        });
        weigh_posterior(tile, rows, k, prior, weight, grid, evidence + a);
      }
      for_lanes(k, [&](index c, index m, auto full, auto rest) {
        constexpr int F = decltype(full)::value, R = decltype(rest)::value;
        add_weights<F, R>(z, rows, d, tile + c, m, k, count_into + c / widest_part * d);
      });
    }
  });
  for (int t = 1; t < threads; ++t) add_vector(lent + t * plan.thread_words(), plan.table, lent);
  p::sum_out(s, groups, lent, lane_offsets, counts);
}

}  // namespace tallydraw::TALLYDRAW_ISA
