// log_prob_messages.hpp where every context is at most one feature: the same numbers by the same operations.
//
// Rows go in blocks, as columns of codes. What an observed cell adds is looked up among the logs; what a missing one
// adds, its total, among the logs of totals (totals_view), wherever what is observed behind it has a number there:
//
//   code of feature j        means
//   x < C_j                  observed
//   C_j                      missing, nothing observed behind it (silent)
//   C_j + 1 + m              missing; m numbers the codes of its children, in structure.order, the last one fastest,
//                            child c having radix[c] of them
//   the largest of the type  missing, and one of these codes has no place
//
// Feature j has logs for each code of its parent, and m fastest. Totals without a number are made of messages.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "tallydraw/bit_columns.hpp"
#include "tallydraw/codes.hpp"
#include "tallydraw/log_prob_lookup.hpp"
#include "tallydraw/messages.hpp"
#include "tallydraw/messages_by_class.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/transpose.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// What the kernels are given of the tables: flat probabilities; the same with table rows, then classes innermost; logs
/// of observed cells and of totals.
struct scored_tables {
  const double* probabilities;
  bool plain;
  const double* cells;
  const double* logs;
  const index* offsets;
  totals_view totals;
};

/// Whether every context is at most one feature.
inline bool one_parent(const structure_view& s) {
  for (index j = 0; j < s.d; ++j)
    if (s.context_begin[j + 1] - s.context_begin[j] > 1) return false;
  return true;
}

/// Rows of a block, a power of two: their codes stay in the second-level cache, their sums in the first.
inline index tree_rows(const structure_view& s, index n) {
  const auto below = [](index most) {
    index rows = 1;
    while (2 * rows <= most) rows *= 2;
    return rows;
  };
  const index by_codes = (index{1} << 17) / (s.d + 1), by_room = (index{1} << 20) / (s.d + 1);
  const index by_sums = (index{1} << 12) / s.n_classes;
  index most = by_codes > 64 ? by_codes : by_room < 64 ? by_room : 64;
  if (most > by_sums) most = by_sums > 64 ? by_sums : most < 64 ? most : 64;
  if (most > 1024) most = 1024;
  if (most > 2 * n - 1) most = 2 * n - 1;
  return below(most < 1 ? 1 : most);
}

/// Scratch of log_prob_tree in words of 64 bits.
inline index log_prob_tree_part(const structure_view& s, index n) {
  const index rows = tree_rows(s, n);
  return message_words(s) + most_classes * (sizes_of_messages(s).entries + sizes_of_messages(s).most_categories) +
         s.d * (2 * rows + 5 + (rows + 63) / 64) + rows * (3 * s.n_classes + 2);
}
inline index log_prob_tree_scratch(const structure_view& s, index n, int threads) {
  return encoder_bytes(s.d) / 8 + 2 * s.d + 1 + threads * log_prob_tree_part(s, n);
}

/// The children of feature j, in structure.order: child[begin[j]] … child[begin[j + 1] - 1].
struct children_view {
  const index* begin;
  const index* child;
};

inline children_view make_children(const encoder& e, index* words) {
  const structure_view& s = e.s;
  const index d = s.d;
  index* const begin = words;
  index* const child = words + d + 1;
  for (index j = 0; j <= d; ++j) begin[j] = 0;
  const auto parent = [&](index j) { return s.context_begin[j + 1] > s.context_begin[j] ? e.parent[j] : -1; };
  for (index j = 0; j < d; ++j)
    if (parent(j) >= 0) ++begin[parent(j) + 1];
  for (index j = 0; j < d; ++j) begin[j + 1] += begin[j];
  for (index i = 0; i < d; ++i)  // begin[p] moves on to where the children of p + 1 begin
    if (const index j = s.order[i]; parent(j) >= 0) child[begin[parent(j)]++] = j;
  for (index j = d; j > 0; --j) begin[j] = begin[j - 1];
  begin[0] = 0;
  return {begin, child};
}

/// A block of rows as columns: the code of row r and feature j is x[j * rows + r], and bit r % 64 of
/// gone[j * strips + r / 64] says whether it is missing.
template <class U>
struct code_columns {
  U* x;
  std::uint64_t* gone;
  index rows;
  index strips;
};

