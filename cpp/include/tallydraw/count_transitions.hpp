// Transition counts of order k: how often state c follows the k states before it, in pieces of one flat array.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include "tallydraw/codes.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// The piece that holds position t; pieces may be empty.
inline index piece_of(const pieces_view& pieces, index t) {
  index low = 0;
  index high = pieces.n_pieces;
  while (high - low > 1) {
    const index middle = low + (high - low) / 2;
    (pieces.offsets[middle] <= t ? low : high) = middle;
  }
  return low;
}

/// Adds the steps that end in [a, b) of one piece to table[from * C + to], `from` the code of the `order` states
/// before. The states before `a` are read again for their code, never counted. Returns the first position in [a, b)
/// whose state is no state, or -1.
template <class T, class Count>
inline index count_steps(const T* x, index begin, index a, index b, index n_states, index order, index n_contexts,
                         Count* table) {
  const auto c_count = static_cast<std::uint64_t>(n_states);
  const auto keep = static_cast<std::uint64_t>(n_contexts / n_states);  // contexts of order k - 1
  std::uint64_t context = 0;
  index known = 0;  // states since the last break, at most `order`
  for (index t = a - begin > order ? a - order : begin; t < b; ++t) {
    const auto state = static_cast<std::uint64_t>(x[t]);  // a negative state wraps to a large one
    if (state >= c_count) {
      if (x[t] >= 0 && t >= a) return t;
      known = 0;
      context = 0;
      continue;
    }
    if (known == order) {
      if (t >= a) table[context * c_count + state] += 1;
      context = (keep == 1 ? 0 : context % keep * c_count) + state;
    } else {
      context = context * c_count + state;
      ++known;
    }
  }
  return -1;
}

/// Private tables that take turns, so that a step repeated at once does not wait for the store of the one before it.
/// Counts of 32 bits: half the bytes stay nearer.
using step_count = std::uint32_t;
constexpr index most_steps = UINT32_MAX;
struct step_tables {
  step_count* turn[4];
};

/// Whether all of x[a … b) are states.
template <class T>
inline bool all_states(const T* x, index a, index b, std::uint64_t n_states) {
  using U = std::make_unsigned_t<T>;
  constexpr auto largest = static_cast<std::uint64_t>(std::numeric_limits<T>::max());
  if (std::is_unsigned_v<T> && n_states > largest) return true;
  const U last = static_cast<U>(n_states > largest ? largest : n_states - 1);
  U most = 0;  // a negative state wraps to a large one
  for (index t = a; t < b; ++t) most = static_cast<U>(x[t]) > most ? static_cast<U>(x[t]) : most;
  return most <= last;
}

/// count_steps for order 1, which needs no division.
template <class T>
inline index count_single_steps(const T* x, index begin, index a, index b, index n_states, const step_tables& tables) {
  const auto c_count = static_cast<std::uint64_t>(n_states);
  step_count* const t0 = tables.turn[0];
  step_count* const t1 = tables.turn[1];
  step_count* const t2 = tables.turn[2];
  step_count* const t3 = tables.turn[3];
  constexpr index chunk = 4096;
  index t = a > begin ? a : begin + 1;  // the first step ends at the second state
  if (a == begin && static_cast<std::uint64_t>(x[a]) >= c_count && x[a] >= 0) return a;
  while (t < b) {
    const index end = b - t < chunk ? b : t + chunk;
    auto from = static_cast<std::uint64_t>(x[t - 1]);
    if (all_states(x, t - 1, end, c_count)) {
      for (; t + 4 <= end; t += 4) {
        const auto s0 = static_cast<std::uint64_t>(x[t]);
        const auto s1 = static_cast<std::uint64_t>(x[t + 1]);
        const auto s2 = static_cast<std::uint64_t>(x[t + 2]);
        const auto s3 = static_cast<std::uint64_t>(x[t + 3]);
        ++t0[from * c_count + s0];
        ++t1[s0 * c_count + s1];
        ++t2[s1 * c_count + s2];
        ++t3[s2 * c_count + s3];
        from = s3;
      }
    }
    for (; t < end; ++t) {
      const auto to = static_cast<std::uint64_t>(x[t]);
      if (to >= c_count && x[t] >= 0) return t;
      if (from < c_count && to < c_count) ++t0[from * c_count + to];
      from = to;
    }
  }
  return -1;
}

