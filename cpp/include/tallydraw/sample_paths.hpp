// Paths of a homogeneous Markov chain of order k: step t of path i is the cell (i, t); features 0 … k - 1 of the
// structure start it, feature k is the transition of every later step. A tile holds several paths, whose steps
// interleave and so hide each other's latency.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <type_traits>

#include "tallydraw/levels.hpp"
#include "tallydraw/outcomes.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/philox.hpp"
#include "tallydraw/tile.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Paths of a tile, where there are as many.
template <class T>
constexpr index max_tile_paths = sizeof(T) <= 2 ? 256 : 64;
/// Paths of which a step is searched for in registers, where that is possible (measured).
constexpr index least_side_by_side = 16;

/// Steps [step, step + length) of n <= max_tile_paths<T> paths, the first of which is row `first` of the stream.
template <class T>
inline void draw_paths(const structure_view& s, const levels_view& levels, const index* y, const index* initial,
                       std::uint64_t key, std::uint64_t first, index step, T* out, index n, index length) {
  constexpr std::uint32_t tag = counter_tag(purpose::cells, 0);
  const index order = s.d - 1;
  const index categories = s.n_categories[order];
  const index contexts = s.n_contexts[order];  // categories^order
  const index oldest = order > 0 ? contexts / categories : 1;
  const index stride = power_of_two(n);
  const index steps = std::min({tile_cells<T> / stride, index{256}, power_of_two(length)});

  // Blocks of four steps, the first and the last of which may be of other tiles too. What short paths do not use is not
  // cleared.
  std::uint32_t words[tile_cells<T> + 6 * max_tile_paths<T> + group_size];
  T codes[tile_cells<T> + group_size];
  T other[tile_cells<T>];
  std::fill_n(words, (steps + 6) * stride + group_size, std::uint32_t{0});
  std::fill_n(codes, steps * stride + group_size, T{0});
  std::fill_n(other, steps * stride, T{0});
  std::uint64_t rows[max_tile_paths<T> < lanes ? lanes : max_tile_paths<T>] = {};
  index context[max_tile_paths<T>] = {};
  if (step > 0)
    for (index i = 0; i < n; ++i)
      for (index t = 0; t < order; ++t) context[i] = context[i] * categories + initial[i * order + t];
  // Every later step is drawn from the same table rows.
  std::optional<row_search<T>> search;
  if (const auto f = feature_of<T>(s, levels, order); n >= least_side_by_side && row_search<T>::pays(f, n * length))
    search.emplace(f);
  // context % oldest, by a multiplication where both are small (Granlund & Montgomery 1994).
  const bool small = contexts <= index{1} << 16;
  const index reciprocal = small ? ((index{1} << 32) + oldest - 1) / oldest : 0;
  const auto rest = [=](index c) { return small ? c - (c * reciprocal >> 32) * oldest : c % oldest; };
  // Of order 1 without a class the state before is the table row.
  const bool simple = order == 1 && !y;
  T last[max_tile_paths<T>] = {};
  const T* previous = nullptr;
  for (index i = 0; i < n; ++i) rows[i] = first + static_cast<std::uint64_t>(i);

  for (index begin = 0; begin < length; begin += steps) {
    const index m = length - begin < steps ? length - begin : steps;
    const index skip = (step + begin) % 4;  // words of steps before this tile, where `step` is no multiple of 4
    fill_tile(key, tag, rows, n, static_cast<std::uint32_t>((step + begin) / 4), (skip + m + 3) / 4, words, stride);
    for (index p = 0; p < m; ++p) {
      const index t = step + begin + p;
      const index j = t < order ? t : order;
      T* const code = codes + p * stride;
      if (t < order && initial) {
        for (index i = 0; i < n; ++i) code[i] = static_cast<T>(initial[i * order + t]);
      } else {
        const auto f = feature_of<T>(s, levels, j);
        const row_search<T>* const of = search && j == order ? &*search : nullptr;
        const std::uint32_t* const word = words + (skip + p) * stride;
        const auto low = [key, t, row = static_cast<const std::uint64_t*>(rows)](index i) {
          return one_word(key, tag + 1, row[i], static_cast<std::uint64_t>(t));
        };
        if (previous && j == order) {
          outcomes_from_rows(f, previous, word, n, code, low, of);
        } else {
          index table_row[max_tile_paths<T>];
          for (index i = 0; i < n; ++i) table_row[i] = (y ? y[i] * s.n_contexts[j] : 0) + context[i];
          outcomes_from_rows(f, table_row, word, n, code, low, of);
        }
      }
      if (simple) {
        previous = code;
        continue;
      }
      if (order > 1 && t >= order)
        for (index i = 0; i < n; ++i) context[i] = rest(context[i]);
      for (index i = 0; i < n; ++i)
        context[i] =
            order > 1 ? context[i] * categories + static_cast<index>(code[i]) : order * static_cast<index>(code[i]);
    }
    if (previous && begin + m < length) {
      for (index i = 0; i < n; ++i) last[i] = previous[i];
      previous = last;
    }
    if (stride == 1) {
      std::memcpy(out + begin, codes, static_cast<std::size_t>(m) * sizeof(T));
      continue;
    }
    const T* const tile = transpose(codes, other, steps, stride);
    constexpr index piece = tile_cells<T> / max_tile_paths<T>;  // of the usual tile: a copy of known length is one move
    if (m == piece && steps == piece)
      for (index i = 0; i < n; ++i) std::memcpy(out + i * length + begin, tile + i * piece, piece * sizeof(T));
    else
      for (index i = 0; i < n; ++i)
        std::memcpy(out + i * length + begin, tile + i * steps, static_cast<std::size_t>(m) * sizeof(T));
  }
}

/// out (n, length): path i is row start + i, which is below 2^64, of the stream, of class y[i]. `initial` (n, k): the
/// first k states or, where step > 0 (then at least k), the k states before it; null: they are drawn.
inline void sample_paths(const structure_view& s, const levels_view& levels, const index* y, const index* initial,
                         std::uint64_t key, std::uint64_t start, index step, outcomes_view out, index n, index length,
                         int threads) {
  const index order = s.d - 1;
  with_outcomes(out, [&](auto* to) {
    constexpr index most = max_tile_paths<std::remove_pointer_t<decltype(to)>>;
    const index grain = std::clamp<index>((n + threads - 1) / threads, 1, most);
    parallel_blocks(n, grain, threads, [&](index begin, index end, int) {
      draw_paths(s, levels, y ? y + begin : nullptr, initial ? initial + begin * order : nullptr, key,
                 start + static_cast<std::uint64_t>(begin), step, to + begin * length, end - begin, length);
    });
  });
}

}  // namespace tallydraw::TALLYDRAW_ISA
