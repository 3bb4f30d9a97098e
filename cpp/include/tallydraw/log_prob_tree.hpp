// log_prob_messages.hpp where every context is at most one feature: the same numbers by the same operations.
//
// Rows go in blocks, as columns of codes. What an observed cell adds is looked up among the logs; what a missing one
// adds, its total, among the logs of totals wherever what is observed behind it has a number there (tree_columns.hpp).
// Totals without a number are made of messages (tree_totals.hpp), those of many rows feature by feature
// (totals_by_feature.hpp). Where many cells of a block are missing, all its totals are made at once
// (messages_by_row.hpp).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "tallydraw/codes.hpp"
#include "tallydraw/doubles.hpp"
#include "tallydraw/log_prob_columns.hpp"
#include "tallydraw/messages_by_row.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/prefetch.hpp"
#include "tallydraw/totals_by_feature.hpp"
#include "tallydraw/tree_columns.hpp"
#include "tallydraw/tree_totals.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// The totals of a block of rows that are made at once.
struct row_totals {
  double* totals;          // [classes][d][rows]
  std::uint64_t* tops;     // [d][strips]: where the total of feature j is a factor of the row
  std::uint64_t* outside;  // [strips]: rows for which plain numbers do not suffice
};

/// Most classes of which totals are made at once, one after the other.
constexpr index most_row_classes = 4;

/// Whether the totals of blocks of `rows` rows may be made all at once.
inline bool total_by_row(const structure_view& s, const message_sizes& size, index rows) {
  return s.n_classes <= most_row_classes && rows % rows_sent == 0 && sent_by_row(s, size);
}

/// All totals of the q-th rows_sent rows of a strip, under class c; returns the lanes for which plain numbers do not
/// suffice.
template <int N, class U>
TALLYDRAW_APART inline std::uint32_t total_rows(const encoder& e, const scored_tables& tables, const code_columns<U>& z,
                                                index strip, index q, index c, const message_state& m,
                                                const row_messages& messages, const row_totals& t) {
  const index d = e.s.d, strips = z.strips, rows = z.rows;
  double* const totals = t.totals + c * d * rows + 64 * strip + rows_sent * q;
  std::uint64_t* const tops = t.tops + strip;
  const class_lane of_class{tables.cells, tables.offsets, e.s.n_classes, c};
  return send_rows<N>(e, of_class, z.gone + strip, strips, q, m, messages,
                      [=](index j, row_bits lanes, const row_doubles& found) {
                        found.store(totals + j * rows);
                        tops[j * strips] |= static_cast<std::uint64_t>(lanes) << (rows_sent * q);
                      });
}

template <class U>
inline void total_strip(const encoder& e, const scored_tables& tables, const code_columns<U>& z, index strip,
                        const message_state& m, const row_messages& messages, const row_totals& t) {
  const structure_view& s = e.s;
  see_strip(s, z, strip, messages);
  for (index j = 0; j < s.d; ++j) t.tops[j * z.strips + strip] = 0;
  t.outside[strip] = 0;
  with_categories(s, [&](auto n) {
    for (index q = 0; q < std::min<index>(64, z.rows - 64 * strip) / rows_sent; ++q)
      for (index c = 0; c < s.n_classes; ++c) {
        const std::uint64_t outside = total_rows<decltype(n)::value>(e, tables, z, strip, q, c, m, messages, t);
        t.outside[strip] |= outside << (rows_sent * q);
      }
  });
}

/// Whether it is worth making them all at once, to judge by the first strip, where `unknown` missing cells have something
/// behind them that has no number. In units of 0.6 ns (measured): one a cell and class and 13 products are what it costs;
/// 230 an unknown what it saves, and of several classes, whose totals are added one by one, three a missing cell.
template <class U>
inline bool are_many(const structure_view& s, const code_columns<U>& z, index unknown) {
  index missing = 0, products = 0;
  for (index j = 0; j < s.d; ++j) {
    missing += popcount(z.gone[j * z.strips]);
    products += s.n_contexts[j] * s.n_categories[j];
  }
  const index one_by_one = s.n_classes > 1 ? 3 * missing : 0;
  return one_by_one + 230 * unknown > std::min<index>(z.rows, 64) * s.n_classes * (s.d + products / 13);
}