/// f(i) for every bit of a word that is set, ascending.
template <class F>
inline void for_bits(std::uint64_t word, F&& f) {
  for (; word != 0; word &= word - 1) f(popcount((word & (0 - word)) - 1));
}

/// Bit i is set where x[i] == v, i < n <= 64.
template <class U>
inline std::uint64_t bits_where(const U* x, index n, U v) {
  if constexpr (sizeof(U) == 1)
    if (n == 64) return equal_bits(x, v);
  std::uint8_t met[64] = {};
  for (index i = 0; i < n; ++i) met[i] = x[i] == v;
  return equal_bits(met, 1);
}

/// A child of a feature: its codes, C where it is silent (-1 where that could also be the largest of the type: then
/// messages tell), how many of its codes count, and its probabilities.
template <class U>
struct child_column {
  const U* x;
  index silent;
  index radix;
  const double* cells;
};

/// What is observed behind a missing cell.
struct behind {
  bool silent;  // nothing
  index place;  // its number; -1 where it has none
};

/// The children of one feature, ready to be looked at for many rows.
template <class U>
struct family {
  const child_column<U>* child;
  index n;
  bool tabulated;

  behind look(index r) const {
    if (n == 1) {
      const index v = child->x[r];
      return {v == child->silent, v < child->radix ? v : -1};
    }
    bool silent = true, fits = tabulated;
    index place = 0;
    for (index i = 0; i < n; ++i) {
      const index v = child[i].x[r];
      silent &= v == child[i].silent;
      fits &= v < child[i].radix;
      place = fits ? place * child[i].radix + v : -1;
    }
    return {silent, place};
  }

  /// Whether no message comes from further than the children.
  bool near(index r) const {
    bool is = true;
    for (index i = 0; i < n; ++i) is &= static_cast<index>(child[i].x[r]) <= child[i].silent;
    return is;
  }
};

template <class U>
inline family<U> make_family(const encoder& e, children_view children, const scored_tables& tables,
                             const code_columns<U>& z, index j, child_column<U>* columns) {
  const totals_view& totals = tables.totals;
  constexpr index most = std::numeric_limits<U>::max();
  const bool tabulated = totals.offsets != nullptr && totals.offsets[j + 1] > totals.offsets[j];
  index n = 0;
  for (index i = children.begin[j]; i < children.begin[j + 1]; ++i) {
    const index c = children.child[i], size = e.s.n_categories[c];
    const index radix = !tabulated ? 0 : totals.radix[c] < most ? totals.radix[c] : most;
    columns[n++] = {z.x + c * z.rows, size < most ? size : -1, radix, tables.cells + tables.offsets[c]};
  }
  return {columns, n, tabulated};
}

/// Gives missing cells under missing ones the codes that say what is behind them.
template <class U>
inline void number_behind(const encoder& e, children_view children, const scored_tables& tables,
                          const code_columns<U>& z, child_column<U>* columns) {
  constexpr index most = std::numeric_limits<U>::max();
  if (e.parent == nullptr) return;
  for (index i = e.s.d - 1; i >= 0; --i) {
    const index j = e.s.order[i], parent = e.parent[j], n = e.s.n_categories[j];
    if (parent == j || children.begin[j] == children.begin[j + 1]) continue;
    const family<U> own = make_family(e, children, tables, z, j, columns);
    for (index strip = 0; strip < z.strips; ++strip)
      for_bits(z.gone[j * z.strips + strip] & z.gone[parent * z.strips + strip], [&](index bit) {
        const index r = 64 * strip + bit;
        const behind seen = own.look(r);
        const index code = seen.silent ? n : seen.place < 0 ? most : n + 1 + seen.place;
        z.x[j * z.rows + r] =
            static_cast<U>(code < most && (seen.silent || code < tables.totals.radix[j]) ? code : most);
      });
  }
}

/// Lists what is touched behind a missing cell under an observed one, and lays out the codes there.
template <class U>
TALLYDRAW_APART inline void touch_behind(const encoder& e, children_view children, const code_columns<U>& z, index j,
                                         index r, U* row, message_state& m) {
  const U* const slot = static_cast<const U*>(e.slot);
  const auto lay_out = [&](index f) {
    const U v = z.x[f * z.rows + r];
    row[f] = v < slot[f] ? v : slot[f];
  };
  if (e.parent != nullptr) lay_out(e.parent[j]);
  lay_out(j);
  index n = 1;
  m.touched[0] = j;
  for (index i = 0; i < n; ++i) {
    const index f = m.touched[i];
    if (row[f] != slot[f]) continue;
    for (index at = children.begin[f]; at < children.begin[f + 1]; ++at) {
      lay_out(children.child[at]);
      m.touched[n++] = children.child[at];
    }
  }
  m.n_touched = n;
}

