// The totals of a block of rows that have no number (tree_columns.hpp), in sum-product: tree_totals.hpp for all of them
// at once, feature by feature, so that a table is read once for many rows, several of which share what is loaded of it.
// The same numbers by the same operations.
//
// A feature takes what its children send, those that are observed and those that are missing, and either sends its
// parent a message for each row in which that is missing too, or has its total. Messages wait in slots until they are
// taken. A row for which plain numbers do not suffice, or slots, is left to make_total.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tallydraw/attributes.hpp"
#include "tallydraw/doubles.hpp"
#include "tallydraw/elementary.hpp"
#include "tallydraw/log_prob_columns.hpp"
#include "tallydraw/messages.hpp"
#include "tallydraw/messages_by_class.hpp"
#include "tallydraw/tree_columns.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Most rows whose messages are taken together; fewer where these would leave the first cache.
constexpr index most_gathered = 16, least_gathered = 4, most_gathered_words = index{1} << 12;

/// Numbers of a message side by side: those of a register.
constexpr int message_lanes = 8;

/// Words of what a child sends.
constexpr index sender_words = 5;

/// Most messages multiplied at once.
constexpr index most_factors = 4;

/// Words of the slots, and of the totals of a block, at most: of the size of a second-level cache.
constexpr index most_slot_words = index{1} << 17;

/// Totals of a block made by features. Bits are of rows.
struct block_totals {
  const std::uint64_t* needed;  // [d][strips]: missing cells that they need
  std::uint64_t* sent;          // [d][strips]: messages that wait
  std::uint64_t* outside;       // [strips]: rows that are left over
  std::uint32_t* slot_of;       // [d][rows]: of a message
  std::uint32_t* free;          // [n_slots]: those that are not taken, first
  double* slots;                // [n_slots][slot_size]: [C][K]
  double* gathered;             // [together][slot_size], and room for some more
  double* ones;                 // [slot_size]
  void* senders;                // [d]
  double* values;               // [room][K]: the totals, whose logs are still to be taken
  index* rows;                  // [room]
  index* begin;                 // [d], [d]: feature j has values [begin[j], end[j])
  index* end;
  index n_slots, slot_size, together, room;
};

/// Where the pieces of block_totals begin, in words.
struct block_total_pieces {
  index sent, outside, slot_of, free, slots, gathered, ones, senders, values, rows, begin, end;
  index n_slots, slot_size, together, room;
  index words;
};

inline block_total_pieces make_block_total_pieces(const structure_view& s, const message_sizes& size, index rows) {
  block_total_pieces at{};
  const index strips = (rows + 63) / 64, k = s.n_classes;
  at.slot_size = whole_lines(size.most_categories * k);
  at.n_slots = std::min(s.d * rows, most_slot_words / at.slot_size);
  at.together = std::min(most_gathered, std::max(least_gathered, most_gathered_words / at.slot_size));
  at.room = std::min(s.d * rows, most_slot_words / k);
  const auto place = [&at](index& piece, index words) {
    piece = at.words;
    at.words += whole_lines(words);
  };
  place(at.sent, s.d * strips);
  place(at.outside, strips);
  place(at.slot_of, (s.d * rows + 1) / 2);
  place(at.free, (at.n_slots + 1) / 2);
  place(at.slots, at.n_slots * at.slot_size);
  place(at.gathered, at.together * (2 * at.slot_size + size.most_categories * (k + message_lanes)));
  place(at.ones, at.slot_size);
  place(at.senders, sender_words * s.d);
  place(at.values, at.room * k);
  place(at.rows, at.room);
  place(at.begin, s.d);
  place(at.end, s.d);
  return at;
}

