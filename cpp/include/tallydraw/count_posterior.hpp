// A step of expectation-maximisation of a mixture of products: scores of rows under every component, their posteriors, and
// the soft counts of these, by tiles of rows whose scores stay in the first cache. What is added are multiples of a unit,
// and no sum reaches 2^53 units (models/_products.py): all sums over features and over rows are exact, whatever their
// order, so threads split rows and count apart.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "tallydraw/class_lanes.hpp"
#include "tallydraw/count_features.hpp"
#include "tallydraw/log_prob_features.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/posterior.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

namespace posterior_counts {

constexpr index grain = 8192;  // cells of scores that a thread takes at once

/// What a thread has of its own, in words: counts, the scores of a tile, and where parts of features begin, to score by
/// and to count into.
struct plan {
  index counts;
  index tile;
  index parts;
  index words() const noexcept { return counts + tile + 2 * parts; }
};

inline plan make_plan(const structure_view& s, const index* lane_offsets) noexcept {
  const auto whole_lines = [](index words) { return (words + 7) / 8 * 8; };
  return {whole_lines(lane_offsets[s.d]), whole_lines(std::max(posterior_tiles::cells, s.n_classes)),
          whole_lines(s.d * ((s.n_classes + widest_part - 1) / widest_part))};
}

/// The parts of all features for the classes from c on, as find_parts leaves them.
template <class Number>
inline void find_all_parts(const structure_view& s, Number* lanes, const index* lane_offsets, Number** parts) {
  for_lanes(s.n_classes, [&](index c, index, auto full, auto rest) {
    constexpr int n_parts = decltype(full)::value + (decltype(rest)::value > 0);
    find_parts(s, lanes, lane_offsets, 0, s.d, c, n_parts, parts + c / widest_part * s.d);
  });
}

}  // namespace posterior_counts

/// Scratch of count_posterior in words of 64 bits.
inline index count_posterior_scratch(const structure_view& s, const index* lane_offsets, int threads) {
  return threads * posterior_counts::make_plan(s, lane_offsets).words();
}

/// Rows of codes [n, d], all of them categories, without contexts. lanes: logs, first (K,): what scores begin at. Adds
/// the posterior of row r times weights[r] (1 where null), rounded as in weigh_posterior, to the class lanes `counts` of
/// each of its codes. evidence (n,). scratch: count_posterior_scratch words.
inline void count_posterior(const std::uint8_t* codes, index n, const structure_view& s, const double* lanes,
                            const index* lane_offsets, const double* first, const double* prior, const double* weights,
                            double grid, double* evidence, double* counts, void* scratch, int threads) {
  namespace p = posterior_counts;
  const index d = s.d, k = s.n_classes;
  const p::plan plan = p::make_plan(s, lane_offsets);
  double* const lent = static_cast<double*>(scratch);
  for (int t = 0; t < threads; ++t) {
    double* const own = lent + t * plan.words();
    std::fill_n(own, plan.counts, 0.0);
    double* const parts = own + plan.counts + plan.tile;
    p::find_all_parts(s, lanes, lane_offsets, reinterpret_cast<const double**>(parts));
    p::find_all_parts(s, own, lane_offsets, reinterpret_cast<double**>(parts + plan.parts));
  }
  const index step = posterior_tiles::rows_in(posterior_tiles::cells, k);
  const index grain = std::max<index>(1, p::grain / (step * k)) * step;
  parallel_blocks(n, grain, threads, [=](index begin, index end, int thread) {
    double* const tile = lent + thread * plan.words() + plan.counts;
    const double* const* const logs = reinterpret_cast<const double* const*>(tile + plan.tile);
    double* const* const sums = reinterpret_cast<double* const*>(tile + plan.tile + plan.parts);
    for (index a = begin; a < end; a += step) {
      const index rows = std::min(step, end - a);
      const std::uint8_t* const z = codes + a * d;
      for_lanes(k, [&](index c, index m, auto full, auto rest) {
        constexpr int F = decltype(full)::value, R = decltype(rest)::value;
        const double* const* const parts = logs + c / widest_part * d;
        add_logs<F, R>(z, d, rows, d, parts, m, first + c, 0, tile + c, k, ahead(z, z, 1));
      });
      weigh_posterior(tile, rows, k, prior, weights ? weights + a : nullptr, grid, evidence + a);
      for_lanes(k, [&](index c, index m, auto full, auto rest) {
        constexpr int F = decltype(full)::value, R = decltype(rest)::value;
        add_weights<F, R>(z, rows, d, tile + c, m, k, sums + c / widest_part * d);
      });
    }
  });
  for (int t = 0; t < threads; ++t) add_vector(lent + t * plan.words(), lane_offsets[d], counts);
}

}  // namespace tallydraw::TALLYDRAW_ISA