/// Whether totals of blocks of `rows` rows that have no number may be made feature by feature. Without registers of eight
/// numbers that is slower than one by one, and a few rows have no use for it (measured).
inline bool total_by_feature(const message_sizes& size, index rows) {
  return wide_lanes >= 8 && rows >= 64 && size.entries > 0;
}

/// Whether it is worth it: where so many missing cells under missing ones are `unknown`, without a number.
inline bool is_worth_features(const structure_view& s, index rows, index unknown) { return 256 * unknown > s.d * rows; }

/// Where the pieces of a thread's scratch begin, for blocks of `rows` rows, and how many words they are: the one place
/// that says so. Each piece begins a cache line.
struct log_prob_tree_pieces {
  index messages, codes, turned, row, columns, combined, gone, sums, values, exponents, made_rows, terms;
  index row_messages, totals, tops, outside;  // of rows at once
  index by_feature;
  block_total_pieces block_totals;
  index words;
};
inline log_prob_tree_pieces make_log_prob_tree_pieces(const structure_view& s, index rows) {
  const message_sizes size = sizes_of_messages(s);
  log_prob_tree_pieces at{};
  const auto place = [&at](index& piece, index words) {
    piece = at.words;
    at.words += whole_lines(words);
  };
  place(at.messages, message_words(s));
  place(at.codes, s.d * rows);
  place(at.turned, s.d * rows);
  place(at.row, s.d);
  place(at.columns, 4 * s.d);
  place(at.combined, rows);
  place(at.gone, s.d * ((rows + 63) / 64));
  place(at.sums, rows * s.n_classes);
  place(at.values, rows * s.n_classes + 8);
  place(at.exponents, rows * s.n_classes);
  place(at.made_rows, rows);
  place(at.terms, most_classes * (size.entries + size.most_categories));
  const index some = total_by_row(s, size, rows);
  place(at.row_messages, some * row_messages_words(s, size));
  place(at.totals, some * s.n_classes * s.d * rows);
  place(at.tops, some * s.d * ((rows + 63) / 64));
  place(at.outside, some * ((rows + 63) / 64));
  at.block_totals = make_block_total_pieces(s, size, rows);
  place(at.by_feature, total_by_feature(size, rows) ? at.block_totals.words : 0);
  return at;
}
/// Scratch of log_prob_tree in words of 64 bits.
inline index log_prob_tree_begin(index d) { return whole_lines(encoder_bytes(d) / 8 + 3 * d + 1); }
inline index log_prob_tree_scratch(const structure_view& s, index n, int threads) {
  return log_prob_tree_begin(s.d) + threads * make_log_prob_tree_pieces(s, column_rows(s, n, threads)).words;
}

/// A tabulated total that a row is to add: its K logs.
struct found_total {
  index row;
  const double* logs;
};

/// Adds what the observed cells of feature j add to the sums of a block; a missing cell, or one under a missing cell,
/// adds the zero in the slot.
template <class U>
inline void add_observed(const encoder& e, const scored_tables& tables, const code_columns<U>& z, index j, U* combined,
                         double* sums) {
  const index rows = z.rows, parent = e.parent != nullptr ? e.parent[j] : j;
  const double* const observed = tables.logs + tables.offsets[j];
  const index entries = e.s.n_contexts[j] * e.s.n_categories[j] + 1;
  const U* own = z.x + j * rows;
  if (parent != j) {
    combine_columns(e, j, own, z.x + parent * rows, rows, combined);
    own = combined;
  }
  add_column(own, rows, observed, entries, e.s.n_classes, sums);
}

/// Entries of the tables that joined_column fills.
constexpr index most_joined = 256;