inline block_totals make_block_totals(const block_total_pieces& at, const std::uint64_t* needed, std::uint64_t* words) {
  block_totals t{};
  t.needed = needed;
  t.sent = words + at.sent;
  t.outside = words + at.outside;
  t.slot_of = reinterpret_cast<std::uint32_t*>(words + at.slot_of);
  t.free = reinterpret_cast<std::uint32_t*>(words + at.free);
  t.slots = reinterpret_cast<double*>(words + at.slots);
  t.gathered = reinterpret_cast<double*>(words + at.gathered);
  t.ones = reinterpret_cast<double*>(words + at.ones);
  t.senders = words + at.senders;
  t.values = reinterpret_cast<double*>(words + at.values);
  t.rows = reinterpret_cast<index*>(words + at.rows);
  t.begin = reinterpret_cast<index*>(words + at.begin);
  t.end = reinterpret_cast<index*>(words + at.end);
  t.n_slots = at.n_slots;
  t.slot_size = at.slot_size;
  t.together = at.together;
  t.room = at.room;
  return t;
}

/// Features with subtrees side by side, parents first.
inline void list_subtrees(const structure_view& s, children_view children, index* list) {
  index n = 0, top = s.d;  // what is still to be listed lies at the end
  for (index i = s.d - 1; i >= 0; --i)
    if (const index j = s.order[i]; s.context_begin[j + 1] == s.context_begin[j]) list[--top] = j;
  while (top < s.d) {
    const index j = list[top++];
    list[n++] = j;
    for (index at = children.begin[j]; at < children.begin[j + 1]; ++at) list[--top] = children.child[at];
  }
}

/// Whether all are in range.
inline bool all_in_range(const double* v, index n) noexcept {
  std::uint64_t met = 0;
  for (index i = 0; i < n; ++i) met |= out_of_range(v[i]);
  return met >> 63 == 0;
}

/// to[i] = the product of M numbers p[m][i], left to right, for i < n. Whether all are in range.
template <int M>
inline bool multiply_some(const double* const* p, index n, double* to) noexcept {
  doubles<8> least;
  least.fill(1.0);
  double rest = 1.0;
  index i = 0;
  for (; i + 8 <= n; i += 8) {
    doubles<8> v;
    v.load(p[0] + i);
    for (int m = 1; m < M; ++m) {
      v.multiply(p[m] + i);
      least.lower(v);
    }
    v.store(to + i);
  }
  for (; i < n; ++i) {
    double v = p[0][i];
    for (int m = 1; m < M; ++m) {
      v *= p[m][i];
      rest = v < rest ? v : rest;
    }
    to[i] = v;
  }
  double some[8];
  least.store(some);
  for (const double v : some) rest = v < rest ? v : rest;
  if (rest >= least_plain) return true;
  // Perhaps none but zeros: each product again.
  bool good = true;
  for (i = 0; i < n; ++i) {
    double v = p[0][i];
    for (int m = 1; m < M; ++m) {
      v *= p[m][i];
      good &= in_range(v);
    }
  }
  return good;
}

/// f(std::integral_constant<int, n>{}), 1 <= n <= Most <= 4.
template <int Most, class F>
inline void with_size(index n, F&& f) {
  if constexpr (Most >= 4)
    if (n == 4) return f(std::integral_constant<int, 4>{});
  if constexpr (Most >= 3)
    if (n == 3) return f(std::integral_constant<int, 3>{});
  if constexpr (Most >= 2)
    if (n == 2) return f(std::integral_constant<int, 2>{});
  f(std::integral_constant<int, 1>{});
}

/// Numbers from q[i] on, as many as message_lanes, i < A, of the messages of R rows: to[r][q] = sum over x < n, left to
/// right, of theta[x * size + q] b[r][x * width + q - q[i]]; Same: of one class, all of them times b[r][x].
template <bool Same, int A, int R>
inline void some_messages(const double* theta, index size, const index* q, const double* const* b, index width, index n,
                          double* const* to) noexcept {
  using lanes = doubles<message_lanes>::lanes;
  const double *from[R], *p[A];
  for (int r = 0; r < R; ++r) from[r] = b[r];
  for (int i = 0; i < A; ++i) p[i] = theta + q[i];
  lanes sum[A][R] = {};
  for (index x = 0; x < n; ++x) {
    lanes own[A], factor[R];
    for (int i = 0; i < A; ++i) std::memcpy(&own[i], p[i] + x * size, sizeof(lanes));
    for (int r = 0; r < R; ++r) {
      if constexpr (Same)
        (factor[r] = lanes{}) += from[r][x];
      else
        std::memcpy(&factor[r], from[r] + x * width, sizeof(lanes));
    }
    for (int i = 0; i < A; ++i)
      for (int r = 0; r < R; ++r) {
        lanes term = own[i];
        term *= factor[r];
        sum[i][r] += term;
      }
  }
  for (int i = 0; i < A; ++i)
    for (int r = 0; r < R; ++r) std::memcpy(to[r] + q[i], &sum[i][r], sizeof(lanes));
}