/// Table cells up to which a thread counts into tables of its own, and into four of them.
constexpr index private_transition_cells = 1 << 17;
constexpr index four_table_cells = 1 << 10;

/// 32-bit cells of a thread.
inline index thread_step_counts(index cells) {
  return cells > private_transition_cells ? 0 : cells <= four_table_cells ? 4 * cells : (cells + 1) / 2 * 2;
}

/// Counts from one thread's to the next one's, which are on other cache lines.
constexpr index thread_stride(index counts) { return (counts + 15) / 16 * 16; }

/// Scratch that count_transitions needs, in cells of 64 bits.
inline index count_transitions_scratch(index cells, int threads) {
  return thread_stride(thread_step_counts(cells)) * threads / 2;
}

/// Adds the transitions of all pieces to counts ([K,] C^order, C). Returns the first bad position, or -1.
template <class T>
inline index count_typed_transitions(const pieces_view& pieces, index n_classes, index n_states, index order,
                                     index* counts, void* scratch, int threads) {
  const T* x = static_cast<const T*>(pieces.x);
  index n_contexts = 1;
  for (index i = 0; i < order; ++i) n_contexts *= n_states;
  const index block = n_contexts * n_states;
  const index cells = n_classes * block;
  const index first = pieces.offsets[0];
  const index n = pieces.offsets[pieces.n_pieces] - first;
  const index own = n > most_steps ? 0 : thread_step_counts(cells);  // 0: one thread, straight into counts
  auto* const lent = static_cast<step_count*>(scratch);
  const index stride = thread_stride(own);
  for (index i = 0; i < stride * threads; ++i) lent[i] = 0;
  first_index bad;
  parallel_blocks(n, own ? index{1} << 15 : n + 1, threads, [&](index a, index b, int thread) {
    a += first;
    b += first;
    for (index i = piece_of(pieces, a); i < pieces.n_pieces && pieces.offsets[i] < b; ++i) {
      const index begin = pieces.offsets[i];
      const index from = begin > a ? begin : a;
      const index to = pieces.offsets[i + 1] < b ? pieces.offsets[i + 1] : b;
      if (from >= to) continue;
      const index shift = pieces.y ? pieces.y[i] * block : 0;
      index at;
      if (own && order == 1) {
        step_tables tables;
        for (int q = 0; q < 4; ++q)
          tables.turn[q] = lent + stride * thread + (own == 4 * cells ? q * cells : 0) + shift;
        at = count_single_steps(x, begin, from, to, n_states, tables);
      } else if (own) {
        at = count_steps(x, begin, from, to, n_states, order, n_contexts, lent + stride * thread + shift);
      } else {
        at = count_steps(x, begin, from, to, n_states, order, n_contexts, counts + shift);
      }
      if (at >= 0) {
        bad.report(at);
        return;
      }
    }
  });
  const index tables = own == 4 * cells ? 4 : 1;
  for (int thread = 0; thread < threads && own; ++thread)
    for (index q = 0; q < tables; ++q)
      for (index i = 0; i < cells; ++i) counts[i] += lent[stride * thread + q * cells + i];
  return bad.get();
}

inline index count_transitions(const pieces_view& pieces, index n_classes, index n_states, index order, index* counts,
                               void* scratch, int threads) {
  return visit_codes(pieces.type, [&](auto t) {
    return count_typed_transitions<decltype(t)>(pieces, n_classes, n_states, order, counts, scratch, threads);
  });
}

}  // namespace tallydraw::TALLYDRAW_ISA