/// Whether it pays to look the totals of feature j up with what its observed cells add: where one byte tells them apart,
/// of one class, and `tops` of the rows have one. Measured, in cycles: 11 a total is what that saves; a quarter a row is
/// what it costs, or one where the table leaves the registers for it.
template <class U>
inline bool is_joined(const encoder& e, const family<U>& below, const totals_view& totals, index rows, index j,
                      index tops) {
  if (sizeof(U) > 1 || e.s.n_classes > 1 || !below.tabulated) return false;
  const index observed = e.s.n_contexts[j] * e.s.n_categories[j] + 1;
  const index entries = observed + totals.offsets[j + 1] - totals.offsets[j];
  const bool leaves_registers = observed <= most_looked_up && entries > most_looked_up;
  return entries <= most_joined && 11 * tops > (leaves_registers ? rows : rows / 4);
}

/// Adds what feature j adds to the sums of a block: observed cells as add_observed does, and missing ones whose totals
/// are tabulated, which are numbered after them. In `rest`, the cells that have a total and no number.
template <class U>
inline void add_joined(const encoder& e, const family<U>& below, const scored_tables& tables, const code_columns<U>& z,
                       index j, U* combined, std::uint64_t* rest, double* sums) {
  const index rows = z.rows, parent = e.parent != nullptr ? e.parent[j] : j;
  const index contexts = e.s.n_contexts[j], observed = contexts * e.s.n_categories[j] + 1;
  const index n_totals = tables.totals.offsets[j + 1] - tables.totals.offsets[j];
  double table[most_joined];
  std::copy_n(tables.logs + tables.offsets[j], observed, table);
  std::copy_n(tables.totals.logs + tables.totals.offsets[j], n_totals, table + observed);

  // By bytes, all rows at once: look(r) of the family.
  U place[most_column_rows], fits[most_column_rows], loud[most_column_rows];
  for (index i = 0; i < below.n; ++i) {
    const child_column<U>& child = below.child[i];
    const U* const v = child.x;
    const U silent = static_cast<U>(child.silent), radix = static_cast<U>(child.radix);
    if (i == 0)
      for (index r = 0; r < rows; ++r) {
        place[r] = v[r];
        fits[r] = all_if<U>(v[r] < radix);
        loud[r] = all_if<U>(v[r] != silent);
      }
    else
      for (index r = 0; r < rows; ++r) {
        place[r] = static_cast<U>(place[r] * radix + v[r]);
        fits[r] &= all_if<U>(v[r] < radix);
        loud[r] |= all_if<U>(v[r] != silent);
      }
  }
  const U* const own = z.x + j * rows;
  const U* const above = z.x + parent * rows;
  const U n = static_cast<const U*>(e.slot)[j], n_above = static_cast<const U*>(e.slot)[parent];
  const U first = static_cast<U>(observed), each = static_cast<U>(n_totals / contexts);
  const auto choose = [&](index r, U seen, U context, U has_context) {
    const U top = all_if<U>(own[r] >= n) & has_context & loud[r], found = top & fits[r];
    const U code = static_cast<U>(first + context * each + place[r]);
    combined[r] = static_cast<U>((seen & ~found) | (code & found));
    loud[r] = static_cast<U>(top & ~found);
  };
  if (parent == j) {
    for (index r = 0; r < rows; ++r) choose(r, own[r], U{0}, static_cast<U>(~U{0}));
  } else {
    combine_columns(e, j, own, above, rows, combined);
    for (index r = 0; r < rows; ++r) choose(r, combined[r], above[r], all_if<U>(above[r] < n_above));
  }
  for (index strip = 0; strip < z.strips; ++strip)
    rest[strip] = bits_where(loud + 64 * strip, std::min<index>(64, rows - 64 * strip), static_cast<U>(~U{0}));
  add_column(combined, rows, table, observed + n_totals, 1, sums);
}

/// Takes the logs of the totals that were made, and adds them.
inline void add_made(made_totals& made, index k, double* sums) {
  if (made.n == 0) return;
  if (made.scaled)
    log_scaled(made.values, made.exponents, made.n * k, made.values);
  else
    log(made.values, made.n * k, made.values);
  for (index t = 0; t < made.n; ++t) add_vector(made.values + t * k, k, sums + made.rows[t] * k);
}