/// The messages of m rows, of `size` numbers, k of each category of the parent, not fewer than message_lanes. b[r]: of
/// each category the k classes, repeated up to `width`, so that message_lanes of them from any class on lie side by side.
template <bool Same>
inline void make_messages(const double* theta, index size, index k, const double** b, index width, index m, index n,
                          double* const* to) noexcept {
  constexpr index W = message_lanes, A = 4, R = 3;  // their sums stay in registers
  constexpr index most = 16;
  index q[most], some = 0;
  // Of so many numbers and rows at a time, or one fewer.
  const auto share = [](index left, index at_most) {
    const index parts = (left + at_most - 1) / at_most;
    return (left + parts - 1) / parts;
  };
  const auto finish = [&] {
    for (index at = 0; at < some;) {
      const index vectors = share(some - at, A);
      for (index r = 0; r < m;) {
        const index rows = share(m - r, R);
        with_size<A>(vectors, [&](auto a) {
          with_size<R>(rows, [&](auto together) {
            some_messages<Same, decltype(a)::value, decltype(together)::value>(theta, size, q + at, b + r, width, n,
                                                                               to + r);
          });
        });
        r += rows;
      }
      at += vectors;
    }
    some = 0;
  };
  const auto take = [&](index first) {
    q[some++] = first;
    if (some == most) finish();
  };
  // Those that begin with the same class; the last ones, some of them again, with those of its class.
  const index again = size % W == 0 ? -1 : size - W;
  index c = 0, period = W;
  while (period % k != 0) period += W;
  bool is_taken = again < 0;
  const auto turn_to = [&](index other) {
    finish();
    for (index r = 0; r < m; ++r) b[r] += other - c;
    c = other;
  };
  for (index first = 0; first < std::min(period, size - W + 1); first += W) {
    if (!Same) turn_to(first % k);
    for (index at = first; at + W <= size; at += period) take(at);
    if (!is_taken && again % k == c) {
      take(again);
      is_taken = true;
    }
  }
  if (!is_taken) {
    turn_to(again % k);
    take(again);
  }
  finish();
}

/// values[r * step + w] = sum over x < n, left to right, of theta[r][x * rows * step + w] b[r][x * step + w], for w < W
/// and R rows.
template <int W, int R>
inline void some_totals(const double* const* theta, index step, const double* const* b, index n, index rows,
                        double* values) noexcept {
  doubles<W> sum[R];
  for (int r = 0; r < R; ++r) {
    sum[r].load(theta[r]);
    sum[r].multiply(b[r]);
  }
  for (index x = 1; x < n; ++x)
    for (int r = 0; r < R; ++r) {
      doubles<W> term;
      term.load(theta[r] + x * rows * step);
      term.multiply(b[r] + x * step);
      sum[r].add(term);
    }
  for (int r = 0; r < R; ++r) sum[r].store(values + r * step);
}

/// A child of a feature: where its codes are, what it sends where it is observed, and where else what it sends is.
template <class U>
struct sender {
  const U* x;
  const double* seen;
  const std::uint64_t* sent;
  const std::uint32_t* slot_of;
  index n;

  /// What it sends in row r: `size` numbers, ones where it sends nothing.
  const double* sent_in(index r, index size, const double* slots, index slot_size, const double* ones) const {
    const index v = x[r];
    const bool waits = sent[r / 64] >> (r % 64) & 1;
    const double* const slot = waits ? slots + slot_of[r] * slot_size : ones;
    return v < n ? seen + v * size : slot;
  }
};

