// Rows of features from a stack of tables: row i is drawn feature by feature, every context before its child; its
// class, where there is one, picks the block of table rows.
//
// A thread takes a chunk of rows, brings the rows of a class together, and goes through the features tile by tile, so
// that the tables of a tile stay in cache while all rows of the chunk are drawn from them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tallydraw/levels.hpp"
#include "tallydraw/outcomes.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/philox.hpp"
#include "tallydraw/tile.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Rows of a chunk; their places in it fit into 16 bits.
constexpr index max_chunk_rows = 4096;
/// Rows of a class are brought together where a chunk has many of them.
constexpr index max_grouped_classes = 32;
constexpr index least_grouped_rows = 64;

/// What does not change from tile to tile.
template <class T>
struct feature_draws {
  const structure_view& s;
  const levels_view& levels;
  const index* y;  // classes of the chunk's rows, or null
  index only;      // only rows of this class are drawn, where it is not negative; the tables are its own
  std::uint64_t key;
  std::uint64_t start;
  T* out;         // the chunk's first row
  bool in_order;  // features are visited 0, 1, 2, …
};

/// Rows of a tile of `features` features where n are left.
template <class T>
inline index tile_rows(index features, index n) {
  return std::min({tile_cells<T> / features, max_tile_rows, std::max(group_size, power_of_two(n))});
}

/// Draws positions [first, first + size) of the order, for the chunk's rows place[0 … n); `grouped`: all of class
/// `of_class`.
template <class T>
inline void draw_tile(const feature_draws<T>& draws, index first, index size, index features,
                      const std::uint16_t* place, index n, bool grouped, index of_class, std::uint32_t* words, T* codes,
                      T* other) {
  const structure_view& s = draws.s;
  constexpr std::uint32_t tag = counter_tag(purpose::cells, 0);
  const auto feature_at = [&](index p) { return draws.in_order ? first + p : s.order[first + p]; };

  for (index begin = 0, m = 0; begin < n; begin += m) {
    const index stride = tile_rows<T>(features, n - begin);
    m = n - begin < stride ? n - begin : stride;
    std::uint64_t rows[max_tile_rows];
    for (index i = 0; i < m; ++i) rows[i] = draws.start + place[begin + i];
    for (index i = m; i < stride && i < m + lanes; ++i) rows[i] = 0;

    // Words: features in order share counters by fours; others are looked up.
    if (draws.in_order) {
      fill_tile(draws.key, tag, rows, m, static_cast<std::uint32_t>(first / 4), (size + 3) / 4, words, stride);
    } else {
      for (index p = 0; p < size; ++p) {
        const index block = feature_at(p) / 4;
        bool done = false;
        for (index q = 0; q < p && !done; ++q) done = feature_at(q) / 4 == block;
        if (done) continue;
        std::uint32_t* column[4];
        for (auto& c : column) c = words + features * stride;  // words of no feature of this tile go behind it
        for (index q = p; q < size; ++q)
          if (feature_at(q) / 4 == block) column[feature_at(q) % 4] = words + q * stride;
        fill_columns(draws.key, tag, rows, m, static_cast<std::uint32_t>(block),
                     {column[0], column[1], column[2], column[3]});
      }
    }

    // Outcomes, feature by feature.
    for (index p = 0; p < size; ++p) {
      const index j = feature_at(p);
      const auto f = feature_of<T>(s, draws.levels, j);
      const auto low = [key = draws.key, j, of = static_cast<const std::uint64_t*>(rows)](index i) {
        return one_word(key, tag + 1, of[i], static_cast<std::uint64_t>(j));
      };
      const index* const context = s.context + s.context_begin[j];
      const index contexts = s.context_begin[j + 1] - s.context_begin[j];
      if (contexts == 0 && grouped) {
        if (begin == 0 && p + 1 < size) {  // the next feature's table row comes while this one is drawn from
          const index next = feature_at(p + 1);
          if (s.context_begin[next] == s.context_begin[next + 1])
            prefetch_row(feature_of<T>(s, draws.levels, next), of_class);
        }
        outcomes_from_row(f, of_class, words + p * stride, m, codes + p * stride, low);
        continue;
      }
      index table_row[max_tile_rows];
      for (index i = 0; i < m; ++i) table_row[i] = grouped ? of_class : draws.y[place[begin + i]];
      for (index k = 0; k < contexts; ++k) {
        const index a = context[k];
        const index sizes = s.n_categories[a];
        index q = -1;  // the position of the context in this tile
        if (draws.in_order)
          q = a >= first ? a - first : -1;
        else
          for (index r = 0; r < p; ++r)
            if (feature_at(r) == a) q = r;
        if (q >= 0)
          for (index i = 0; i < m; ++i) table_row[i] = table_row[i] * sizes + static_cast<index>(codes[q * stride + i]);
        else
          for (index i = 0; i < m; ++i)
            table_row[i] = table_row[i] * sizes + static_cast<index>(draws.out[place[begin + i] * s.d + a]);
      }
      outcomes_from_rows(f, table_row, words + p * stride, m, codes + p * stride, low);
    }

    // Rows.
    const T* const tile = transpose(codes, other, features, stride);
    for (index i = 0; i < m; ++i) {
      T* const to = draws.out + place[begin + i] * s.d;
      const T* const from = tile + i * features;
      if (!draws.in_order)
        for (index p = 0; p < size; ++p) to[feature_at(p)] = from[p];
      else if (size == 32)
        std::memcpy(to + first, from, 32 * sizeof(T));
      else
        for (index p = 0; p < size; ++p) to[first + p] = from[p];
    }
  }
}

