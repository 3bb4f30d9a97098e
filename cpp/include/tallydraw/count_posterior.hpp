// A step of expectation-maximisation of a mixture of products: p(k) times the product of its probabilities for every
// row and component, posteriors, and the soft counts of these, by tiles of rows that stay in the first cache.
//
// Features are taken in groups (group_codes.hpp): a group has one table of products, multiplied up from first to last
// feature, and one of counts, which is summed out in the end. The factors of a row are multiplied in the order of the
// groups, on from p(k): no logarithm and no exponential is needed but the log of each row's sum. Products begin at
// 2^800 p(k), and are nothing once they are 2^-100, by stretches of groups in which none can underflow. A row whose sum
// falls below one is taken again, every component with an exponent of its own.
// Posteriors are rounded to multiples of a unit, and no sum of them reaches 2^53 units, as the caller sees to: counts
// are exact, whatever their order, so that threads split rows and count apart.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tallydraw/class_lanes.hpp"
#include "tallydraw/doubles.hpp"
#include "tallydraw/elementary.hpp"
#include "tallydraw/group_codes.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

namespace posterior_counts {

constexpr index tile_cells = 1024;  // a row of more components is a tile of its own
constexpr index grain = 8192;       // cells that a thread takes at once
constexpr index most_lanes = most_parts * widest_part;

constexpr index begin_exponent = 800;
constexpr double two_to_begin = 0x1p800;
constexpr double smallest_sum = 1.0, smallest_product = 0x1p-100;
constexpr index most_halvings = 900;  // of a stretch: products of positive numbers stay normal
constexpr index farthest = 1000;      // halvings below the largest product at which others are nothing

/// Words of a row of a group's table, the classes of one code that are taken together: on whole cache lines where they
/// need more than one.
constexpr index row_words(int full, int rest) {
  return full > 0 && rest > 0 ? widest_part * (full + 1) : 8 * full + rest;
}

/// Words from a row of a tile to the next: whole parts.
inline index row_lanes(index k) noexcept { return k > 4 ? whole_lines(k) : part_width(k); }

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

/// Group g ends a stretch where ends[g]; the last one does not. `halvings`: how many a positive probability is at most,
/// p(k) too.
inline void find_stretches(const groups_view& groups, index halvings, index* ends) noexcept {
  index features = 1;
  for (index g = 0; g < groups.n; ++g) {
    const index more = groups.begin[g + 1] - groups.begin[g];
    const bool too_many = g > 0 && (features + more) * halvings > most_halvings;
    if (g > 0) ends[g - 1] = too_many;
    features = too_many ? more : features + more;
  }
  ends[groups.n - 1] = 0;
}

/// What is lent, in words: where tables begin, which groups end a stretch, what products begin at, and a table of
/// products; and to each thread one of counts, the products of a tile, and the exponents of one row.
struct plan {
  index begins;
  index ends;
  index first;
  index table;
  index tile;
  index thread_words() const noexcept { return table + tile + first; }
};

inline plan make_plan(const structure_view& s, const groups_view& groups) noexcept {
  const index k = s.n_classes, slices = k / (2 * widest_part) + 1;  // at most
  return {whole_lines(groups.n * slices), whole_lines(groups.n), whole_lines(k), lay_out_tables(k, groups),
          std::max(tile_cells, whole_lines(k))};
}

/// The same as memory.
struct workspace {
  plan words;
  index* begins;
  index* ends;
  double* first;
  double* table;
  double* lent;

