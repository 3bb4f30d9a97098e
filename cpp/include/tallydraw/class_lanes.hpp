// How numbers of K classes lie where a row of them is loaded or added at once: in parts of eight classes, the last part
// as wide as the least power of two that holds the rest. Feature j has, from lane_offsets[j] on, for one part after the
// other a row of the part's width for each combined code, and one for the slot of missing cells. Features begin at
// multiples of eight numbers, so that no row lies on two cache lines.
#pragma once

#include <cstdint>
#include <type_traits>

#include "tallydraw/doubles.hpp"
#include "tallydraw/elementary.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

constexpr index widest_part = 8;

/// Width of the part that begins where `rest` classes are left.
constexpr index part_width(index rest) { return rest > 4 ? 8 : rest > 2 ? 4 : rest; }

/// Combined codes of feature j, the slot among them.
inline index lane_rows(const structure_view& s, index j) { return s.n_contexts[j] * s.n_categories[j] + 1; }

/// f(place, class, n) for the parts of feature j: the first row of the part, its first class, how many classes it has;
/// rows are part_width(n) apart.
template <class F>
inline void for_parts(const structure_view& s, index j, index lane_offset, F&& f) {
  for (index c = 0; c < s.n_classes; c += widest_part) {
    const index rest = s.n_classes - c;
    f(lane_offset + c * lane_rows(s, j), c, rest < widest_part ? rest : widest_part);
  }
}

/// The logs of combined codes [z0, z1) of feature j as class lanes: laid out first, so that logs run over flat stretches.
inline void lay_out_codes(const structure_view& s, index j, index z0, index z1, const double* probabilities,
                          index lane_offset, double* lanes) {
  constexpr index cells = 64;
  const index z_end = lane_rows(s, j) - 1;
  for_parts(s, j, lane_offset, [&](index place, index c0, index n) {
    const index width = part_width(n);
    for (index begin = z0; begin < z1; begin += cells) {
      const index m = z1 - begin < cells ? z1 - begin : cells;
      const double* const from = probabilities + s.offsets[j] + c0 * z_end + begin;
      double* const to = lanes + place + begin * width;
      for (index z = 0; z < m; ++z) {
        for (index c = 0; c < n; ++c) to[z * width + c] = from[c * z_end + z];
        for (index c = n; c < width; ++c) to[z * width + c] = 1.0;
      }
      log(to, m * width, to);
    }
  });
}

/// Logs of flat probabilities as class lanes; zeros in the slot and in lanes of no class. Threads split features, and
/// the codes of large ones.
inline void lay_out_logs(const structure_view& s, const double* probabilities, const index* lane_offsets, double* lanes,
                         int threads) {
  constexpr index large = 1 << 15;  // cells
  const index grain = s.d * large / (lane_offsets[s.d] + 1) + 1;
  const auto is_large = [&](index j) { return lane_offsets[j + 1] - lane_offsets[j] > large; };
  parallel_blocks(s.d, grain, threads, [&](index begin, index end, int) {
    for (index j = begin; j < end; ++j) {
      const index z_end = lane_rows(s, j) - 1;
      if (!is_large(j)) lay_out_codes(s, j, 0, z_end, probabilities, lane_offsets[j], lanes);
      for_parts(s, j, lane_offsets[j], [&](index place, index, index n) {
        const index width = part_width(n);
        for (index c = 0; c < width; ++c) lanes[place + z_end * width + c] = 0.0;
      });
    }
  });
  for (index j = 0; j < s.d; ++j)
    if (is_large(j))
      parallel_blocks(lane_rows(s, j) - 1, large / 4 / s.n_classes + 1, threads, [&](index z0, index z1, int) {
        lay_out_codes(s, j, z0, z1, probabilities, lane_offsets[j], lanes);
      });
}

/// Class lanes as a flat stack of tables.
inline void collect_lanes(const structure_view& s, const double* lanes, const index* lane_offsets, double* tables) {
  for (index j = 0; j < s.d; ++j) {
    const index z_end = lane_rows(s, j) - 1;
    for_parts(s, j, lane_offsets[j], [&](index place, index c0, index n) {
      const index width = part_width(n);
      for (index c = 0; c < n; ++c)
        for (index z = 0; z < z_end; ++z) tables[s.offsets[j] + (c0 + c) * z_end + z] = lanes[place + z * width + c];
    });
  }
}