/// Totals made of messages, whose logs are still to be taken: values[t * K + class] 2^exponents[…] of row rows[t].
struct made_totals {
  double* values;
  index* exponents;
  double* terms;  // by classes: messages, and one more
  index* rows;
  index n;
  bool scaled;
};

/// Makes the total of the touched features of a row, or nothing where they are silent.
template <bool Max, class U>
TALLYDRAW_APART inline void make_total(const encoder& e, const U* row, const scored_tables& tables, index r,
                                       message_state& m, made_totals& made) {
  const index k = e.s.n_classes;
  double* const values = made.values + made.n * k;
  index* const exponents = made.exponents + made.n * k;
  bool loud = false;
  for (index c = 0, w = 0; c < k; c += w) {
    w = classes_at_once(k - c);
    bool done = false;
    if (!Max && tables.plain)
      with_classes(w, [&](auto width) {
        constexpr int W = decltype(width)::value;
        const auto top = [&](index, const double* sums) {
          loud = true;
          for (index i = 0; i < W; ++i) values[c + i] = sums[i];
          for (index i = 0; i < W; ++i) exponents[c + i] = 0;
        };
        done = send_by_class<W>(e, row, tables.cells + c, tables.offsets, k, m, made.terms,
                                made.terms + most_classes * m.begin[e.s.d], top);
      });
    for (index i = c; i < c + w && !done; ++i)
      send_messages<Max, scaled>(e, row, tables.probabilities, i, m, [&](index, scaled total) {
        loud = made.scaled = true;
        values[i] = total.m;
        exponents[i] = total.e;
      });
  }
  if (loud) made.rows[made.n++] = r;
}

/// make_total where all messages come from children that are observed: send_by_class, with fewer steps. `theta` are the
/// cells of the feature from its parent's code on, `step` those of a category of it, n, and `each` those of a category
/// of a child. false where plain numbers do not suffice.
template <class U>
inline bool make_near_total(const family<U>& below, const double* theta, index step, index n, index k, index r,
                            made_totals& made) {
  const index each = n * k;
  bool good = true;
  for (index c = 0, w = 0; c < k && good; c += w) {
    w = classes_at_once(k - c);
    with_classes(w, [&](auto width) {
      constexpr int W = decltype(width)::value;
      const double* b = nullptr;
      index stride = k;
      std::uint64_t outside = 0;
      for (index i = below.n - 1; i >= 0; --i) {
        const child_column<U>& child = below.child[i];
        const index v = child.x[r];
        if (v == child.silent) continue;
        const double* const sent = child.cells + v * each + c;
        if (b == nullptr) {
          b = sent;
          continue;
        }
        for (index x = 0; x < n; ++x)
          for (int i_class = 0; i_class < W; ++i_class) {
            const double product = b[x * stride + i_class] * sent[x * k + i_class];
            made.terms[x * W + i_class] = product;
            outside |= out_of_range(product);
          }
        b = made.terms;
        stride = W;
      }
      double sum[W] = {};
      for (index x = 0; x < n; ++x)  // left to right
        for (int i_class = 0; i_class < W; ++i_class)
          sum[i_class] += theta[x * step + c + i_class] * b[x * stride + i_class];
      for (int i_class = 0; i_class < W; ++i_class) {
        made.values[made.n * k + c + i_class] = sum[i_class];
        made.exponents[made.n * k + c + i_class] = 0;
      }
      good = outside >> 63 == 0;
    });
  }
  if (good) made.rows[made.n++] = r;
  return good;
}

/// to[c] += from[c], c < W.
template <int W>
inline void add_classes(const double* from, double* to) {
  double sum[W];
  std::memcpy(sum, to, sizeof sum);
  for (int c = 0; c < W; ++c) sum[c] += from[c];
  std::memcpy(to, sum, sizeof sum);
}

inline void add_row(const double* from, index k, double* to) {
  for (index c = 0, w = 0; c < k; c += w) {
    w = classes_at_once(k - c);
    with_classes(w, [&](auto width) { add_classes<decltype(width)::value>(from + c, to + c); });
  }
}

