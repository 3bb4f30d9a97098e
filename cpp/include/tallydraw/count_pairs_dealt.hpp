// Contingency tables of many rows of few columns, of which no cell is missing and without a class: rows are dealt to the
// threads, which pack some and count them while they are in cache, and add up what each has found.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "tallydraw/count_pairs_columns.hpp"
#include "tallydraw/parallel.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Plans for threads that take rows, where that is worth it.
inline void plan_pieces(const codes_view& x, const structure_view& s, pair_plan& plan) {
  constexpr index most_columns = 256, least_words = 64, most_words = 64;
  const index threads = plan.threads, columns = plan.complete, words = (x.n + 63) / 64;
  if (plan.some_many || s.n_classes > 1 || columns > most_columns || words < 2 * least_words) return;
  const index rounds = (words + most_words * threads - 1) / (most_words * threads);
  const index each = (words + rounds * threads - 1) / (rounds * threads);
  plan.piece_words = std::clamp((each + 7) / 8 * 8, least_words / 2, most_words);
  plan.counted = round_up(words / plan.piece_words + 2);
  plan.piece_codes = round_up(64 * plan.piece_words * s.d + tile_width);
  plan.piece_bits = round_up(8 * columns * plan.piece_words);
  plan.piece_shared = round_up(4 * columns * (columns + 1));
  plan.thread_bytes = std::max(plan.thread_bytes, plan.piece_codes + plan.piece_bits + plan.piece_shared);
}

/// Adds what the `used` columns of a piece of n words have in common to `shared`, a row a column, and their totals to the row
/// before.
inline void count_piece(const chunk_columns& columns, index used, index n, std::uint32_t* shared) {
  const index n_columns = columns.n_columns;
  const auto add = [](const std::uint32_t* some, std::uint32_t* to) {
    for (index l = 0; l < bit_lanes; ++l) to[l] += some[l];
  };
  for (index g = 0; g < n_columns; g += bit_lanes) {
    std::uint32_t some[bit_lanes];
    set_bits(columns.group_of(g), n, some);
    add(some, shared + g);
  }
  std::uint32_t* row = shared + n_columns;
  for (index p = 0; p < used; p += column_block, row += column_block * n_columns) {
    const std::uint64_t* a[column_block];
    for (index i = 0; i < column_block; ++i) a[i] = columns.column(p + i);  // padding too
    for (index g = p / bit_lanes * bit_lanes; g < n_columns; g += bit_lanes) {
      std::uint32_t some[column_block][bit_lanes];
      shared_bits<column_block>(a, columns.group_of(g), n, {some[0], some[1], some[2], some[3]});
      for (index i = 0; i < column_block; ++i) add(some[i], row + i * n_columns + g);
    }
  }
}

/// Counts pieces of rows [row0, row1), at most 2^31, of features of few categories without a class, dealt to the threads,
/// until one has a missing cell: counted[p] = 1 where piece p is. Whether any is.
inline bool count_dealt(const encoder& e, const pair_plan& plan, index row0, index row1, chunk_columns columns,
                        std::uint8_t* begun, std::uint8_t* counted, const pair_places& places, index* marginals,
                        index* counts, char* scratch, int threads, first_index& bad) {
  const structure_view& s = e.s;
  const index rows = 64 * plan.piece_words, size = columns.n_columns * (columns.n_columns + 1);
  const auto shared_of = [&](int thread) {
    return reinterpret_cast<std::uint32_t*>(scratch + thread * plan.thread_bytes);
  };
  for (int thread = 0; thread < threads; ++thread) begun[thread] = 0;
  std::atomic<bool> incomplete{false};
  std::atomic<index> total{0};
  parallel_blocks(row1 - row0, rows, threads, [&](index a, index b, int thread) {
    counted[a / rows] = 0;
    if (incomplete.load(std::memory_order_relaxed)) return;
    std::uint32_t* const shared = shared_of(thread);
    char* const own = reinterpret_cast<char*>(shared) + plan.piece_shared;
    chunk_columns piece = columns;
    piece.bits = reinterpret_cast<std::uint64_t*>(own);
    piece.n_words = (b - a + 63) / 64;
    auto* const codes = reinterpret_cast<std::uint8_t*>(own + plan.piece_bits);
    if (pack_piece(e, row0 + a, row0 + b, piece, codes, 0, bad) & met_missing) {
      incomplete.store(true, std::memory_order_relaxed);
      return;
    }
    if (!begun[thread]) std::fill_n(shared, size, 0);
    begun[thread] = 1;
    count_piece(piece, piece.first[s.d], piece.n_words, shared);
    counted[a / rows] = 1;
    total += b - a;
  });
  if (bad.get() >= 0 || total == 0) return false;

  int first = 0;
  while (!begun[first]) ++first;
  std::uint32_t* const shared = shared_of(first);
  for (int thread = first + 1; thread < threads; ++thread) {
    if (!begun[thread]) continue;
    const std::uint32_t* const others = shared_of(thread);
    for (index i = 0; i < size; ++i) shared[i] += others[i];
  }
  columns.totals = shared;
  columns.group[0] = 0;
  columns.group[1] = total;
  add_marginals(s, columns, plan.few, marginals);
  parallel_blocks(s.d, s.d * s.d < 1 << 14 ? s.d : 16, threads, [&](index i0, index i1, int) {
    add_tables(s, columns, plan.few, i0, i1, 0, shared + (columns.first[i0] + 1) * columns.n_columns, places, counts);
  });
  return true;
}

}  // namespace tallydraw::TALLYDRAW_ISA
