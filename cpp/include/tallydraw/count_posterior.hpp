// A step of expectation-maximisation of a mixture of products: scores of rows under every component, their posteriors,
// and the soft counts of these, by tiles of rows whose scores stay in the first cache. What is added are multiples of a
// unit, and no sum reaches 2^53 units, as the caller sees to: all sums over features and over rows are exact, whatever
// their order. So features are taken in groups, each with one table of the sums of their logs, and one of counts that is
// summed out in the end; and threads split rows and count apart.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tallydraw/class_lanes.hpp"
#include "tallydraw/doubles.hpp"
#include "tallydraw/group_codes.hpp"
#include "tallydraw/log_prob_features.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/posterior.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

namespace posterior_counts {

constexpr index grain = 8192;  // cells of scores that a thread takes at once

/// Words of a row of a group's table, the classes of one code that are taken together: on whole cache lines where they
/// need more than one.
constexpr index row_words(int full, int rest) {
  return full > 0 && rest > 0 ? widest_part * (full + 1) : 8 * full + rest;
}

/// f(begins of the tables of all groups, first class, classes, full, rest) for the classes that are taken together, as
/// for_lanes has them.
template <class Begin, class F>
inline void for_slices(index k, index n_groups, Begin* begins, F&& f) {
  for_lanes(k, [&](index c, index n, auto full, auto rest) {
    f(begins, c, n, full, rest);
    begins += n_groups;
  });
}

/// Lines between tables: the common codes of all groups would otherwise meet in the same sets of the first cache.
constexpr index lines_between = 5;

/// Words of the tables of all groups. Where they begin, if wanted: slice by slice.
inline index lay_out_tables(index k, const groups_view& groups, index* begins = nullptr) noexcept {
  index words = 0;
  for_lanes(k, [&](index, index, auto full, auto rest) {
    for (index g = 0; g < groups.n; ++g) {
      if (begins) *begins++ = words;
      words += whole_lines(codes_of_group(groups, g) * row_words(full, rest)) + lines_between * widest_part;
    }
  });
  return words;
}

/// What is lent, in words: where tables begin, and a table of logs; and to each thread one of counts, and the scores of
/// a tile.
struct plan {
  index begins;
  index table;
  index tile;
  index thread_words() const noexcept { return table + tile; }
};

inline plan make_plan(const structure_view& s, const groups_view& groups) noexcept {
  const index k = s.n_classes;
  return {whole_lines(groups.n * (k / (2 * widest_part) + 1)), lay_out_tables(k, groups),
          whole_lines(std::max(posterior_tiles::cells, k))};
}

template <int Full, int Rest>
inline void add_row(lane_sums<Full, Rest>& sum, const double* row) noexcept {
  for (int f = 0; f < Full; ++f) sum.full[f].add(row + 8 * f);
  if constexpr (Rest > 0) sum.rest.add(row + 8 * Full);
}

template <int Full, int Rest>
inline void add_to_row(const lane_sums<Full, Rest>& shares, double* row) noexcept {
  for (int f = 0; f < Full; ++f) shares.full[f].add_to(row + 8 * f);
  if constexpr (Rest > 0) shares.rest.add_to(row + 8 * Full);
}

/// out[r * apart + c] = first[c] + the rows of the codes of row r, of n classes.
template <int Full, int Rest>
TALLYDRAW_APART inline void add_rows(const std::uint8_t* codes, index rows, index n_groups, const double* table,
                                     const index* begins, index n, const double* first, double* out, index apart) {
  constexpr int together = rows_together_of(8 * Full + Rest);
  const auto add_some = [&](index r, auto size) {
    constexpr int G = decltype(size)::value;
    lane_sums<Full, Rest> sum[G];
    for (int i = 0; i < G; ++i) sum[i].load(first, n);
    const std::uint8_t* const z = codes + r * n_groups;
    for (index g = 0; g < n_groups; ++g)
      for (int i = 0; i < G; ++i) add_row(sum[i], table + begins[g] + z[i * n_groups + g] * row_words(Full, Rest));
    for (int i = 0; i < G; ++i) sum[i].store(out + (r + i) * apart, n);
  };
  index r = 0;
  for (; r + together <= rows; r += together) add_some(r, std::integral_constant<int, together>{});
  for (; r < rows; ++r) add_some(r, std::integral_constant<int, 1>{});
}

/// Adds the shares of each row, of n classes, to the rows of its codes.
template <int Full, int Rest>
TALLYDRAW_APART inline void count_rows(const std::uint8_t* codes, index rows, index n_groups, const double* shares,
                                       index n, index apart, const index* begins, double* table) {
  for (index r = 0; r < rows; ++r, shares += apart, codes += n_groups) {
    lane_sums<Full, Rest> share;
    share.load(shares, n);
    for (index g = 0; g < n_groups; ++g) add_to_row(share, table + begins[g] + codes[g] * row_words(Full, Rest));
  }
}

/// f(part of feature j in class lanes, its place in a row, its width) for the parts of classes c … c + n - 1.
template <class Number, class F>
inline void for_feature_parts(const structure_view& s, Number* lanes, const index* lane_offsets, index j, index c,
                              index n, F&& f) {
  for (index at = 0; at < n; at += widest_part)
    f(lanes + lane_offsets[j] + (c + at) * lane_rows(s, j), at, part_width(n - at));
}

/// Tables of groups from the logs of features: feature by feature, every row so far plus the row of each further code.
inline void add_up(const structure_view& s, const groups_view& groups, const double* lanes, const index* lane_offsets,
                   const index* begins, double* table) {
  for_slices(s.n_classes, groups.n, begins, [&](const index* own, index c, index n, auto full, auto rest) {
    constexpr index stride = row_words(decltype(full)::value, decltype(rest)::value);
    for (index g = 0; g < groups.n; ++g) {
      double* const rows = table + own[g];
      std::fill_n(rows, stride, 0.0);
      index words = stride;
      for (index j = groups.begin[g]; j < groups.begin[g + 1]; ++j) {
        for_feature_parts(s, lanes, lane_offsets, j, c, n, [&](const double* part, index at, index width) {
          for (index z = groups.n_codes[j]; z-- > 0;)  // the rows so far are those of code 0 in the end
            for (index i = at; i < words; i += stride)
              for (index l = 0; l < width; ++l) rows[z * words + i + l] = rows[i + l] + part[z * width + l];
        });
        words *= groups.n_codes[j];
      }
    }
  });
}

/// Adds the counts of groups to those of their features, and leaves them summed out.
inline void sum_out(const structure_view& s, const groups_view& groups, double* table, const index* lane_offsets,
                    const index* begins, double* lanes) {
  for_slices(s.n_classes, groups.n, begins, [&](const index* own, index c, index n, auto full, auto rest) {
    constexpr index stride = row_words(decltype(full)::value, decltype(rest)::value);
    for (index g = 0; g < groups.n; ++g) {
      double* const rows = table + own[g];
      index words = codes_of_group(groups, g) * stride;
      for (index j = groups.begin[g + 1]; j-- > groups.begin[g];) {
        words /= groups.n_codes[j];
        for_feature_parts(s, lanes, lane_offsets, j, c, n, [&](double* part, index at, index width) {
          for (index z = 0; z < groups.n_codes[j]; ++z)
            for (index i = at; i < words; i += stride)
              for (index l = 0; l < width; ++l) part[z * width + l] += rows[z * words + i + l];
        });
        for (index z = 1; z < groups.n_codes[j]; ++z) add_vector(rows + z * words, words, rows);
      }
    }
  });
}

}  // namespace posterior_counts