/// sums[r * K + class] += table[z[r] * K + class], r < rows, from a table of n entries a class.
template <class U>
inline void add_column(const U* z, index rows, const double* table, [[maybe_unused]] index n, index k, double* sums) {
#if defined(TALLYDRAW_WIDE_LOOKUP)
  if constexpr (sizeof(U) == 1)
    if (k == 1 && n <= lookup_size && rows % lookup_size == 0) {
      double entries[lookup_size] = {};
      for (index i = 0; i < n; ++i) entries[i] = table[i];
      const wide_double wanted = wide_double_load(entries);
      for (index r = 0; r < rows; r += lookup_size)
        wide_double_store(wide_double_add(wide_double_load(sums + r), wide_lookup(wanted, wide_bytes(z + r))),
                          sums + r);
      return;
    }
#endif
  for (index c = 0, w = 0; c < k; c += w) {
    w = classes_at_once(k - c);
    with_classes(w, [&](auto width) {
      for (index r = 0; r < rows; ++r)
        add_classes<decltype(width)::value>(table + static_cast<index>(z[r]) * k + c, sums + r * k + c);
    });
  }
}

/// Adds what feature j adds to the sums of a block.
template <bool Max, class U>
inline void add_feature(const encoder& e, children_view children, const scored_tables& tables, const code_columns<U>& z,
                        index j, U* combined, child_column<U>* columns, U* row, message_state& m, made_totals& made,
                        double* sums) {
  const index k = e.s.n_classes, rows = z.rows;
  const index parent = e.parent != nullptr ? e.parent[j] : j;
  const U* const slot = static_cast<const U*>(e.slot);
  const U* const own = z.x + j * rows;
  const U* const above = z.x + parent * rows;
  const double* const observed = tables.logs + tables.offsets[j];
  const index entries = e.s.n_contexts[j] * e.s.n_categories[j] + 1;
  if (parent == j) {
    add_column(own, rows, observed, entries, k, sums);
  } else {  // a missing cell, or one under a missing cell, adds the zero in the slot
    using W = decltype(U{} + 0u);
    const U n = slot[j], n_parent = slot[parent], whole = static_cast<const U*>(e.whole)[j];
    for (index r = 0; r < rows; ++r) {
      const U gone = all_if<U>((above[r] >= n_parent) | (own[r] >= n));
      combined[r] = static_cast<U>((static_cast<U>(W{above[r]} * n + own[r]) & ~gone) | (whole & gone));
    }
    add_column(combined, rows, observed, entries, k, sums);
  }

  const bool leaf = children.begin[j] == children.begin[j + 1];
  if (leaf && !Max) return;
  const totals_view& totals = tables.totals;
  const family<U> below = make_family(e, children, tables, z, j, columns);
  const double* const logs = below.tabulated ? totals.logs + totals.offsets[j] : nullptr;
  const index each = below.tabulated ? (totals.offsets[j + 1] - totals.offsets[j]) / e.s.n_contexts[j] : 0;
  const double* const theta = tables.cells + tables.offsets[j];
  made.n = 0;
  made.scaled = false;
  for (index strip = 0; strip < z.strips; ++strip) {
    std::uint64_t tops = z.gone[j * z.strips + strip];
    if (parent != j) tops &= ~z.gone[parent * z.strips + strip];
    for_bits(tops, [&](index bit) {
      const index r = 64 * strip + bit;
      const behind seen = Max ? behind{false, -1} : below.look(r);
      if (seen.silent) return;
      if (seen.place >= 0) {
        add_row(logs + (parent == j ? 0 : static_cast<index>(above[r])) * each + seen.place * k, k, sums + r * k);
        return;
      }
      const index a = parent == j ? 0 : static_cast<index>(above[r]);
      if (!Max && tables.plain && below.near(r) &&
          make_near_total(below, theta + a * k, e.s.n_contexts[j] * k, e.s.n_categories[j], k, r, made))
        return;
      touch_behind(e, children, z, j, r, row, m);
      make_total<Max>(e, row, tables, r, m, made);
    });
  }
  if (made.n == 0) return;
  if (made.scaled)
    log_scaled(made.values, made.exponents, made.n * k, made.values);
  else
    log(made.values, made.n * k, made.values);
  for (index t = 0; t < made.n; ++t) add_row(made.values + t * k, k, sums + made.rows[t] * k);
}