/// Sends the messages that the totals of a block need, and makes these.
template <class U>
TALLYDRAW_APART inline void total_block(const encoder& e, children_view children, const index* subtrees,
                                        const scored_tables& tables, const code_columns<U>& z, block_totals& t) {
  // Copies: what is stored may alias whatever is behind a reference.
  const index d = e.s.d, k = e.s.n_classes, strips = z.strips, block = z.rows;
  const index *const parents = e.parent, *const n_categories = e.s.n_categories, *const offsets = tables.offsets;
  const double* const cells = tables.cells;
  std::uint64_t *const sent = t.sent, *const outside = t.outside;
  std::uint32_t *const slot_of = t.slot_of, *const free = t.free;
  double *const slots = t.slots, *const gathered = t.gathered;
  const index slot_size = t.slot_size, together = t.together;
  double* const ones = t.ones;
  std::fill_n(ones, slot_size, 1.0);
  static_assert(sizeof(sender<U>) <= sender_words * sizeof(double));
  sender<U>* const senders = reinterpret_cast<sender<U>*>(t.senders);
  const std::uint64_t* const gone = z.gone;
  index n_free = t.n_slots, n_values = 0;
  for (index i = 0; i < n_free; ++i) free[i] = static_cast<std::uint32_t>(i);
  std::fill_n(sent, d * strips, std::uint64_t{0});
  std::fill_n(outside, strips, std::uint64_t{0});
  const auto leave_out = [=](index r, bool is_outside) {
    outside[r / 64] |= static_cast<std::uint64_t>(is_outside) << (r % 64);
  };
  for (index i = d - 1; i >= 0; --i) {
    const index j = subtrees[i], parent = parents[j], n = n_categories[j];
    const std::uint64_t* const needed = t.needed + j * strips;
    t.begin[j] = t.end[j] = n_values;
    if (std::all_of(needed, needed + strips, [](std::uint64_t word) { return word == 0; })) continue;
    const index above = parent == j ? 1 : n_categories[parent], size = n * k;
    const index first = children.begin[j], last = children.begin[j + 1];
    const double* const theta = cells + offsets[j];
    double* const room = gathered + 2 * together * slot_size;
    for (index at = first; at < last; ++at) {
      const index f = children.child[at];
      senders[last - 1 - at] = {z.x + f * block, cells + offsets[f], sent + f * strips, slot_of + f * block,
                                n_categories[f]};
    }

    index row[most_gathered];
    const double* b[most_gathered];
    // The products of what the children of j send in m rows: ones of those that send nothing.
    const auto gather = [&](index m) {
      bool good[most_gathered];
      std::fill_n(good, m, true);
      const index n_children = last - first;
      // The first of them, then some more at a time with the products so far.
      with_size<most_factors>(std::min(n_children, most_factors), [&](auto n_factors) {
        constexpr int M = decltype(n_factors)::value;
        for (index at = 0; at < m; ++at) {
          const double* factors[M];
          for (int f = 0; f < M; ++f) factors[f] = senders[f].sent_in(row[at], size, slots, slot_size, ones);
          b[at] = factors[0];
          if constexpr (M > 1) {
            b[at] = gathered + 2 * at * slot_size;
            good[at] &= multiply_some<M>(factors, size, gathered + 2 * at * slot_size);
          }
        }
      });
      for (index f = most_factors, side = 1; f < n_children; f += most_factors - 1, side ^= 1)
        with_size<most_factors - 1>(std::min(n_children - f, most_factors - 1), [&](auto n_more) {
          constexpr int M = decltype(n_more)::value;
          for (index at = 0; at < m; ++at) {
            double* const to = gathered + (2 * at + side) * slot_size;  // not where the first factor is
            const double* factors[M + 1] = {b[at]};
            for (int i_f = 0; i_f < M; ++i_f)
              factors[i_f + 1] = senders[f + i_f].sent_in(row[at], size, slots, slot_size, ones);
            good[at] &= multiply_some<M + 1>(factors, size, to);
            b[at] = to;
          }
        });
      for (index at = 0; at < m; ++at) leave_out(row[at], !good[at]);
    };
    const auto send = [&](index m) {
      gather(m);
      double* to[most_gathered] = {};
      index some = 0;
      for (index at = 0; at < m; ++at) {
        const index r = row[at];
        leave_out(r, n_free == 0);
        if (n_free == 0) continue;
        const std::uint32_t slot = free[--n_free];
        slot_of[j * block + r] = slot;
        sent[j * strips + r / 64] |= std::uint64_t{1} << (r % 64);
        to[some] = slots + slot * slot_size;
        b[some] = b[at];
        row[some++] = r;
      }
      constexpr index W = message_lanes;
      const index width = k + W - 1;
      if (above * k < W) {
        for (index at = 0; at < some; ++at)
          for (index q = 0; q < above * k; ++q) {
            to[at][q] = 0.0;
            for (index v = 0; v < n; ++v) to[at][q] += theta[v * above * k + q] * b[at][v * k + q % k];
          }
      } else if (k == 1) {
        make_messages<true>(theta, above, k, b, 1, some, n, to);
      } else if (k % W == 0) {
        make_messages<false>(theta, above * k, k, b, k, some, n, to);
      } else {
        for (index at = 0; at < some; ++at) {
          double* const repeated = room + at * n * width;
          for (index v = 0; v < n; ++v) {
            double* const own = repeated + v * width;
            std::copy_n(b[at] + v * k, k, own);
            for (index c = k; c < width; ++c) own[c] = own[c - k];
          }
          b[at] = repeated;
        }
        make_messages<false>(theta, above * k, k, b, width, some, n, to);
      }
      for (index at = 0; at < some; ++at) leave_out(row[at], !all_in_range(to[at], above * k));
    };
    const auto add_up = [&](index m) {
      gather(m);
      const double* from[most_gathered];
      const index some = std::min(m, t.room - n_values);
      for (index at = some; at < m; ++at) leave_out(row[at], true);
      for (index at = 0; at < some; ++at) {
        const index a = parent == j ? 0 : static_cast<index>(z.x[parent * block + row[at]]);
        from[at] = theta + a * k;
        t.rows[n_values + at] = row[at];
      }
      double* const values = t.values + n_values * k;
      n_values += some;
      for (index c = 0, w = 0; c < k; c += w) {
        w = classes_at_once(k - c);
        with_classes(w, [&](auto width) {
          constexpr int W = decltype(width)::value, R = 4;
          index at = 0;
          for (; at + R <= some; at += R) some_totals<W, R>(from + at, k, b + at, n, above, values + at * k + c);
          for (; at < some; ++at) some_totals<W, 1>(from + at, k, b + at, n, above, values + at * k + c);
        });
        for (index at = 0; at < some; ++at) from[at] += w, b[at] += w;
      }
    };
    const auto in_groups = [&](bool under, auto&& take) {
      index m = 0;
      for (index strip = 0; strip < strips; ++strip) {
        const std::uint64_t parent_gone = parent == j ? 0 : gone[parent * strips + strip];
        std::uint64_t loud = 0;
        for (index at = first; at < last; ++at) {
          const index word = children.child[at] * strips + strip;
          loud |= ~gone[word] | sent[word];
        }
        for_bits(needed[strip] & loud & (under ? parent_gone : ~parent_gone), [&](index bit) {
          row[m++] = 64 * strip + bit;
          if (m < together) return;
          take(m);
          m = 0;
        });
      }
      if (m > 0) take(m);
    };
    in_groups(true, send);
    in_groups(false, add_up);
    t.end[j] = n_values;
    for (index at = first; at < last; ++at) {
      const index f = children.child[at];
      for (index strip = 0; strip < strips; ++strip)
        for_bits(sent[f * strips + strip], [&](index bit) { free[n_free++] = slot_of[f * block + 64 * strip + bit]; });
    }
  }
}

/// Adds those of feature j to the sums of the block.
inline void add_block_totals(const block_totals& t, index j, index k, double* sums) {
  const index n = t.end[j] - t.begin[j];
  if (n == 0) return;
  double* const values = t.values + t.begin[j] * k;
  const index* const rows = t.rows + t.begin[j];
  log(values, n * k, values);
  for (index i = 0; i < n; ++i)
    if (!(t.outside[rows[i] / 64] >> (rows[i] % 64) & 1)) add_vector(values + i * k, k, sums + rows[i] * k);
}

}  // namespace tallydraw::TALLYDRAW_ISA