/// Parts of a feature that are added at once.
constexpr index most_parts = 3;

/// Where the parts of features j0 … j1 - 1 begin that hold the classes from c on, `n_parts` a feature.
template <class Number>
inline void find_parts(const structure_view& s, Number* lanes, const index* lane_offsets, index j0, index j1, index c,
                       index n_parts, Number** parts) {
  for (index j = j0; j < j1; ++j)
    for (index f = 0; f < n_parts; ++f) *parts++ = lanes + lane_offsets[j] + (c + widest_part * f) * lane_rows(s, j);
}

/// Rows that are summed side by side, which hides the latency of sums.
constexpr int rows_together_of(int lanes) {
  const int vectors = (lanes + static_cast<int>(wide_lanes) - 1) / static_cast<int>(wide_lanes);
  return vectors >= 4 ? 2 : vectors >= 2 ? 4 : 8;
}

/// The lanes of Full parts of eight classes and one of Rest (0: none), of one row.
template <int Full, int Rest>
struct lane_sums {
  doubles<8> full[Full > 0 ? Full : 1];
  doubles<(Rest > 0 ? Rest : 1)> rest;

  /// `classes` numbers in all, less than lanes where the last part is not full, which one of 1 or 2 always is.
  void load(const double* from, index classes) noexcept {
    for (int f = 0; f < Full; ++f) full[f].load(from + 8 * f);
    if constexpr (Rest > 2)
      if (classes < 8 * Full + Rest) return rest.load_some(from + 8 * Full, classes - 8 * Full);
    if constexpr (Rest > 0) rest.load(from + 8 * Full);
  }
  void store(double* to, index classes) const noexcept {
    for (int f = 0; f < Full; ++f) full[f].store(to + 8 * f);
    if constexpr (Rest > 2)
      if (classes < 8 * Full + Rest) return rest.store_some(to + 8 * Full, classes - 8 * Full);
    if constexpr (Rest > 0) rest.store(to + 8 * Full);
  }
  /// Adds row z of every part; parts[f] is where a part begins.
  void add(const double* const* parts, index z) noexcept {
    for (int f = 0; f < Full; ++f) full[f].add(parts[f] + 8 * z);
    if constexpr (Rest > 0) rest.add(parts[Full] + Rest * z);
  }
  /// Adds itself to row z of every part.
  void add_to(double* const* parts, index z) const noexcept {
    for (int f = 0; f < Full; ++f) full[f].add_to(parts[f] + 8 * z);
    if constexpr (Rest > 0) rest.add_to(parts[Full] + Rest * z);
  }
};

template <int Full, class F>
inline void with_rest(index rest, F&& f) {
  constexpr std::integral_constant<int, Full> full{};
  switch (part_width(rest)) {
    case 1: return f(full, std::integral_constant<int, 1>{});
    case 2: return f(full, std::integral_constant<int, 2>{});
    case 4: return f(full, std::integral_constant<int, 4>{});
    case 8: return f(full, std::integral_constant<int, 8>{});
    default:
      if constexpr (Full > 0) f(full, std::integral_constant<int, 0>{});
  }
}

/// f(c, n, full, rest) for classes c … c + n - 1, at most 23 at a time, all of them together; full and rest are what
/// lane_sums is made of, as types.
template <class F>
inline void for_lanes(index n_classes, F&& f) {
  for (index c = 0; c < n_classes;) {
    const index left = n_classes - c;
    const index full = left >= 3 * widest_part ? 2 : left / widest_part;
    const index n = left >= 3 * widest_part ? 2 * widest_part : left;
    const auto step = [&](auto eights, auto rest) { f(c, n, eights, rest); };
    switch (full) {
      case 0: with_rest<0>(n, step); break;
      case 1: with_rest<1>(n - widest_part, step); break;
      default: with_rest<2>(n - 2 * widest_part, step); break;
    }
    c += n;
  }
}

}  // namespace tallydraw::TALLYDRAW_ISA
