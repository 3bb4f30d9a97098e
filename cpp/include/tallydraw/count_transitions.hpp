// Transition counts of order k: how often state c follows the k states before it, in pieces of one flat array.
#pragma once

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

/// Adds the steps that end in [a, b) of one piece to table[from * C + to], `from` the code of the `order` states before.
/// The states before `a` are read again for their code, never counted. Returns the first position in [a, b) whose state is
/// no state, or -1.
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

/// The same for order 1, which needs no division; the two tables take turns so that a step repeated at once does not wait
/// for the store of the one before it.
template <class T, class Count>
inline index count_single_steps(const T* x, index begin, index a, index b, index n_states, Count* even, Count* odd) {
  const auto c_count = static_cast<std::uint64_t>(n_states);
  index t = a;
  std::uint64_t from = a > begin ? static_cast<std::uint64_t>(x[a - 1]) : c_count;
  for (; t + 1 < b; t += 2) {
    const auto first = static_cast<std::uint64_t>(x[t]);
    const auto second = static_cast<std::uint64_t>(x[t + 1]);
    if (from >= c_count || first >= c_count || second >= c_count) {
      if (first >= c_count && x[t] >= 0) return t;
      if (second >= c_count && x[t + 1] >= 0) return t + 1;
      if (from < c_count && first < c_count) even[from * c_count + first] += 1;
      if (first < c_count && second < c_count) odd[first * c_count + second] += 1;
    } else {
      even[from * c_count + first] += 1;
      odd[first * c_count + second] += 1;
    }
    from = second;
  }
  if (t < b) {
    const auto last = static_cast<std::uint64_t>(x[t]);
    if (last >= c_count && x[t] >= 0) return t;
    if (from < c_count && last < c_count) even[from * c_count + last] += 1;
  }
  return -1;
}

/// Table cells up to which a thread counts into two tables of its own.
constexpr index private_transition_cells = 1 << 17;

/// Scratch that count_transitions needs, in cells of 64 bits.
inline index count_transitions_scratch(index cells, int threads) {
  return cells <= private_transition_cells ? 2 * cells * threads : 0;
}

/// Adds the transitions of all pieces to counts ([K,] C^order, C). Returns the first bad position, or -1.
template <class T>
inline index count_typed_transitions(const pieces_view& pieces, index n_classes, index n_states, index order,
                                     index* counts, index* scratch, int threads) {
  const T* x = static_cast<const T*>(pieces.x);
  index n_contexts = 1;
  for (index i = 0; i < order; ++i) n_contexts *= n_states;
  const index block = n_contexts * n_states;
  const index cells = n_classes * block;
  const index n = pieces.offsets[pieces.n_pieces];
  const bool shared = cells > private_transition_cells;  // one thread, straight into counts
  first_index bad;
  if (!shared)
    for (index i = 0; i < 2 * cells * threads; ++i) scratch[i] = 0;
  const index first = pieces.offsets[0];
  const index grain = shared ? n - first + 1 : 1 << 15;
  parallel_blocks(n - first, grain, threads, [&](index a, index b, int thread) {
    index* even = shared ? counts : scratch + 2 * cells * thread;
    index* odd = shared ? counts : even + cells;
    a += first;
    b += first;
    for (index i = piece_of(pieces, a); i < pieces.n_pieces && pieces.offsets[i] < b; ++i) {
      const index begin = pieces.offsets[i];
      const index from = begin > a ? begin : a;
      const index to = pieces.offsets[i + 1] < b ? pieces.offsets[i + 1] : b;
      if (from >= to) continue;
      const index shift = pieces.y ? pieces.y[i] * block : 0;
      const index at = order == 1 ? count_single_steps(x, begin, from, to, n_states, even + shift, odd + shift)
                                  : count_steps(x, begin, from, to, n_states, order, n_contexts, even + shift);
      if (at >= 0) {
        bad.report(at);
        return;
      }
    }
  });
  if (!shared)
    for (int s = 0; s < 2 * threads; ++s)
      for (index i = 0; i < cells; ++i) counts[i] += scratch[s * cells + i];
  return bad.get();
}

inline index count_transitions(const pieces_view& pieces, index n_classes, index n_states, index order, index* counts,
                               index* scratch, int threads) {
  return visit_codes(pieces.type, [&](auto t) {
    return count_typed_transitions<decltype(t)>(pieces, n_classes, n_states, order, counts, scratch, threads);
  });
}

}  // namespace tallydraw::TALLYDRAW_ISA
