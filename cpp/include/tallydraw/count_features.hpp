// Counts of features: how often feature j has combined code z in class k. Rows are encoded in blocks, features in tiles
// (codes.hpp), so that what is counted into stays in cache; bytes are counted where they lie, where that will do. Four
// strategies with the same integers: byte lanes for few categories, bits of columns for few categories and classes, a
// private table of small counts, or straight into the result where a table is large, features have parents, or rows
// have weights.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tallydraw/attributes.hpp"
#include "tallydraw/class_lanes.hpp"
#include "tallydraw/codes.hpp"
#include "tallydraw/count_soft.hpp"
#include "tallydraw/count_tiles.hpp"
#include "tallydraw/parallel.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// How a call is cut up; the same for the scratch it needs and for the work.
struct count_plan {
  index block;        // rows encoded at once
  index width;        // features of a tile
  index span;         // features of a task: a tile, or all, so that rows are read once
  index apart;        // small counts of a feature and class in a thread's private table
  index cells;        // of all of them, 0: straight into the result
  index parts;        // pieces of the rows, each counted by one task
  index tile_bytes;   // of a thread
  index plain_bytes;  // of a thread
  index thread_bytes;
  bool grouped;       // rows are grouped by class once for all tiles, not block by block
  index group_bytes;  // of rows grouped by class: all of them, or a block of each thread
  bool lanes;
  bool bits;      // columns of bytes, few of whose categories and classes are counted as bits
  bool as_given;  // bytes are counted where they are, whatever they mean: what is no category is seen in the counts
};

/// Small counts of a feature and class where bytes are counted as they are; odd, so that they fall into all cache sets.
constexpr index byte_cells = 257;

inline index round_up(index bytes) { return (bytes + 63) / 64 * 64; }

inline count_plan plan_counts(const codes_view& x, const structure_view& s, bool weighted, int threads) {
  constexpr index class_cells = 1 << 15;    // 64 KiB of small counts: what is counted into at a time stays in cache
  constexpr index private_cells = 1 << 20;  // of all classes
  constexpr index span_cells = 1 << 16;     // of all features as well
  count_plan plan{};
  index most = 1;
  for (index j = 0; j < s.d; ++j) {
    const index z = s.n_contexts[j] * s.n_categories[j];
    most = z > most ? z : most;
  }
  const bool contexts = s.context_begin[s.d] > 0;
  // A private table is cleared and added once: a few rows are better counted straight into the result.
  const bool direct = weighted || contexts || most >= class_cells || s.n_classes * (most + 1) > private_cells ||
                      s.n_classes > 512 || x.n < s.n_classes * most / 2;
  plan.block = contexts ? (1 << 17) / s.d : rows_at_once;
  plan.block = plan.block < 16 ? 16 : plan.block > rows_at_once ? rows_at_once : plan.block;
  plan.width = tile_width;  // a power of two: rows are read in whole vectors
  while (plan.width > 1 && (plan.width * most > class_cells || plan.width * s.n_classes * (most + 1) > private_cells))
    plan.width /= 2;
  plan.width = plan.width > s.d ? s.d : plan.width;
  plan.parts = 1;
  if (direct) {
    const index share = (s.d + threads - 1) / threads;
    plan.width = plan.width > share ? share : plan.width;
  } else {
    const index step = x.column_stride;
    const index bytes = x.type == code_type::u8 ? 256 : x.type == code_type::i8 ? 128 : 0;  // that can be categories
    // Every category costs a comparison of all of a tile's lanes: up to so many a feature, less than an increment.
    const index compared = most * tile_width * ((s.d + plan.width - 1) / plan.width);
    plan.lanes = compared <= lane_categories * s.d && plan.block / s.n_classes >= 32;
    plan.bits = x.type == code_type::u8 && x.row_stride == 1 && (s.d == 1 || x.column_stride >= x.n) &&
                most * (s.n_classes + 1) <= most_bit_counts;
    plan.as_given = !plan.lanes && most <= bytes && step >= 1 && step <= 8 && x.n >= s.n_classes * byte_cells &&
                    plan.width * s.n_classes * byte_cells <= private_cells;
    plan.apart = plan.as_given ? byte_cells : most + 1;
    const index all = s.d * s.n_classes * plan.apart;
    plan.span = plan.lanes && all <= span_cells ? s.d : plan.width;
    plan.cells = plan.span * s.n_classes * plan.apart;
    plan.parts = plan.span * 2 * threads > s.d ? threads : 1;
  }
  plan.tile_bytes = round_up(plan.block * plan.width * 8 + tile_width);
  plan.plain_bytes = contexts ? round_up(plan.block * s.d * 8) : 0;
  plan.thread_bytes = plan.tile_bytes + plan.plain_bytes + round_up(sizeof(small_count) * plan.cells);
  plan.grouped = plan.cells > 0 && plan.span < s.d;
  const index blocks = plan.grouped ? (x.n + plan.block - 1) / plan.block : threads;
  plan.group_bytes = round_up(sizeof(row_number) * plan.block * blocks) + round_up(8 * (s.n_classes + 1)) * blocks;
  return plan;
}