/// Adds what feature j adds to the sums of a block.
template <bool Max, class U>
inline void add_feature(const encoder& e, children_view children, const scored_tables& tables, const code_columns<U>& z,
                        index j, U* combined, child_column<U>* columns, U* row, message_state& m, made_totals& made,
                        const block_totals* by_feature, double* sums) {
  const index k = e.s.n_classes, rows = z.rows;
  const index parent = e.parent != nullptr ? e.parent[j] : j;
  const U* const above = z.x + parent * rows;

  // Totals first: those that are tabulated lie far away, and are asked for before they are added.
  found_total found[most_column_rows];
  index n_found = 0;
  made.n = 0;
  made.scaled = false;
  bool joined = false;
  if (Max || children.begin[j] < children.begin[j + 1]) {
    const totals_view& totals = tables.totals;
    const family<U> below = make_family(e, children, tables, z, j, columns);
    std::uint64_t tops[most_column_rows / 64];
    index n_tops = 0;
    for (index strip = 0; strip < z.strips; ++strip) {
      tops[strip] = z.gone[j * z.strips + strip];
      if (parent != j) tops[strip] &= ~z.gone[parent * z.strips + strip];
      n_tops += popcount(tops[strip]);
    }
    if constexpr (!Max) joined = is_joined(e, below, totals, rows, j, n_tops);
    if (joined) add_joined(e, below, tables, z, j, combined, tops, sums);
    if (by_feature != nullptr)
      for (index strip = 0; strip < z.strips; ++strip)
        tops[strip] &= ~by_feature->unknown[j * z.strips + strip] | by_feature->outside[strip];
    const double* const logs = below.tabulated ? totals.logs + totals.offsets[j] : nullptr;
    const index each = below.tabulated ? (totals.offsets[j + 1] - totals.offsets[j]) / e.s.n_contexts[j] : 0;
    const double* const theta = tables.cells + tables.offsets[j];
    for (index strip = 0; strip < z.strips; ++strip)
      for_bits(tops[strip], [&](index bit) {
        const index r = 64 * strip + bit;
        const behind seen = Max ? behind{false, -1} : below.look(r);
        if (seen.silent) return;
        const index a = parent == j ? 0 : static_cast<index>(above[r]);
        if (seen.place >= 0) {
          found[n_found] = {r, logs + a * each + seen.place * k};
          prefetch(found[n_found++].logs);
          return;
        }
        if (!Max && tables.plain && below.near(r) &&
            make_near_total(below, theta + a * k, e.s.n_contexts[j] * k, e.s.n_categories[j], k, r, made))
          return;
        touch_behind(e, children, z, j, r, row, m);
        make_total<Max>(e, row, tables, r, m, made);
      });
  }

  if (!joined) add_observed(e, tables, z, j, combined, sums);
  for (index t = 0; t < n_found; ++t) add_vector(found[t].logs, k, sums + found[t].row * k);
  add_made(made, k, sums);
  if (by_feature != nullptr) add_block_totals(*by_feature, j, k, sums);
}