/// Scratch of count_posterior in words of 64 bits.
inline index count_posterior_scratch(const structure_view& s, const groups_view& groups, int threads) {
  const posterior_counts::plan plan = posterior_counts::make_plan(s, groups);
  return plan.begins + plan.table + threads * plan.thread_words();
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
  index* const begins = static_cast<index*>(scratch);
  double* const table = static_cast<double*>(scratch) + plan.begins;
  double* const lent = table + plan.table;
  p::lay_out_tables(k, groups, begins);
  if (!shares) p::add_up(s, groups, logs, lane_offsets, begins, table);
  for (int t = 0; t < threads; ++t) std::fill_n(lent + t * plan.thread_words(), plan.table, 0.0);
  const index apart = shares ? k : posterior_tiles::stride_of(k);  // rows of a tile
  const index step = posterior_tiles::rows_in(posterior_tiles::cells, apart);
  const index grain = std::max<index>(1, p::grain / (step * k)) * step;
  parallel_blocks(n, grain, threads, [=](index begin, index end, int thread) {
    double* const counted = lent + thread * plan.thread_words();
    double* const tile = counted + plan.table;
    for (index a = begin; a < end; a += step) {
      const index rows = std::min(step, end - a);
      const std::uint8_t* const z = codes + a * d;
      const double* const weight = weights ? weights + a : nullptr;
      if (shares) {
        weigh_shares(shares + a * k, rows, k, weight, grid, tile);
      } else {
        p::for_slices(k, d, begins, [&](const index* own, index c, index m, auto full, auto rest) {
          constexpr int F = decltype(full)::value, R = decltype(rest)::value;
          p::add_rows<F, R>(z, rows, d, table, own, m, first + c, tile + c, apart);
        });
        weigh_posterior(tile, rows, k, prior, weight, grid, evidence + a);
      }
      p::for_slices(k, d, begins, [&](const index* own, index c, index m, auto full, auto rest) {
        constexpr int F = decltype(full)::value, R = decltype(rest)::value;
        p::count_rows<F, R>(z, rows, d, tile + c, m, apart, own, counted);
      });
    }
  });
  for (int t = 1; t < threads; ++t) add_vector(lent + t * plan.thread_words(), plan.table, lent);
  p::sum_out(s, groups, lent, lane_offsets, begins, counts);
}

}  // namespace tallydraw::TALLYDRAW_ISA