/// Plain codes of some rows, ascending, each run of neighbours at once.
template <class U>
inline unsigned encode_rows(const encoder& e, const index* rows, index n, U* tile) {
  unsigned met = 0;
  for (index i = 0, next = 0; i < n; i = next) {
    for (next = i + 1; next < n && rows[next] == rows[next - 1] + 1;) ++next;
    met |= visit_unsigned(e.x.type, [&](auto v) {
      return encode_plain<decltype(v)>(e, rows[i], rows[i] + (next - i), 0, e.s.d, tile + i * e.s.d);
    });
  }
  return met;
}

/// As log_prob_messages. scratch: log_prob_tree_scratch words.
template <bool Max>
inline index log_prob_tree(const codes_view& x, const code_rules& rules, const structure_view& s,
                           const scored_tables& tables, const double* first, const index* rows, index n_rows,
                           double* out, void* scratch, int threads) {
  const index d = s.d, k = s.n_classes;
  const encoder e = make_encoder(x, rules, s, scratch);
  std::uint64_t* const words = static_cast<std::uint64_t*>(scratch) + encoder_bytes(d) / 8;
  const children_view children = make_children(e, reinterpret_cast<index*>(words));
  std::uint64_t* const parts = words + 2 * d + 1;
  const index block = tree_rows(s, n_rows), part = log_prob_tree_part(s, n_rows);
  first_index bad;
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    parallel_blocks(n_rows, block, threads, [&](index begin, index end, int thread) {
      std::uint64_t* own = parts + thread * part;
      const auto take = [&](index n) {
        std::uint64_t* const from = own;
        own += n;
        return from;
      };
      message_state m = make_message_state(s, take(message_words(s)));
      const message_sizes size = sizes_of_messages(s);
      U* const codes = reinterpret_cast<U*>(take(d * block));
      U* const turned = reinterpret_cast<U*>(take(d * block));
      U* const row = reinterpret_cast<U*>(take(d));
      auto* const columns = reinterpret_cast<child_column<U>*>(take(4 * d));
      U* const combined = reinterpret_cast<U*>(take(block));
      code_columns<U> z{codes, take(d * ((block + 63) / 64)), block, (block + 63) / 64};
      double* const sums = reinterpret_cast<double*>(take(block * k));
      made_totals made{};
      made.values = reinterpret_cast<double*>(take(block * k));
      made.exponents = reinterpret_cast<index*>(take(block * k));
      made.rows = reinterpret_cast<index*>(take(block));
      made.terms = reinterpret_cast<double*>(take(most_classes * (size.entries + size.most_categories)));

      const index n = end - begin;
      if (encode_rows(e, rows + begin, n, codes) & met_bad) bad.report(first_bad(e, rows[begin], rows[end - 1] + 1));
      std::memset(codes + n * d, 0, static_cast<std::size_t>((block - n) * d) * sizeof(U));  // rows that nobody reads
      if (transpose(codes, turned, block, d) == turned) z.x = turned;
      for (index j = 0; j < d; ++j)
        for (index strip = 0; strip < z.strips; ++strip)
          z.gone[j * z.strips + strip] = !e.slots ? 0
                                                  : bits_where(z.x + j * block + 64 * strip, block < 64 ? block : 64,
                                                               static_cast<const U*>(e.slot)[j]);
      if (!Max) number_behind(e, children, tables, z, columns);

      const auto bytes_of = [&](index some) { return static_cast<std::size_t>(some * k) * sizeof *sums; };
      std::memcpy(sums, first, bytes_of(1));
      for (index r = 1; r < block; r *= 2) std::memcpy(sums + r * k, sums, bytes_of(r));
      for (index j = 0; j < d; ++j)  // left to right
        add_feature<Max>(e, children, tables, z, j, combined, columns, row, m, made, sums);
      if (rows[end - 1] - rows[begin] == n - 1) {
        std::memcpy(out + rows[begin] * k, sums, bytes_of(n));
        return;
      }
      for (index i = 0; i < n; ++i)
        for (index c = 0; c < k; ++c) out[rows[begin + i] * k + c] = sums[i * k + c];
    });
  });
  return bad.get();
}

}  // namespace tallydraw::TALLYDRAW_ISA
