// log p of sequences under a homogeneous Markov chain of order k: structure features 0 … k - 1 are the start states,
// feature k the transition of every later step. Each path's sum runs from first[c] left to right over its steps.
// Order 1: missing states inside a path are summed out exactly (a forward vector, every entry with its own exponent),
// at the end they add nothing, at the beginning they are summed over the start weights, or, without them, skipped.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "tallydraw/codes.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/scaled.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// States of a path encoded at once.
constexpr index path_chunk = 8192;

/// Scratch of log_prob_paths in words of 64 bits.
inline index log_prob_paths_scratch(const structure_view& s, int threads) {
  const index order = s.d - 1;
  return encoder_bytes(1) / 8 + threads * (path_chunk + order + 4 * s.n_classes * s.n_categories[order]);
}

/// The chain, its logs with classes innermost.
struct chain_view {
  index order;
  index n_states;
  index n_classes;
  const structure_view* s;
  const double* probabilities;
  const double* logs;
  const index* log_offsets;
  bool use_start;
};

/// sum[w] += log of the steps x[begin] … x[end - 1] for W classes from `logs` on; the `order` states before are there.
template <int W, class U>
inline void add_steps(const U* x, index begin, index end, index order, index n_states, index n_classes,
                      const double* logs, double* sums) {
  double sum[W];
  for (int w = 0; w < W; ++w) sum[w] = sums[w];
  for (index t = begin; t < end; ++t) {
    index z = x[t - order];
    for (index i = t - order + 1; i <= t; ++i) z = z * n_states + static_cast<index>(x[i]);
    for (int w = 0; w < W; ++w) sum[w] += logs[z * n_classes + w];
  }
  for (int w = 0; w < W; ++w) sums[w] = sum[w];
}

/// Steps [begin, end) of one path, no state missing; x[i] is step first + i, and steps before x[0] are at x[-1] ….
template <class U>
inline void score_known(const chain_view& c, const U* x, index first, index begin, index end, double* sums) {
  const index k = c.n_classes;
  for (; begin < end && first + begin < c.order; ++begin) {
    if (!c.use_start) continue;
    const index t = first + begin;
    index z = 0;
    for (index i = 0; i <= t; ++i) z = z * c.n_states + static_cast<index>(x[begin - t + i]);
    for (index w = 0; w < k; ++w) sums[w] += c.logs[c.log_offsets[t] + z * k + w];
  }
  const double* logs = c.logs + c.log_offsets[c.order];
  index w = 0;
  if (c.order == 1) {
    for (; w + 4 <= k; w += 4) add_steps<4>(x, begin, end, 1, c.n_states, k, logs + w, sums + w);
    for (; w < k; ++w) add_steps<1>(x, begin, end, 1, c.n_states, k, logs + w, sums + w);
  }
  for (; w + 4 <= k; w += 4) add_steps<4>(x, begin, end, c.order, c.n_states, k, logs + w, sums + w);
  for (; w < k; ++w) add_steps<1>(x, begin, end, c.order, c.n_states, k, logs + w, sums + w);
}

/// Four paths of order 1 and one class side by side, steps [1, n) each: hides the latency of the sums.
template <class U>
inline void add_four(const U* const x[4], index n, index n_states, const double* logs, double* sums) {
  double s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
  for (index t = 1; t < n; ++t) {
    s0 += logs[static_cast<index>(x[0][t - 1]) * n_states + static_cast<index>(x[0][t])];
    s1 += logs[static_cast<index>(x[1][t - 1]) * n_states + static_cast<index>(x[1][t])];
    s2 += logs[static_cast<index>(x[2][t - 1]) * n_states + static_cast<index>(x[2][t])];
    s3 += logs[static_cast<index>(x[3][t - 1]) * n_states + static_cast<index>(x[3][t])];
  }
  sums[0] = s0;
  sums[1] = s1;
  sums[2] = s2;
  sums[3] = s3;
}

/// A run of missing states of a path of order 1: what is known of the last of them.
enum class gap { none, skipped, forward };

/// Steps x[0 … n) of one path of order 1, some missing; x[0] is step `first`. forward: [n_classes][2][n_states].
template <class U>
inline gap score_with_gaps(const chain_view& c, const U* x, index first, index n, gap state, scaled* forward,
                           double* sums) {
  const index m = c.n_states;
  const double* start = c.probabilities + c.s->offsets[0];
  const double* transition = c.probabilities + c.s->offsets[1];
  for (index t = 0; t < n; ++t) {
    if (static_cast<index>(x[t]) < m) {
      if (state == gap::none) {
        score_known(c, x, first, t, t + 1, sums);
      } else if (state == gap::forward) {
        for (index w = 0; w < c.n_classes; ++w) {
          const scaled p =
              sum_of_products(transition + w * m * m + static_cast<index>(x[t]), m, forward + 2 * w * m, m);
          sums[w] += log_scaled(p.m, p.e);
        }
      }
      state = gap::none;
      continue;
    }
    const bool at_start = first + t == 0;
    if (state == gap::skipped || (at_start && !c.use_start)) {
      state = gap::skipped;
      continue;
    }
    for (index w = 0; w < c.n_classes; ++w) {
      const double* theta = transition + w * m * m;
      scaled* f = forward + 2 * w * m;
      if (state == gap::forward) {
        for (index b = 0; b < m; ++b) f[m + b] = sum_of_products(theta + b, m, f, m);
        for (index b = 0; b < m; ++b) f[b] = f[m + b];
      } else {
        const double* row = at_start ? start + w * m : theta + static_cast<index>(x[t - 1]) * m;
        for (index b = 0; b < m; ++b) f[b] = make_scaled(row[b]);
      }
    }
    state = gap::forward;
  }
  return state;
}