/// Scratch that the two kernels below need, in words of 64 bits.
inline index count_features_scratch(const codes_view& x, const structure_view& s, int threads) {
  const count_plan counted = plan_counts(x, s, false, threads);
  const index weighted = plan_counts(x, s, true, threads).thread_bytes;
  const index most = counted.thread_bytes > weighted ? counted.thread_bytes : weighted;
  return (round_up(encoder_bytes(s.d)) + counted.group_bytes + threads * most) / 8;
}

/// m rows in order of their class: rows[group[k]] … rows[group[k + 1] - 1] are those of class k.
template <class Row>
inline void group_rows(const index* y, index m, index n_classes, Row* rows, index* group) {
  if (!y || n_classes == 1) {
    for (index r = 0; r < m; ++r) rows[r] = static_cast<Row>(r);
    group[0] = 0;
    group[1] = m;
    return;
  }
  for (index k = 0; k <= n_classes; ++k) group[k] = 0;
  for (index r = 0; r < m; ++r) ++group[y[r]];
  index sum = 0;
  for (index k = 0; k < n_classes; ++k) sum += group[k], group[k] = sum;
  group[n_classes] = m;
  for (index r = m - 1; r >= 0; --r) rows[--group[y[r]]] = static_cast<Row>(r);
}

/// Adds a tile straight to the tables of features j0 …; every cell in row order: `weights` null counts ones.
template <class U, class Cell>
inline void add_rows(const structure_view& s, const U* tile, index m, index j0, index j1, const index* y,
                     const double* weights, Cell* tables) {
  for (index r = 0; r < m; ++r) {
    const index k = y ? y[r] : 0;
    const Cell weight = weights ? static_cast<Cell>(weights[r]) : Cell{1};
    for (index j = j0; j < j1; ++j) {
      const index cells = s.n_contexts[j] * s.n_categories[j];
      const index z = static_cast<index>(*tile++);
      if (z < cells) tables[s.offsets[j] + k * cells + z] += weight;  // z == cells is the slot
    }
  }
}

/// Rows by class in blocks of rows.
struct row_groups {
  row_number* rows;  // plan.block of each block
  index* group;      // group_size of each block
  index group_size;  // n_classes + 1, on cache lines of its own
};