/// The same of a block whose totals are there.
template <class U>
inline void add_feature_by_row(const encoder& e, children_view children, const scored_tables& tables,
                               const code_columns<U>& z, index j, U* combined, U* row, message_state& m,
                               made_totals& made, const row_totals& t, double* sums) {
  add_observed(e, tables, z, j, combined, sums);
  // f(first of eight rows, the bits of those that have a total)
  const auto for_eights = [&](auto&& f) {
    for (index strip = 0; strip < z.strips; ++strip) {
      std::uint64_t tops = t.tops[j * z.strips + strip] & ~t.outside[strip];
      for (index r = 64 * strip, end = std::min(r + 64, z.rows); r < end && tops != 0; r += 8, tops >>= 8)
        f(r, static_cast<std::uint8_t>(tops));
    }
  };
  const index k = e.s.n_classes;
  index n = 0;
  for (index c = 0; c < k; ++c)
    for_eights([&](index r, std::uint8_t set) {
      pack(t.totals + (c * e.s.d + j) * z.rows + r, set, made.values + n);
      n += popcount(set);
    });
  log(made.values, n, made.values);
  n = 0;
  for (index c = 0; c < k; ++c)
    for_eights([&](index r, std::uint8_t set) {
      if (k == 1)
        add_packed(made.values + n, set, sums + r);
      else
        for_bits(set, [&, i = n](index bit) mutable { sums[(r + bit) * k + c] += made.values[i++]; });
      n += popcount(set);
    });
  made.n = 0;
  made.scaled = false;
  for (index strip = 0; strip < z.strips; ++strip)
    for_bits(t.tops[j * z.strips + strip] & t.outside[strip], [&](index bit) {
      touch_behind(e, children, z, j, 64 * strip + bit, row, m);
      make_total<false>(e, row, tables, 64 * strip + bit, m, made);
    });
  add_made(made, k, sums);
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
  std::uint64_t* const words = static_cast<std::uint64_t*>(scratch);
  const children_view children = make_children(e, reinterpret_cast<index*>(words + encoder_bytes(d) / 8));
  index* const subtrees = reinterpret_cast<index*>(words + encoder_bytes(d) / 8) + 2 * d + 1;
  std::uint64_t* const parts = words + log_prob_tree_begin(d);
  const index block = column_rows(s, n_rows, threads);
  const log_prob_tree_pieces at = make_log_prob_tree_pieces(s, block);
  const message_sizes size = sizes_of_messages(s);
  const bool may_by_feature = !Max && total_by_feature(size, block);
  if (may_by_feature) list_subtrees(s, children, subtrees);
  first_index bad;
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    parallel_blocks(n_rows, block, threads, [&](index begin, index end, int thread) {
      std::uint64_t* const own = parts + thread * at.words;
      message_state m = make_message_state(s, own + at.messages);
      U* const codes = reinterpret_cast<U*>(own + at.codes);
      U* const turned = reinterpret_cast<U*>(own + at.turned);
      U* const row = reinterpret_cast<U*>(own + at.row);
      auto* const columns = reinterpret_cast<child_column<U>*>(own + at.columns);
      static_assert(sizeof *columns <= 4 * sizeof *own);
      U* const combined = reinterpret_cast<U*>(own + at.combined);
      double* const sums = reinterpret_cast<double*>(own + at.sums);
      made_totals made{};
      made.values = reinterpret_cast<double*>(own + at.values);
      made.exponents = reinterpret_cast<index*>(own + at.exponents);
      made.rows = reinterpret_cast<index*>(own + at.made_rows);
      made.terms = reinterpret_cast<double*>(own + at.terms);

      const index n = end - begin;
      if (encode_rows(e, rows + begin, n, codes) & met_bad) bad.report(first_bad(e, rows[begin], rows[end - 1] + 1));
      const code_columns<U> z = make_code_columns(e, codes, n, turned, block, own + at.gone);
      const row_messages messages = make_row_messages(s, size, own + at.row_messages);
      const row_totals t{reinterpret_cast<double*>(own + at.totals), own + at.tops, own + at.outside};
      [[maybe_unused]] block_totals unknown_totals = make_block_totals(at.block_totals, own + at.by_feature);
      bool by_row = false, by_feature = false;
      if constexpr (!Max) {
        index unknown = number_behind(e, children, tables, z, 0, 1, columns);
        if constexpr (sizeof(U) == 1) by_row = tables.plain && total_by_row(s, size, block) && are_many(s, z, unknown);
        if (by_row) {
          for (index strip = 0; strip < z.strips; ++strip) total_strip(e, tables, z, strip, m, messages, t);
        } else {
          unknown += number_behind(e, children, tables, z, 1, z.strips, columns);
          by_feature = tables.plain && may_by_feature && is_worth_features(s, z.rows, unknown);
          if (by_feature) {
            find_unknown(e, children, tables, z, columns, unknown_totals);
            total_block(e, children, subtrees, tables, z, unknown_totals);
          }
        }
      }

      const auto bytes_of = [&](index some) { return static_cast<std::size_t>(some * k) * sizeof *sums; };
      std::memcpy(sums, first, bytes_of(1));
      for (index r = 1; r < block; r *= 2) std::memcpy(sums + r * k, sums, bytes_of(r));
      for (index j = 0; j < d; ++j)  // left to right
        if (by_row)
          add_feature_by_row(e, children, tables, z, j, combined, row, m, made, t, sums);
        else
          add_feature<Max>(e, children, tables, z, j, combined, columns, row, m, made,
                           by_feature ? &unknown_totals : nullptr, sums);
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