/// All features of n <= max_chunk_rows rows.
template <class T>
inline void draw_chunk(const feature_draws<T>& draws, index n) {
  const structure_view& s = draws.s;
  const index widest = sizeof(T) <= 2 ? 32 : 8;
  // At least four columns of words, and one for those of no feature. What few rows do not use is not cleared.
  std::uint32_t words[std::max(tile_cells<T>, 4 * max_tile_rows) + max_tile_rows + group_size];
  T codes[tile_cells<T>];
  T other[tile_cells<T>];
  const index columns = power_of_two(std::min(s.d, widest)), stride = tile_rows<T>(columns, n);
  std::fill_n(words, std::max<index>(columns, 4) * stride + stride + group_size, std::uint32_t{0});
  std::fill_n(codes, columns * stride, T{0});
  std::fill_n(other, columns * stride, T{0});

  // The chunk's rows, those of a class together.
  std::uint16_t place[max_chunk_rows];
  index class_end[max_grouped_classes];
  const bool grouped = draws.y == nullptr || draws.only >= 0 ||
                       (s.n_classes <= max_grouped_classes && s.n_classes * least_grouped_rows <= n);
  const index classes = draws.y != nullptr && grouped ? s.n_classes : 1;
  if (draws.only >= 0) {
    class_end[0] = 0;
    for (index i = 0; i < n; ++i)
      if (draws.y[i] == draws.only) place[class_end[0]++] = static_cast<std::uint16_t>(i);
  } else if (classes == 1) {
    for (index i = 0; i < n; ++i) place[i] = static_cast<std::uint16_t>(i);
    class_end[0] = n;
  } else {
    for (index k = 0; k < classes; ++k) class_end[k] = 0;
    for (index i = 0; i < n; ++i) ++class_end[draws.y[i]];
    for (index k = 0, at = 0; k < classes; ++k) {
      const index rows = class_end[k];
      class_end[k] = at;
      at += rows;
    }
    for (index i = 0; i < n; ++i) place[class_end[draws.y[i]]++] = static_cast<std::uint16_t>(i);
  }

  for (index first = 0; first < s.d; first += widest) {
    const index size = s.d - first < widest ? s.d - first : widest;
    const index features = power_of_two(size);
    for (index k = 0, begin = 0; k < classes; begin = class_end[k++])
      draw_tile(draws, first, size, features, place + begin, class_end[k] - begin, grouped, k, words, codes, other);
  }
}

/// out (n, d): row i is row start + i, which is below 2^64, of the stream, of class y[i]. Where `only` is not negative
/// the tables are of that class alone, and only its rows are written.
inline void sample_features(const structure_view& s, const levels_view& levels, const index* y, index only,
                            std::uint64_t key, std::uint64_t start, outcomes_view out, index n, int threads) {
  bool in_order = true;
  for (index p = 0; p < s.d; ++p) in_order &= s.order[p] == p;
  index grain = (n + threads - 1) / threads;  // large chunks use what they bring into cache more often
  grain = grain < 64 ? 64 : grain > max_chunk_rows ? max_chunk_rows : grain;
  with_outcomes(out, [&](auto* to) {
    using T = std::remove_pointer_t<decltype(to)>;
    parallel_blocks(n, grain, threads, [&](index begin, index end, int) {
      const feature_draws<T> draws{s,
                                   levels,
                                   y ? y + begin : nullptr,
                                   only,
                                   key,
                                   start + static_cast<std::uint64_t>(begin),
                                   to + begin * s.d,
                                   in_order};
      draw_chunk(draws, end - begin);
    });
  });
}

}  // namespace tallydraw::TALLYDRAW_ISA