/// One task without contexts: features [first, last) of rows [row0, row1), counted privately, then added to `counts`.
template <class U>
inline void count_task(const encoder& e, const count_plan& plan, index row0, index row1, index first, index last,
                       const index* y, const row_groups& groups, index thread, index* counts, char* scratch,
                       merge_lock& lock, first_index& bad) {
  const structure_view& s = e.s;
  U* tile = reinterpret_cast<U*>(scratch);
  scratch += plan.tile_bytes + plan.plain_bytes;
  auto* table = reinterpret_cast<small_count*>(scratch);
  const index apart = plan.apart, cells = (last - first) * apart;  // of one class
  const index filled = s.n_classes * cells;
  for (index i = 0; i < filled; ++i) table[i] = 0;
  const codes_view& x = e.x;
  // Bytes of few categories that cannot be missing are counted where they are: what is bad lacks in the counts.
  const bool complete =
      plan.lanes && x.type == code_type::u8 && !e.slots && x.column_stride == 1 && x.row_stride >= x.d;
  const bool by_bits = plan.bits && !e.slots;
  std::uint64_t classes[(most_bit_counts + 1) * rows_at_once / 64];
  const char* const end = static_cast<const char*>(x.data) + (x.n - 1) * x.row_stride + x.d;

  index since = 0;  // rows since the table was empty
  // Integers: whichever thread comes first, the sums are the same. Whether all that was met may be there.
  const auto empty = [&] {
    bool strange = false;
    if (plan.parts > 1) lock.acquire();
    for (index j = first; j < last; ++j) {
      const index c_j = s.n_categories[j];
      index met = 0;
      for (index k = 0; k < s.n_classes; ++k) {
        const small_count* from = table + k * cells + (j - first) * apart;
        index* to = counts + s.offsets[j] + k * c_j;
        for (index c = 0; c < c_j; ++c) met += from[c], to[c] += from[c];
        if (!plan.as_given) continue;
        if (e.named && e.missing < static_cast<std::uint64_t>(c_j)) to[e.missing] -= from[e.missing];
        for (index c = c_j; c <= static_cast<index>(e.top); ++c)
          strange = strange || (from[c] > 0 && !(e.named && static_cast<std::uint64_t>(c) == e.missing));
      }
      strange = strange || (!e.slots && met < since);
    }
    if (plan.parts > 1) lock.release();
    return !strange || e.unseen_is_missing;
  };

  for (index a = row0; a < row1; a += plan.block) {
    const index b = a + plan.block < row1 ? a + plan.block : row1;
    if (since + b - a > most_small) {
      if (!empty()) return bad.report(first_bad(e, a - since, a));
      for (index i = 0; i < filled; ++i) table[i] = 0;
      since = 0;
    }
    since += b - a;
    if (by_bits) {
      class_bits(y ? y + a : nullptr, b - a, s.n_classes, classes);
      for (index j = first; j < last; ++j) {
        const auto* const column = static_cast<const std::uint8_t*>(x.data) + a + j * x.column_stride;
        for (index at = 0; j + 1 < last && at < b - a; at += 64) prefetch(column + x.column_stride + at);
        count_by_bits(column, b - a, classes, s.n_classes, s.n_categories[j], cells, table + (j - first) * apart);
      }
      continue;
    }
    const index place = plan.grouped ? a / plan.block : thread;
    row_number* const rows = groups.rows + place * plan.block;
    index* const group = groups.group + place * groups.group_size;
    if (!plan.grouped) group_rows(y ? y + a : nullptr, b - a, s.n_classes, rows, group);
    const char* const data = static_cast<const char*>(x.data);
    const index c = std::min(b + plan.block, row1);  // the next block ends
    for (index j0 = first; j0 < last; j0 += plan.width) {
      const index j1 = j0 + plan.width < last ? j0 + plan.width : last, width = j1 - j0;
      const char* const bytes = data + a * x.row_stride + j0 * x.column_stride;
      // Lanes read whole vectors, which at the end of X would be too much.
      const bool in_place = plan.as_given || (complete && bytes + (b - a - 1) * x.row_stride + tile_width <= end);
      if (!in_place && (encode(e, a, b, j0, j1, tile, static_cast<U*>(nullptr)) & met_bad))
        return bad.report(first_bad(e, b - since, b));  // what was counted where it lies is not checked yet
      ahead next(data + b * x.row_stride, data + (in_place && j0 == first ? c : b) * x.row_stride, b - a);
      for (index k = 0; k < s.n_classes; ++k) {
        small_count* mine = table + k * cells + (j0 - first) * apart;
        const row_number* const of_class = rows + group[k];
        const index n_rows = group[k + 1] - group[k], left = b - a - group[k];
        const auto* from = reinterpret_cast<const std::uint8_t*>(bytes);
        if (plan.as_given && x.column_stride == 1) {
          count_rows<byte_cells, 1>(from, x.row_stride, 1, of_class, n_rows, left, width, apart, mine);
        } else if (plan.as_given) {
          count_rows<byte_cells, 0>(from, x.row_stride, x.column_stride, of_class, n_rows, left, width, apart, mine);
        } else if (plan.lanes) {
          if (!in_place) from = reinterpret_cast<const std::uint8_t*>(tile);  // few categories have bytes as codes
          count_by_lanes(from, in_place ? x.row_stride : width, of_class, n_rows, s.n_categories + j0, width, apart,
                         next, mine);
        } else {
          count_rows<0, 1>(tile, width, 1, of_class, n_rows, 0, width, apart, mine);
        }
      }
    }
  }

  if (!empty()) bad.report(first_bad(e, row1 - since, row1));
}

