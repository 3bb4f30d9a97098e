// log p of sequences under a homogeneous Markov chain of order k: structure features 0 … k - 1 are the start states,
// feature k the transition of every later step. Each path's sum runs from first[c] left to right over its steps.
// Order 1: missing states inside a path are summed out exactly (a forward vector, every entry with its own exponent),
// at the end they add nothing, at the beginning they are summed over the start weights, or, without them, skipped.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tallydraw/attributes.hpp"
#include "tallydraw/codes.hpp"
#include "tallydraw/doubles.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/prefetch.hpp"
#include "tallydraw/scaled.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// States of a path encoded at once; paths that are summed side by side.
constexpr index path_chunk = 8192;
constexpr index paths_together = 8;

/// Scratch of log_prob_paths in words of 64 bits.
inline index log_prob_paths_scratch(const structure_view& s, int threads) {
  const index order = s.d - 1;
  return encoder_bytes(1) / 8 + threads * (1 + 2 * path_chunk + order + 4 * s.n_classes * s.n_categories[order]);
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

/// Brings the logs of a step near, in order: other threads have just written a part of them, and to find it out line by
/// line costs more. Not where a thread has fewer `steps` than they have lines.
inline void fetch_logs(const chain_view& c, index steps) {
  constexpr index in_first_level = 4096, line = 8;
  const index cells = c.log_offsets[c.order + 1] - c.log_offsets[c.order];
  if (cells <= in_first_level || steps < cells / line) return;
  for (index i = 0; i < cells; i += line) prefetch_far(c.logs + c.log_offsets[c.order] + i);
}

/// z[t] = the combined code of the states x[t - order] … x[t], for begin <= t < end.
template <class U, class Z>
inline void combine_steps(const U* x, index begin, index end, index order, index n_states, Z* z) {
  const Z n = static_cast<Z>(n_states);
  if (order == 1) {
    for (index t = begin; t < end; ++t)
      z[t] = static_cast<Z>(static_cast<Z>(static_cast<Z>(x[t - 1]) * n) + static_cast<Z>(x[t]));
    return;
  }
  for (index t = begin; t < end; ++t) {
    Z code = static_cast<Z>(x[t - order]);
    for (index i = t - order + 1; i <= t; ++i) code = static_cast<Z>(code * n + static_cast<Z>(x[i]));
    z[t] = code;
  }
}

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
constexpr bool lowest_last = true;
#else
constexpr bool lowest_last = false;
#endif

/// Codes in a list; as many as fill a word of 64 bits are read at once.
template <class Z>
struct listed {
  using word = std::uint64_t;
  static constexpr int together = 8 / static_cast<int>(sizeof(Z));

  const Z* z;

  Z operator[](index t) const { return z[t]; }
  listed operator+(index t) const { return {z + t}; }
  word read(index t) const {
    word several;
    std::memcpy(&several, z + t, sizeof several);
    return several;
  }
  static index code(word several, int i) {
    const int place = lowest_last ? together - 1 - i : i;
    return static_cast<index>(static_cast<Z>(several >> (place * 8 * static_cast<int>(sizeof(Z)) % 64)));
  }
};

/// Those of steps among 256 states, one a byte: the state before and its own, read where they are. Four bytes hold three.
struct neighbours {
  using word = std::uint32_t;
  static constexpr int together = 3;

  const std::uint8_t* x;

  index operator[](index t) const { return x[t - 1] << 8 | x[t]; }
  neighbours operator+(index t) const { return {x + t}; }
  word read(index t) const {
    word bytes;
    std::memcpy(&bytes, x + t - 1, sizeof bytes);
    if constexpr (!lowest_last) bytes = bytes << 24 | (bytes & 0xff00) << 8 | (bytes >> 8 & 0xff00) | bytes >> 24;
    return bytes;
  }
  static index code(word bytes, int i) { return static_cast<std::uint16_t>(bytes >> (16 - 8 * i)); }
};

/// sums[g][w] += logs[z[g][t]][w] for t < n, for W classes of k of `paths` paths side by side, which hides the latency
/// of sums. sums[g] begins k after the one before. Codes: listed or neighbours.
template <int W, int paths, class Codes>
inline void add_steps(const Codes* z, index n, const double* logs, index k, double* sums) {
  Codes from[paths];
  doubles<W> sum[paths];
  for (int g = 0; g < paths; ++g) from[g] = z[g];
  for (int g = 0; g < paths; ++g) sum[g].load(sums + g * k);
  for (index t = 0; t < n; ++t)
    for (int g = 0; g < paths; ++g) sum[g].add(logs + static_cast<index>(from[g][t]) * k);
  for (int g = 0; g < paths; ++g) sum[g].store(sums + g * k);
}

/// The same for one class of all: two paths share a register. On its own: there are registers for little else.
template <int paths, class Codes>
TALLYDRAW_APART inline void add_pairs(const Codes* z, index n, const double* logs, double* sums) {
  Codes from[paths];
  doubles<2> sum[paths / 2];
  for (int g = 0; g < paths; ++g) from[g] = z[g];
  for (int g = 0; g < paths / 2; ++g) sum[g].load(sums + 2 * g);
  index t = 0;
  for (; t + Codes::together <= n; t += Codes::together)
    for (int g = 0; g < paths; g += 2) {
      const auto first = from[g].read(t), second = from[g + 1].read(t);
      for (int i = 0; i < Codes::together; ++i)
        sum[g / 2].add(logs[Codes::code(first, i)], logs[Codes::code(second, i)]);
    }
  for (; t < n; ++t)
    for (int g = 0; g < paths; g += 2) sum[g / 2].add(logs[from[g][t]], logs[from[g + 1][t]]);
  for (int g = 0; g < paths / 2; ++g) sum[g].store(sums + 2 * g);
}

template <int paths, class Codes>
inline void add_classes(const Codes* z, index n, const double* logs, index k, double* sums) {
  if constexpr (paths % 2 == 0)
    if (k == 1) return add_pairs<paths>(z, n, logs, sums);
  index w = 0;
  for (; w + 8 <= k; w += 8) add_steps<8, paths>(z, n, logs + w, k, sums + w);
  if (k & 4) add_steps<4, paths>(z, n, logs + w, k, sums + w), w += 4;
  if (k & 2) add_steps<2, paths>(z, n, logs + w, k, sums + w), w += 2;
  if (k & 1) add_steps<1, paths>(z, n, logs + w, k, sums + w);
}

/// The largest of n states.
inline index largest_state(const std::uint8_t* x, index n) {
  std::uint8_t most = 0;
  for (index i = 0; i < n; ++i) most = std::max(most, x[i]);
  return most;
}

/// The first `order` of the n steps of a path.
template <class U>
inline void score_start(const chain_view& c, const U* x, index n, double* sums) {
  if (!c.use_start) return;
  index z = 0;
  for (index t = 0; t < c.order && t < n; ++t) {
    z = z * c.n_states + static_cast<index>(x[t]);
    for (index w = 0; w < c.n_classes; ++w) sums[w] += c.logs[c.log_offsets[t] + z * c.n_classes + w];
  }
}

/// Steps of a piece of one path, no state missing; x[i] is step first + i, and steps before x[0] are at x[-1] ….
template <class U, class Z>
inline void score_known(const chain_view& c, const U* x, index first, index n, Z* z, double* sums) {
  if (first == 0) score_start(c, x, n, sums);
  const index begin = first < c.order ? c.order - first : 0;
  if (begin >= n) return;
  combine_steps(x, begin, n, c.order, c.n_states, z);
  const listed<Z> steps{z + begin};
  add_classes<1>(&steps, n - begin, c.logs + c.log_offsets[c.order], c.n_classes, sums);
}

/// The steps of whole paths side by side: path i has the states offsets[i] … offsets[i + 1] - 1, and codes[t] is that of
/// the step to state offsets[0] + t.
template <class Codes>
inline void add_paths(const chain_view& c, Codes codes, const index* offsets, index n_paths, double* sums) {
  const index k = c.n_classes;
  const double* logs = c.logs + c.log_offsets[c.order];
  const auto steps = [&](index i) { return std::max<index>(0, offsets[i + 1] - offsets[i] - c.order); };
  const auto add_together = [&](index i, auto paths) {
    constexpr int P = decltype(paths)::value;
    Codes from[P];
    index common = steps(i);
    for (int g = 0; g < P; ++g) {
      from[g] = codes + (offsets[i + g] - offsets[0] + c.order);
      common = std::min(common, steps(i + g));
    }
    add_classes<P>(from, common, logs, k, sums + i * k);
    for (int g = 0; g < P; ++g) {
      const Codes rest = from[g] + common;
      add_classes<1>(&rest, steps(i + g) - common, logs, k, sums + (i + g) * k);
    }
  };
  index i = 0;
  for (; i + paths_together <= n_paths; i += paths_together)
    add_together(i, std::integral_constant<int, static_cast<int>(paths_together)>{});
  for (; i + 2 <= n_paths; i += 2) add_together(i, std::integral_constant<int, 2>{});
  for (; i < n_paths; ++i) add_together(i, std::integral_constant<int, 1>{});
}

/// Whole paths, no state missing: path i is x[offsets[i] - offsets[0] … offsets[i + 1] - offsets[0]).
template <class U, class Z>
inline void score_paths(const chain_view& c, const U* x, const index* offsets, index n_paths, Z* z, double* sums) {
  for (index i = 0; i < n_paths; ++i)
    score_start(c, x + (offsets[i] - offsets[0]), offsets[i + 1] - offsets[i], sums + i * c.n_classes);
  if constexpr (sizeof(U) == 1)
    if (c.order == 1 && c.n_states == 256) return add_paths(c, neighbours{x}, offsets, n_paths, sums);
  const index states = offsets[n_paths] - offsets[0];
  combine_steps(x, std::min(c.order, states), states, c.order, c.n_states, z);  // those across two paths are not used
  add_paths(c, listed<Z>{z}, offsets, n_paths, sums);
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
        if (first + t == 0) {
          score_start(c, x, 1, sums);
        } else {
          const double* log = c.logs + c.log_offsets[1];
          log += (static_cast<index>(x[t - 1]) * m + static_cast<index>(x[t])) * c.n_classes;
          for (index w = 0; w < c.n_classes; ++w) sums[w] += log[w];
        }
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
  for (int thread = 0; thread < threads; ++thread) *reinterpret_cast<index*>(parts + thread * part) = 0;
  const index steps = n > 0 ? offsets[n] - offsets[0] : 0;
  const index share = (n + threads - 1) / threads;
  const index some = steps <= 0 ? 1024 : 16384 * n / steps + 1;
  const index grain =
      std::max<index>(1, std::min(share, (some + paths_together - 1) / paths_together * paths_together));
  first_index bad;
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    const auto score = [&](auto code) {
      using Z = decltype(code);
      parallel_blocks(n, grain, threads, [&](index begin, index end, int thread) {
        index* const fetched = reinterpret_cast<index*>(parts + thread * part);
        if (*fetched == 0) fetch_logs(c, steps / threads);
        *fetched = 1;
        scaled* forward = reinterpret_cast<scaled*>(fetched + 1);
        Z* const combined = reinterpret_cast<Z*>(forward + 2 * k * n_states);
        U* states = reinterpret_cast<U*>(combined + path_chunk) + order;  // `order` states before are kept
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
            if constexpr (sizeof(U) == 1) {
              const U* const given = static_cast<const U*>(x.data) + offsets[i];
              if (x.type == code_type::u8 &&
                  (n_states > 255 || largest_state(given, offsets[last] - offsets[i]) < n_states)) {
                score_paths(c, given, offsets + i, last - i, combined, out + i * k);  // read where they are
                i = last;
                continue;
              }
            }
            const bool missing = encode_states(offsets[i], offsets[last]);
            if (missing && order != 1) {
              i = last;
              continue;
            }
            if (!missing) score_paths(c, states, offsets + i, last - i, combined, out + i * k);
            for (const index origin = offsets[i]; missing && i < last; ++i)
              score_with_gaps(c, states + (offsets[i] - origin), 0, offsets[i + 1] - offsets[i], gap::none, forward,
                              out + i * k);
            i = last;
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
              score_known(c, states, step, b - a, combined, out + i * k);
            for (index t = 1; t <= order; ++t) states[-t] = states[b - a - t];
          }
          ++i;
        }
      });
    };
    const index codes = s.n_contexts[order] * n_states;
    if (codes <= 1 << 16)
      score(std::uint16_t{});
    else if (codes <= index{1} << 32)
      score(std::uint32_t{});
    else
      score(std::uint64_t{});
  });
  return bad.get();
}

}  // namespace tallydraw::TALLYDRAW_ISA
