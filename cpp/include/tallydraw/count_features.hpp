// Counts of features: how often feature j has combined code z in class k. Rows are encoded in blocks, features in tiles
// (codes.hpp), so that what is counted into stays in cache. Three strategies with the same integers:
// byte lanes for few categories, a private table of small counts, or straight into the result where a table is large,
// features have parents, or rows have weights.
#pragma once

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
  index cells;        // small counts of a thread's private table, 0: straight into the result
  index parts;        // pieces of the rows, each counted by one task
  index tile_bytes;   // of a thread
  index plain_bytes;  // of a thread
  index thread_bytes;
  bool grouped;       // rows are grouped by class once for all tiles, not block by block
  index group_bytes;  // of rows grouped by class: all of them, or a block of each thread
  bool lanes;
};

inline index round_up(index bytes) { return (bytes + 63) / 64 * 64; }

inline count_plan plan_counts(const codes_view& x, const structure_view& s, bool weighted, int threads) {
  constexpr index class_cells = 1 << 15;    // 64 KiB of small counts: what is counted into at a time stays in cache
  constexpr index private_cells = 1 << 20;  // of all classes
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
  plan.block = contexts ? (1 << 17) / s.d : 2048;
  plan.block = plan.block < 16 ? 16 : plan.block > 2048 ? 2048 : plan.block;
  plan.width = tile_width;  // a power of two: rows are read in whole vectors
  while (plan.width > 1 && (plan.width * most > class_cells || plan.width * s.n_classes * (most + 1) > private_cells))
    plan.width /= 2;
  plan.width = plan.width > s.d ? s.d : plan.width;
  plan.parts = 1;
  const index tiles = (s.d + plan.width - 1) / plan.width;
  if (direct) {
    const index share = (s.d + threads - 1) / threads;
    plan.width = plan.width > share ? share : plan.width;
  } else {
    plan.cells = plan.width * s.n_classes * (most + 1);
    plan.parts = tiles < 2 * threads ? threads : 1;
    plan.lanes = most <= 16 && plan.width >= 8 && plan.block / s.n_classes >= 32;
  }
  plan.tile_bytes = round_up(plan.block * plan.width * 8 + tile_width);
  plan.plain_bytes = contexts ? round_up(plan.block * s.d * 8) : 0;
  plan.thread_bytes =
      plan.tile_bytes + plan.plain_bytes + round_up(sizeof(small_count) * plan.cells) + round_up(4 * plan.width);
  plan.grouped = plan.cells > 0 && tiles > 1;
  const index blocks = plan.grouped ? (x.n + plan.block - 1) / plan.block : threads;
  plan.group_bytes = round_up(4 * plan.block * blocks) + round_up(8 * (s.n_classes + 1)) * blocks;
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
inline void group_rows(const index* y, index m, index n_classes, std::int32_t* rows, index* group) {
  if (!y || n_classes == 1) {
    for (index r = 0; r < m; ++r) rows[r] = static_cast<std::int32_t>(r);
    group[0] = 0;
    group[1] = m;
    return;
  }
  for (index k = 0; k <= n_classes; ++k) group[k] = 0;
  for (index r = 0; r < m; ++r) ++group[y[r]];
  index sum = 0;
  for (index k = 0; k < n_classes; ++k) sum += group[k], group[k] = sum;
  group[n_classes] = m;
  for (index r = m - 1; r >= 0; --r) rows[--group[y[r]]] = static_cast<std::int32_t>(r);
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
  std::int32_t* rows;  // plan.block of each block
  index* group;        // group_size of each block
  index group_size;    // n_classes + 1, on cache lines of its own
};

/// Whether features [j0, j1) have as many categories each.
inline bool all_alike(const structure_view& s, index j0, index j1) {
  for (index j = j0; j < j1; ++j)
    if (s.n_categories[j] != s.n_categories[j0]) return false;
  return true;
}

/// One task without contexts: features [j0, j1) of rows [row0, row1), counted privately, then added to `counts`.
template <class U>
inline void count_task(const encoder& e, const count_plan& plan, index row0, index row1, index j0, index j1,
                       const index* y, const row_groups& groups, index thread, index* counts, char* scratch,
                       merge_lock& lock, first_index& bad) {
  const structure_view& s = e.s;
  const index width = j1 - j0;
  U* tile = reinterpret_cast<U*>(scratch);
  scratch += plan.tile_bytes + plan.plain_bytes;
  auto* table = reinterpret_cast<small_count*>(scratch);
  scratch += round_up(sizeof(small_count) * plan.cells);
  auto* base = reinterpret_cast<std::int32_t*>(scratch);

  index cells = 0;  // of one class: every feature and its slot
  for (index j = 0; j < width; ++j) {
    base[j] = static_cast<std::int32_t>(cells);
    cells += s.n_categories[j0 + j] + 1;
  }
  const index filled = s.n_classes * cells;
  constexpr index byte_cells = 257;  // of a feature whose codes are all bytes there are
  const bool bytes = s.n_categories[j0] == byte_cells - 1 && all_alike(s, j0, j1);
  for (index i = 0; i < filled; ++i) table[i] = 0;
  const auto empty = [&] {
    if (plan.parts > 1) lock.acquire();  // integers: whichever thread comes first, the sums are the same
    for (index k = 0; k < s.n_classes; ++k)
      for (index j = 0; j < width; ++j) {
        const small_count* from = table + k * cells + base[j];
        index* to = counts + s.offsets[j0 + j] + k * s.n_categories[j0 + j];
        for (index c = 0; c < s.n_categories[j0 + j]; ++c) to[c] += from[c];
      }
    if (plan.parts > 1) lock.release();
  };

  index since = 0;  // rows since the table was empty
  for (index a = row0; a < row1; a += plan.block) {
    const index b = a + plan.block < row1 ? a + plan.block : row1;
    if (since + b - a > most_small) {
      empty();
      for (index i = 0; i < filled; ++i) table[i] = 0;
      since = 0;
    }
    since += b - a;
    const unsigned met = encode(e, a, b, j0, j1, tile, static_cast<U*>(nullptr));
    if (met & met_bad) return bad.report(first_bad(e, a, b));
    const index place = plan.grouped ? a / plan.block : thread;
    std::int32_t* const rows = groups.rows + place * plan.block;
    index* const group = groups.group + place * groups.group_size;
    if (!plan.grouped) group_rows(y ? y + a : nullptr, b - a, s.n_classes, rows, group);
    for (index k = 0; k < s.n_classes; ++k) {
      small_count* mine = table + k * cells;
      if constexpr (sizeof(U) == 1) {
        if (plan.lanes) {
          index most = 0;
          for (index j = j0; j < j1; ++j) most = s.n_categories[j] > most ? s.n_categories[j] : most;
          for (index g = group[k]; g < group[k + 1]; g += 255) {
            const index m = group[k + 1] - g < 255 ? group[k + 1] - g : 255;
            for (index c = 0; c < most; c += 2) {
              std::uint8_t lanes_met[2 * tile_width];
              count_lanes(tile, width, rows + g, m, static_cast<std::uint8_t>(c), lanes_met);
              for (index i = 0; i < 2; ++i)
                for (index j = 0; j < width; ++j)
                  if (c + i < s.n_categories[j0 + j])
                    mine[base[j] + c + i] =
                        static_cast<small_count>(mine[base[j] + c + i] + lanes_met[i * tile_width + j]);
            }
          }
          continue;
        }
      }
      if (bytes)
        count_rows<byte_cells>(tile, width, rows + group[k], group[k + 1] - group[k], width, base, mine);
      else
        count_rows<0>(tile, width, rows + group[k], group[k + 1] - group[k], width, base, mine);
    }
  }

  empty();
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
  const row_groups groups{reinterpret_cast<std::int32_t*>(lent),
                          reinterpret_cast<index*>(lent + round_up(4 * plan.block * places)),
                          round_up(8 * (s.n_classes + 1)) / 8};
  lent += plan.group_bytes;
  if (plan.grouped)
    parallel_blocks(x.n, plan.block, threads, [&](index a, index b, int) {
      group_rows(y ? y + a : nullptr, b - a, s.n_classes, groups.rows + a,
                 groups.group + a / plan.block * groups.group_size);
    });
  const index tiles = (s.d + plan.width - 1) / plan.width;
  const index rows = (blocks + plan.parts - 1) / plan.parts * plan.block;
  first_index bad;
  merge_lock lock;
  visit_unsigned(e.tile, [&](auto u) {
    parallel_blocks(tiles * plan.parts, 1, threads, [&](index task, index, int thread) {
      const index j0 = task / plan.parts * plan.width;
      const index row0 = task % plan.parts * rows;
      count_task<decltype(u)>(e, plan, row0, row0 + rows < x.n ? row0 + rows : x.n, j0,
                              j0 + plan.width < s.d ? j0 + plan.width : s.d, y, groups, thread, counts,
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