/// One task that owns features [first, last) of all rows: add(tile, m, j0, j1, a) adds those of rows a … a + m - 1.
template <class U, class Add>
inline void add_task(const encoder& e, const count_plan& plan, index first, index last, Add add, char* scratch,
                     first_index& bad) {
  U* tile = reinterpret_cast<U*>(scratch);
  U* plain = reinterpret_cast<U*>(scratch + plan.tile_bytes);
  for (index a = 0; a < e.x.n; a += plan.block) {
    const index b = a + plan.block < e.x.n ? a + plan.block : e.x.n;
    if (e.contexts && (encode(e, a, b, 0, 0, tile, plain) & met_bad)) return bad.report(first_bad(e, a, b));
    for (index j0 = first; j0 < last; j0 += plan.width) {
      const index j1 = j0 + plan.width < last ? j0 + plan.width : last;
      if (e.contexts)
        combine(e, plain, b - a, j0, j1, tile);
      else if (encode(e, a, b, j0, j1, tile, plain) & met_bad)
        return bad.report(first_bad(e, a, b));
      add(tile, b - a, j0, j1, a);
    }
  }
}

/// Straight into the result: a thread owns features, so a cell's additions run in row order on any number of threads.
template <class Add>
inline index add_features(const codes_view& x, const code_rules& rules, const structure_view& s, Add add, void* scratch,
                          int threads) {
  const encoder e = make_encoder(x, rules, s, scratch);
  const count_plan plan = plan_counts(x, s, true, threads);
  char* lent = static_cast<char*>(scratch) + round_up(encoder_bytes(s.d));
  // With contexts every task encodes whole rows: one task a thread. Otherwise a tile a task: its tables stay in cache.
  const index grain = e.contexts ? (s.d + threads - 1) / threads : plan.width;
  first_index bad;
  visit_unsigned(e.tile, [&](auto u) {
    parallel_blocks(s.d, grain, threads, [&](index j0, index j1, int thread) {
      add_task<decltype(u)>(e, plan, j0, j1, add, lent + thread * plan.thread_bytes, bad);
    });
  });
  return bad.get();
}