  double* counted(int thread) const noexcept { return lent + thread * words.thread_words(); }
  double* tile(int thread) const noexcept { return counted(thread) + words.table; }
  index* exponent(int thread) const noexcept { return reinterpret_cast<index*>(tile(thread) + words.tile); }
};

/// Tables are laid out; counts and tiles of threads are zeros, as lanes of no class stay.
inline workspace lend(const structure_view& s, const groups_view& groups, void* scratch, int threads) {
  const plan words = make_plan(s, groups);
  double* const begin = static_cast<double*>(scratch);
  workspace w{words, reinterpret_cast<index*>(begin), nullptr, nullptr, nullptr, nullptr};
  w.ends = w.begins + words.begins;
  w.first = begin + words.begins + words.ends;
  w.table = w.first + words.first;
  w.lent = w.table + words.table;
  lay_out_tables(s.n_classes, groups, w.begins);
  std::fill_n(w.first, words.first, 0.0);
  for (int t = 0; t < threads; ++t) std::fill_n(w.counted(t), words.table + words.tile, 0.0);
  return w;
}

/// Tables of groups from the probabilities of features: every row so far times the row of each further code, that of a
/// missing cell being ones. Lanes of no class are zeros.
inline void multiply_up(const structure_view& s, const groups_view& groups, const double* theta, const index* begins,
                        double* table) {
  for_slices(s.n_classes, groups.n, begins, [&](const index* own, index c, index n, auto full, auto rest) {
    constexpr index stride = row_words(decltype(full)::value, decltype(rest)::value);
    for (index g = 0; g < groups.n; ++g) {
      double* const rows = table + own[g];
      std::fill_n(rows, stride, 0.0);
      std::fill_n(rows, n, 1.0);
      index words = stride;
      for (index j = groups.begin[g]; j < groups.begin[g + 1]; ++j) {
        const index categories = s.n_categories[j];
        const double* const own_theta = theta + s.offsets[j] + c * categories;
        for (index z = groups.n_codes[j]; z-- > 0;) {  // the rows so far are those of code 0 in the end
          double factor[most_lanes] = {};
          for (index l = 0; l < n; ++l) factor[l] = z < categories ? own_theta[l * categories + z] : 1.0;
          for (index i = 0; i < words; i += stride)
            for (index l = 0; l < stride; ++l) rows[z * words + i + l] = rows[i + l] * factor[l];
        }
        words *= groups.n_codes[j];
      }
    }
  });
}

template <int Full, int Rest>
inline void multiply_by_row(lane_sums<Full, Rest>& product, const double* row) noexcept {
  for (int f = 0; f < Full; ++f) product.full[f].multiply(row + 8 * f);
  if constexpr (Rest > 0) product.rest.multiply(row + 8 * Full);
}

template <int Full, int Rest>
inline void add_to_row(const lane_sums<Full, Rest>& shares, double* row) noexcept {
  for (int f = 0; f < Full; ++f) shares.full[f].add_to(row + 8 * f);
  if constexpr (Rest > 0) shares.rest.add_to(row + 8 * Full);
}

template <int Full, int Rest>
inline void drop_smallest(lane_sums<Full, Rest>& product) noexcept {
  for (int f = 0; f < Full; ++f) product.full[f].keep_above(smallest_product);
  if constexpr (Rest > 0) product.rest.keep_above(smallest_product);
}

/// out[r * apart + l] = prior[l] times the rows of the codes of row r; nothing where it is too small after a stretch.
template <int Full, int Rest>
TALLYDRAW_APART inline void multiply_rows(const std::uint8_t* codes, index rows, index n_groups, const double* table,
                                          const index* begins, const index* ends, const double* prior, double* out,
                                          index apart) {
  constexpr int lanes = 8 * Full + Rest, together = rows_together_of(lanes);
  const auto multiply_some = [&](index r, auto size) {
    constexpr int G = decltype(size)::value;
    lane_sums<Full, Rest> product[G];
    for (int i = 0; i < G; ++i) product[i].load(prior, lanes);
    const std::uint8_t* const z = codes + r * n_groups;
    for (index g = 0; g < n_groups; ++g) {
      for (int i = 0; i < G; ++i)
        multiply_by_row(product[i], table + begins[g] + z[i * n_groups + g] * row_words(Full, Rest));
      if (ends[g])
        for (int i = 0; i < G; ++i) drop_smallest(product[i]);
    }
    for (int i = 0; i < G; ++i) product[i].store(out + (r + i) * apart, lanes);
  };
  index r = 0;
  for (; r + together <= rows; r += together) multiply_some(r, std::integral_constant<int, together>{});
  for (; r < rows; ++r) multiply_some(r, std::integral_constant<int, 1>{});
}

/// Moves the exponents of n normal numbers or zeros to `exponent`; leaves [1/2, 1), and zeros as they are.
inline void split(double* x, index* exponent, index n) noexcept {
  constexpr std::uint64_t fraction = 0x000FFFFFFFFFFFFF, half = 0x3FE0000000000000;
  for (index l = 0; l < n; ++l) {
    const std::uint64_t u = bits_of(x[l]), positive = 0 - static_cast<std::uint64_t>(u != 0);
    exponent[l] += static_cast<index>(((u >> 52) - 1022) & positive);
    x[l] = double_of(((u & fraction) | half) & positive);
  }
}

/// As multiply_rows, of one row, whatever the exponents: x[l] 2^e, e being what is returned, the largest of all classes.
/// exponent: room for row_lanes.
TALLYDRAW_APART inline index multiply_apart(const std::uint8_t* codes, index k, index n_groups, const workspace& w,
                                            double* x, index* exponent) {
  std::fill_n(x, row_lanes(k), 0.0);
  std::fill_n(exponent, row_lanes(k), 0);
  for_slices(k, n_groups, w.begins, [&](const index* own, index c, index, auto full, auto rest) {
    constexpr int F = decltype(full)::value, R = decltype(rest)::value, lanes = 8 * F + R;
    lane_sums<F, R> product;
    product.load(w.first + c, lanes);
    for (index g = 0; g < n_groups; ++g) {
      multiply_by_row(product, w.table + own[g] + codes[g] * row_words(F, R));
      if (!w.ends[g] && g + 1 < n_groups) continue;
      product.store(x + c, lanes);
      split(x + c, exponent + c, lanes);
      product.load(x + c, lanes);
    }
  });
  index most = INT64_MIN;
  for (index l = 0; l < k; ++l)
    if (x[l] > 0.0) most = std::max(most, exponent[l]);
  for (index l = 0; l < k; ++l) {
    const index below = most - exponent[l];
    x[l] = x[l] > 0.0 && below < farthest ? x[l] * double_of(static_cast<std::uint64_t>(1023 - below) << 52) : 0.0;
  }
  return most == INT64_MIN ? 0 : most;
}

/// sums[i] = the sum of row i of so many that are `apart` words apart, left to right.
template <int Rows>
inline void sum_rows(const double* x, index k, index apart, double* sums) noexcept {
  double sum[Rows] = {};
  for (index j = 0; j < k; ++j)
    for (int i = 0; i < Rows; ++i) sum[i] += x[i * apart + j];
  for (int i = 0; i < Rows; ++i) sums[i] = sum[i];
}

/// to[j] = from[j] times factor, rounded to a multiple of the unit, in parts of Width.
template <int Width>
inline void round_row(const double* from, double factor, double grid, index lanes, double* to) noexcept {
  for (index j = 0; j < lanes; j += Width) {
    doubles<Width> part;
    part.load(from + j);
    part.multiply(factor);
    part.add_to_all(grid);
    part.add_to_all(-grid);
    part.store(to + j);
  }
}

/// Products x of rows, `lanes` apart, become posteriors times weights[r] (1 where null), rounded; 2^-800 times `prior`
/// where sums[r] is 0.
template <int Width>
inline void weigh_rows(double* x, index rows, index lanes, const double* sums, const double* prior,
                       const double* weights, double grid) noexcept {
  for (index r = 0; r < rows; ++r, x += lanes) {
    const double weight = weights ? weights[r] : 1.0;
    const bool possible = sums[r] > 0.0;
    const double factor = possible ? weight / sums[r] : weight * (1.0 / two_to_begin);
    round_row<Width>(possible ? x : prior, factor, grid, lanes, x);
  }
}

/// f of the width of the parts of a row of so many lanes, as a type.
template <class F>
inline void with_width(index lanes, F&& f) {
  switch (lanes) {
    case 1: return f(std::integral_constant<int, 1>{});
    case 2: return f(std::integral_constant<int, 2>{});
    case 4: return f(std::integral_constant<int, 4>{});
    default: return f(std::integral_constant<int, 8>{});
  }
}

/// Adds the shares of each row to the rows of its codes.
template <int Full, int Rest>
TALLYDRAW_APART inline void count_rows(const std::uint8_t* codes, index rows, index n_groups, const double* shares,
                                       index apart, const index* begins, double* table) {
  for (index r = 0; r < rows; ++r, shares += apart, codes += n_groups) {
    lane_sums<Full, Rest> share;
    share.load(shares, 8 * Full + Rest);
    for (index g = 0; g < n_groups; ++g) add_to_row(share, table + begins[g] + codes[g] * row_words(Full, Rest));
  }
}

/// Adds the counts of groups to the flat counts of their features, all of the first group to `mass` too; leaves them
/// summed out.
inline void sum_out(const structure_view& s, const groups_view& groups, double* table, const index* begins,
                    double* mass, double* counts) {
  for_slices(s.n_classes, groups.n, begins, [&](const index* own, index c, index n, auto full, auto rest) {
    constexpr index stride = row_words(decltype(full)::value, decltype(rest)::value);
    for (index g = 0; g < groups.n; ++g) {
      double* const rows = table + own[g];
      index words = codes_of_group(groups, g) * stride;
      for (index j = groups.begin[g + 1]; j-- > groups.begin[g];) {
        const index categories = s.n_categories[j];
        double* const own_counts = counts + s.offsets[j] + c * categories;
        words /= groups.n_codes[j];
        for (index z = 0; z < groups.n_codes[j]; ++z) {
          double sum[stride] = {};
          for (index i = 0; i < words; i += stride) add_some<stride>(rows + z * words + i, sum);
          if (z < categories)
            for (index l = 0; l < n; ++l) own_counts[l * categories + z] += sum[l];
          if (z > 0) add_vector(rows + z * words, words, rows);
        }
      }
      if (g == 0)
        for (index l = 0; l < n; ++l) mass[c + l] += rows[l];
    }
  });
}

/// Counts of all threads, summed out.
inline void sum_up(const structure_view& s, const groups_view& groups, const workspace& w, int threads, double* mass,
                   double* counts) {
  for (int t = 1; t < threads; ++t) add_vector(w.counted(t), w.words.table, w.lent);
  sum_out(s, groups, w.lent, w.begins, mass, counts);
}

/// f(first row, rows, thread) for the tiles of n rows.
template <class F>
inline void for_tiles(index n, index k, int threads, F&& f) {
  const index step = std::max<index>(1, tile_cells / row_lanes(k));
  const index at_once = std::max<index>(1, grain / (step * k)) * step;
  parallel_blocks(n, at_once, threads, [=](index begin, index end, int thread) {
    for (index a = begin; a < end; a += step) f(a, std::min(step, end - a), thread);
  });
}

/// Products of the rows of a tile; row r has the sum sums[r] 2^exponents[r].
inline void multiply_tile(const std::uint8_t* codes, index rows, index k, index n_groups, const workspace& w,
                          int thread, double* sums, index* exponents) {
  const index lanes = row_lanes(k);
  double* const tile = w.tile(thread);
  for_slices(k, n_groups, w.begins, [&](const index* own, index c, index, auto full, auto rest) {
    constexpr int F = decltype(full)::value, R = decltype(rest)::value;
    multiply_rows<F, R>(codes, rows, n_groups, w.table, own, w.ends, w.first + c, tile + c, lanes);
  });
  index r = 0;
  for (; r + 8 <= rows; r += 8) sum_rows<8>(tile + r * lanes, k, lanes, sums + r);
  for (; r < rows; ++r) sum_rows<1>(tile + r * lanes, k, lanes, sums + r);
  for (r = 0; r < rows; ++r) {
    exponents[r] = -begin_exponent;
    if (sums[r] >= smallest_sum) continue;
    double* const row = tile + r * lanes;
    exponents[r] += multiply_apart(codes + r * n_groups, k, n_groups, w, row, w.exponent(thread));
    sum_rows<1>(row, k, lanes, sums + r);
  }
}

/// Adds the shares that a tile holds.
inline void count_tile(const std::uint8_t* codes, index rows, index k, index n_groups, const workspace& w, int thread) {
  for_slices(k, n_groups, w.begins, [&](const index* own, index c, index, auto full, auto rest) {
    constexpr int F = decltype(full)::value, R = decltype(rest)::value;
    count_rows<F, R>(codes, rows, n_groups, w.tile(thread) + c, row_lanes(k), own, w.counted(thread));
  });
}

}  // namespace posterior_counts