/// The flat states as an (n, 1) matrix of codes.
inline codes_view codes_of(const pieces_view& paths) {
  const index size = visit_unsigned(paths.type, [](auto v) { return static_cast<index>(sizeof(v)); });
  return {paths.x, paths.type, paths.n_pieces > 0 ? paths.offsets[paths.n_pieces] : 0, 1, size, size};
}

/// Paths x[offsets[i] … offsets[i + 1]), i < n; out (n, K). Returns the least index into x of a state >= n_states, or,
/// where the order is not 1, of a missing one; or -1. scratch: log_prob_paths_scratch words.
inline index log_prob_paths(const pieces_view& paths, const structure_view& s, const double* probabilities,
                            const double* logs, const index* log_offsets, bool use_start, const double* first,
                            double* out, void* scratch, int threads) {
  const index n = paths.n_pieces;
  const index* offsets = paths.offsets;
  const index order = s.d - 1;
  const index n_states = s.n_categories[order];
  const index k = s.n_classes;
  const chain_view c{order, n_states, k, &s, probabilities, logs, log_offsets, use_start};
  const codes_view x = codes_of(paths);
  const index one = 1;
  const index none[2] = {0, 0};
  const structure_view flat{1, 1, &n_states, &one, none, none, none, none};
  const encoder e = make_encoder(x, code_rules{-1, false, false}, flat, scratch);
  char* parts = static_cast<char*>(scratch) + encoder_bytes(1);
  const index part = 8 * log_prob_paths_scratch(s, 1) - encoder_bytes(1);
  const index steps = n > 0 ? offsets[n] - offsets[0] : 0;
  const index grain =
      steps <= 0 ? 1024 : std::max<index>(1, std::min<index>((n + threads - 1) / threads, 65536 * n / steps + 1));
  first_index bad;
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    parallel_blocks(n, grain, threads, [&](index begin, index end, int thread) {
      scaled* forward = reinterpret_cast<scaled*>(parts + thread * part);
      U* states = reinterpret_cast<U*>(forward + 2 * k * n_states) + order;  // `order` states before are kept
      // Encodes x[a … b) into states; whether some state is missing.
      const auto encode_states = [&](index a, index b) {
        const unsigned met = encode(e, a, b, 0, 1, states, states);
        if (met & met_bad) bad.report(first_bad(e, a, b));
        if ((met & met_missing) == 0) return false;
        if (order != 1)
          for (index i = a; i < b; ++i)
            if (static_cast<index>(states[i - a]) >= n_states) {
              bad.report(i);
              break;
            }
        return true;
      };
      for (index i = begin; i < end; ++i)
        for (index w = 0; w < k; ++w) out[i * k + w] = first[w];
      for (index i = begin; i < end;) {
        // As many whole paths as fit into a chunk.
        index last = i;
        while (last < end && offsets[last + 1] - offsets[i] <= path_chunk) ++last;
        if (last > i) {
          const bool missing = encode_states(offsets[i], offsets[last]);
          if (missing && order != 1) {
            i = last;
            continue;
          }
          const index origin = offsets[i];
          while (i < last) {
            if (!missing && order == 1 && k == 1 && last - i >= 4) {
              const U* four[4];
              index common = path_chunk;
              for (int g = 0; g < 4; ++g) {
                four[g] = states + (offsets[i + g] - origin);
                common = std::min(common, offsets[i + g + 1] - offsets[i + g]);
                score_known(c, four[g], 0, 0, std::min<index>(1, offsets[i + g + 1] - offsets[i + g]), out + i + g);
              }
              add_four(four, common, n_states, logs + log_offsets[1], out + i);
              for (int g = 0; g < 4; ++g)
                score_known(c, four[g], 0, std::max<index>(1, common), offsets[i + g + 1] - offsets[i + g],
                            out + i + g);
              i += 4;
              continue;
            }
            const U* path = states + (offsets[i] - origin);
            const index length = offsets[i + 1] - offsets[i];
            if (missing)
              score_with_gaps(c, path, 0, length, gap::none, forward, out + i * k);
            else
              score_known(c, path, 0, 0, length, out + i * k);
            ++i;
          }
          continue;
        }
        // A path longer than a chunk, in pieces.
        gap state = gap::none;
        for (index a = offsets[i]; a < offsets[i + 1]; a += path_chunk) {
          const index b = std::min(a + path_chunk, offsets[i + 1]);
          const bool missing = encode_states(a, b);
          if (missing && order != 1) break;
          const index step = a - offsets[i];
          if (missing || state != gap::none)
            state = score_with_gaps(c, states, step, b - a, state, forward, out + i * k);
          else
            score_known(c, states, step, 0, b - a, out + i * k);
          for (index t = 1; t <= order; ++t) states[-t] = states[b - a - t];
        }
        ++i;
      }
    });
  });
  return bad.get();
}

}  // namespace tallydraw::TALLYDRAW_ISA