/// Adds the counts of all rows to `counts`. Returns the first bad cell (row * d + column), or -1.
inline index count_features(const codes_view& x, const index* y, const code_rules& rules, const structure_view& s,
                            index* counts, void* scratch, int threads) {
  const count_plan plan = plan_counts(x, s, false, threads);
  if (plan.cells == 0) {
    const auto add = [&](const auto* tile, index m, index j0, index j1, index a) {
      add_rows(s, tile, m, j0, j1, y ? y + a : nullptr, static_cast<const double*>(nullptr), counts);
    };
    return add_features(x, rules, s, add, scratch, threads);
  }
  const encoder e = make_encoder(x, rules, s, scratch);
  char* lent = static_cast<char*>(scratch) + round_up(encoder_bytes(s.d));
  const index blocks = (x.n + plan.block - 1) / plan.block;
  const index places = plan.grouped ? blocks : threads;
  const row_groups groups{reinterpret_cast<row_number*>(lent),
                          reinterpret_cast<index*>(lent + round_up(sizeof(row_number) * plan.block * places)),
                          round_up(8 * (s.n_classes + 1)) / 8};
  lent += plan.group_bytes;
  if (plan.grouped)
    parallel_blocks(x.n, plan.block, threads, [&](index a, index b, int) {
      group_rows(y ? y + a : nullptr, b - a, s.n_classes, groups.rows + a,
                 groups.group + a / plan.block * groups.group_size);
    });
  const index spans = (s.d + plan.span - 1) / plan.span;
  const index rows = (blocks + plan.parts - 1) / plan.parts * plan.block;
  first_index bad;
  merge_lock lock;
  visit_unsigned(e.tile, [&](auto u) {
    parallel_blocks(spans * plan.parts, 1, threads, [&](index task, index, int thread) {
      const index first = task / plan.parts * plan.span, last = std::min(s.d, first + plan.span);
      const index row0 = task % plan.parts * rows, row1 = std::min(x.n, row0 + rows);
      count_task<decltype(u)>(e, plan, row0, row1, first, last, y, groups, thread, counts,
                              lent + thread * plan.thread_bytes, lock, bad);
    });
  });
  return bad.get();
}

/// The same with weights, in float64: every cell adds its weights in row order.
inline index count_features_weighted(const codes_view& x, const index* y, const code_rules& rules,
                                     const structure_view& s, const double* weights, double* sums, void* scratch,
                                     int threads) {
  const auto add = [&](const auto* tile, index m, index j0, index j1, index a) {
    add_rows(s, tile, m, j0, j1, y ? y + a : nullptr, weights + a, sums);
  };
  return add_features(x, rules, s, add, scratch, threads);
}

/// Adds weights[r][c], n classes c of k, to the lanes of every cell of row r, in row order. `parts`: where the lanes of
/// each feature begin, part by part.
template <int Full, int Rest, class U>
TALLYDRAW_APART inline void add_weights(const U* tile, index rows, index width, const double* weights, index n, index k,
                                        double* const* parts) {
  constexpr int n_parts = Full + (Rest > 0);
  lane_sums<Full, Rest> weight;
  for (index r = 0; r < rows; ++r, weights += k) {
    weight.load(weights, n);
    for (index j = 0; j < width; ++j) weight.add_to(parts + j * n_parts, static_cast<index>(*tile++));
  }
}

/// The same where a row is of every class k with a weight of its own, weights[r * K + k]; sums are class lanes
/// (class_lanes.hpp), and what is in the slots of missing cells belongs to nobody.
inline index count_features_soft(const codes_view& x, const code_rules& rules, const structure_view& s,
                                 const index* lane_offsets, const double* weights, double* lanes, void* scratch,
                                 int threads) {
  const index k = s.n_classes;
  const auto add = [&](const auto* tile, index m, index j0, index j1, index a) {
    if constexpr (sizeof(*tile) == 1)
      if (are_soft(s, j0, j1, m)) return add_soft(s, j0, tile, m, j1 - j0, weights + a * k, k, lane_offsets, lanes);
    for_lanes(k, [&](index c, index n, auto full, auto rest) {
      constexpr int F = decltype(full)::value, R = decltype(rest)::value;
      double* parts[most_parts * tile_width];
      find_parts(s, lanes, lane_offsets, j0, j1, c, F + (R > 0), parts);
      add_weights<F, R>(tile, m, j1 - j0, weights + a * k + c, n, k, parts);
    });
  };
  return add_features(x, rules, s, add, scratch, threads);
}

}  // namespace tallydraw::TALLYDRAW_ISA