/// Scratch of count_posterior and count_shares in words of 64 bits.
inline index count_posterior_scratch(const structure_view& s, const groups_view& groups, int threads) {
  const posterior_counts::plan plan = posterior_counts::make_plan(s, groups);
  return plan.begins + plan.ends + plan.first + plan.table + threads * plan.thread_words();
}

/// Codes of groups [n, n_groups]; theta: flat probabilities of features without contexts; prior (K,). Positive ones of
/// either are at least 2^-halvings, halvings <= 128. Adds the posterior of row r times weights[r] (1 where null), rounded
/// to a multiple of a unit, to the flat counts of each of its codes, and to mass (K,); to neither where counts are null.
/// `grid` is 1.5 * 2^52 units, and no weight reaches 2^51 of them or 2^100. Impossible rows have the prior.
/// evidence (n,): log p(x). scratch: count_posterior_scratch words.
inline void count_posterior(const std::uint8_t* codes, index n, const structure_view& s, const groups_view& groups,
                            const double* theta, const double* prior, index halvings, const double* weights,
                            double grid, double* evidence, double* mass, double* counts, void* scratch, int threads) {
  namespace p = posterior_counts;
  const index k = s.n_classes;
  const p::workspace w = p::lend(s, groups, scratch, threads);
  p::find_stretches(groups, halvings, w.ends);
  for (index c = 0; c < k; ++c) w.first[c] = prior[c] * p::two_to_begin;
  p::multiply_up(s, groups, theta, w.begins, w.table);
  p::for_tiles(n, k, threads, [=](index begin, index rows, int thread) {
    const std::uint8_t* const z = codes + begin * groups.n;
    double* const tile = w.tile(thread);
    double sums[p::tile_cells];
    index exponents[p::tile_cells];
    p::multiply_tile(z, rows, k, groups.n, w, thread, sums, exponents);
    p::with_width(p::row_lanes(k), [&](auto width) {
      p::weigh_rows<decltype(width)::value>(tile, rows, p::row_lanes(k), sums, w.first,
                                            weights ? weights + begin : nullptr, grid);
    });
    log_scaled(sums, exponents, rows, evidence + begin);
    if (counts) p::count_tile(z, rows, k, groups.n, w, thread);
  });
  if (counts) p::sum_up(s, groups, w, threads, mass, counts);
}

/// The same of posteriors that are given: shares [n, K].
inline void count_shares(const std::uint8_t* codes, index n, const structure_view& s, const groups_view& groups,
                         const double* shares, const double* weights, double grid, double* mass, double* counts,
                         void* scratch, int threads) {
  namespace p = posterior_counts;
  const index k = s.n_classes;
  const p::workspace w = p::lend(s, groups, scratch, threads);
  p::for_tiles(n, k, threads, [=](index begin, index rows, int thread) {
    double* const tile = w.tile(thread);
    for (index r = 0; r < rows; ++r)
      p::round_row<1>(shares + (begin + r) * k, weights ? weights[begin + r] : 1.0, grid, k,
                      tile + r * p::row_lanes(k));
    p::count_tile(codes + begin * groups.n, rows, k, groups.n, w, thread);
  });
  p::sum_up(s, groups, w, threads, mass, counts);
}

}  // namespace tallydraw::TALLYDRAW_ISA
