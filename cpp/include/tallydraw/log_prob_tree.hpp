// log_prob_messages.hpp where every context is at most one feature: the same numbers by the same operations.
//
// Rows go in blocks, as columns of codes. What an observed cell adds is looked up among the logs; what a missing one
// adds, its total, among the logs of totals wherever what is observed behind it has a number there (tree_columns.hpp).
// Totals without a number are made of messages (tree_totals.hpp), those of many rows feature by feature
// (totals_by_feature.hpp). Where many cells of a block are missing, all its totals are made at once
// (messages_packed.hpp), and nothing is numbered.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "tallydraw/codes.hpp"
#include "tallydraw/doubles.hpp"
#include "tallydraw/log_prob_columns.hpp"
#include "tallydraw/messages_packed.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/prefetch.hpp"
#include "tallydraw/totals_by_feature.hpp"
#include "tallydraw/tree_columns.hpp"
#include "tallydraw/tree_totals.hpp"

namespace tallydraw::TALLYDRAW_ISA {

#if defined(TALLYDRAW_PACKED_MESSAGES)
/// Whether it pays to make the totals of a block packed, to judge by its first strip; features with children count. In
/// units of 0.01 ns (measured), of C categories on average: a feature costs 11 + K (3 + C) for each of 32 rows, and of
/// 256 a block; its missing cells K (64 + 10 C + 1.6 C^2), and 60 K more of several classes. One by one, these cost
/// 260, or 2400 where nothing is tabulated, and 2800 C more where something is behind them that has no number.
template <class U>
inline bool are_packed(const encoder& e, children_view children, const scored_tables& tables, const code_columns<U>& z,
                       child_column<U>* columns) {
  const index k = e.s.n_classes;
  index missing = 0, features = 0, categories = 0;
  for (index j = 0; j < e.s.d; ++j) {
    if (children.begin[j] == children.begin[j + 1]) continue;
    missing += popcount(z.gone[j * z.strips]);
    ++features;
    categories += e.s.n_categories[j];
  }
  const index c = features > 0 ? categories / features : 0;
  const index each = 64 + 10 * c + 8 * c * c / 5 + (k > 1 ? 60 : 0);
  const index packed = features * (256 / z.strips + 32) * (11 + k * (3 + c)) + missing * k * each;
  const index known = missing * (tables.totals.offsets != nullptr ? 260 : 2400);
  if (known > packed) return true;
  return known + 2800 * c * number_behind(e, children, tables, z, 0, 1, columns) > packed;
}
#endif

/// Whether totals of blocks of `rows` rows that have no number may be made feature by feature. Without registers of eight
/// numbers that is slower than one by one, and a few rows, or a few slots, have no use for it (measured).
inline bool total_by_feature(const structure_view& s, const message_sizes& size, index rows) {
  constexpr index least_slots = 64;
  return wide_lanes >= 8 && rows >= 64 && size.entries > 0 &&
         size.most_categories * s.n_classes <= most_slot_words / least_slots;
}

/// Whether it is worth it (measured, benchmarks/missing_cells.py): where so many missing cells have a missing parent,
/// something behind them, and no number.
inline bool is_worth_features(const structure_view& s, index rows, index unknown) { return 256 * unknown > s.d * rows; }

/// Where the pieces of a thread's scratch begin, for blocks of `rows` rows, and how many words they are: the one place
/// that says so. Each piece begins a cache line.
struct log_prob_tree_pieces {
  index messages, codes, turned, row, columns, combined, gone, sums, values, exponents, made_rows, terms;
  index packed, by_feature;
  packed_pieces of_packed;
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
  at.of_packed = make_packed_pieces(s, size, rows);
  place(at.packed, fits_packed(s, size, rows) ? at.of_packed.words : 0);
  at.block_totals = make_block_total_pieces(s, size, rows);
  place(at.by_feature, total_by_feature(s, size, rows) ? at.block_totals.words : 0);
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

#if defined(TALLYDRAW_PACKED_MESSAGES)
/// The combined codes of feature j, and the entry past them where it or its parent is missing. Room for 64 more.
inline void combine_packed(const encoder& e, const code_columns<std::uint8_t>& z, index j, std::uint8_t* combined) {
  const index parent = e.parent[j], n = e.s.n_categories[j];
  std::uint8_t first[16];  // the first code under each category of the parent
  for (index a = 0; a < 16; ++a) first[a] = static_cast<std::uint8_t>(parent == j ? 0 : a * n);
  const __m128i first_codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(first));
  const __m512i firsts = _mm512_maskz_broadcast_i32x4(0xFFFF, first_codes);
  const __m512i none = _mm512_set1_epi8(static_cast<char>(e.s.n_contexts[j] * n));
  for (index strip = 0; strip < z.strips; ++strip) {
    const std::uint64_t gone = z.gone[j * z.strips + strip] | z.gone[parent * z.strips + strip];
    const __m512i own = _mm512_loadu_si512(z.x + j * z.rows + 64 * strip);
    const __m512i above = _mm512_loadu_si512(z.x + parent * z.rows + 64 * strip);
    const __m512i codes = _mm512_maskz_add_epi8(~gone, own, _mm512_maskz_shuffle_epi8(~gone, firsts, above));
    _mm512_storeu_si512(combined + 64 * strip, _mm512_mask_mov_epi8(codes, gone, none));
  }
}

/// sums[r] += table[z[r]], r < rows, from a table of n entries that Parts registers hold; or, if Takes, the next total
/// where the bit of the row is set.
template <bool Takes, int Parts>
TALLYDRAW_APART inline void look_up_or_take(const std::uint8_t* z, index rows, const double* table, index n,
                                            const std::uint64_t* top, const double* totals, double* sums) {
  double entries[Parts * lookup_size] = {};
  std::copy_n(table, n, entries);
  wide_double held[Parts];
  for (int p = 0; p < Parts; ++p) held[p] = wide_double_load(entries + p * lookup_size);
  const wide places = wide_product(wide_count(0), wide_set(8));
  for (index r0 = 0; r0 < rows; r0 += 64) {
    std::uint64_t taken = Takes ? top[r0 / 64] : 0;
    for (index r = r0, end = std::min(r0 + 64, rows); r < end; r += lookup_size, taken >>= 8) {
      std::uint64_t codes;
      std::memcpy(&codes, z + r, sizeof codes);
      wide_double found = wide_lookup<Parts>(held, _mm512_maskz_srlv_epi64(0xFF, wide_set(codes), places));
      if constexpr (Takes) {
        const auto set = static_cast<std::uint8_t>(taken);
        found = _mm512_mask_expand_pd(found, set, wide_double_load(totals));
        totals += popcount(set);
      }
      wide_double_store(wide_double_add(wide_double_load(sums + r), found), sums + r);
    }
  }
}

/// The same as add_feature, of a block whose totals are there.
inline void add_feature_packed(const encoder& e, children_view children, const scored_tables& tables,
                               const code_columns<std::uint8_t>& z, index j, std::uint8_t* combined, std::uint8_t* row,
                               message_state& m, made_totals& made, const packed_view& p, double* sums) {
  const index k = e.s.n_classes;
  const std::uint64_t* const top = p.top + j * z.strips;
  const double* const totals = p.totals + p.first[j];
  const index entries = e.s.n_contexts[j] * e.s.n_categories[j] + 1;
  if (k == 1 && entries <= most_looked_up) {
    const double* const observed = tables.logs + tables.offsets[j];
    combine_packed(e, z, j, combined);
    const auto add = [&](auto takes, auto parts) {
      look_up_or_take<decltype(takes)::value, decltype(parts)::value>(combined, z.rows, observed, entries, top, totals,
                                                                      sums);
    };
    const auto add_parts = [&](auto takes) {
      if (entries <= lookup_size)
        add(takes, std::integral_constant<int, 1>{});
      else if (entries <= 2 * lookup_size)
        add(takes, std::integral_constant<int, 2>{});
      else
        add(takes, std::integral_constant<int, 4>{});
    };
    if (children.begin[j] < children.begin[j + 1])
      add_parts(std::true_type{});
    else
      add_parts(std::false_type{});
  } else {
    add_observed(e, tables, z, j, combined, sums);
    index n = 0;
    for (index r = 0; r < z.rows && n < p.n_top[j]; r += 8) {
      const auto set = static_cast<std::uint8_t>(top[r / 64] >> (r % 64));
      if (k == 1)
        add_packed(totals + n, set, sums + r);
      else
        for_bits(set, [&, i = n](index bit) mutable {
          for (index c = 0; c < k; ++c) sums[(r + bit) * k + c] += totals[c * p.most + i];
          ++i;
        });
      n += popcount(set);
    }
  }
  made.n = 0;
  made.scaled = false;
  for (index strip = 0; strip < z.strips; ++strip)
    for_bits(top[strip] & p.outside[strip], [&](index bit) {
      touch_behind(e, children, z, j, 64 * strip + bit, row, m);
      make_total<false>(e, row, tables, 64 * strip + bit, m, made);
    });
  add_made(made, k, sums);
}

/// Zeros for the totals of rows for which plain numbers did not suffice.
inline void clear_outside(const packed_view& p, index d, index strips, index k) {
  std::uint64_t any = 0;
  for (index strip = 0; strip < strips; ++strip) any |= p.outside[strip];
  if (any == 0) return;
  for (index j = 0; j < d; ++j) {
    index n = p.first[j];
    for (index strip = 0; strip < strips; ++strip)
      for_bits(p.top[j * strips + strip], [&](index bit) {
        if (p.outside[strip] >> bit & 1)
          for (index c = 0; c < k; ++c) p.totals[c * p.most + n] = 0.0;
        ++n;
      });
  }
}
#endif

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
  [[maybe_unused]] const bool may_pack = !Max && fits_packed(s, size, block);
  const bool may_by_feature = !Max && total_by_feature(s, size, block);
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
      bool packed = false;
#if defined(TALLYDRAW_PACKED_MESSAGES)
      packed_view p = make_packed_view(at.of_packed, own + at.packed);
      if constexpr (!Max && sizeof(U) == 1) {
        packed = tables.plain && e.parent != nullptr && may_pack && are_packed(e, children, tables, z, columns);
        if (packed) {
          make_packed(e, children, tables, z, p);
          clear_outside(p, d, z.strips, k);
        }
      }
#endif
      [[maybe_unused]] block_totals unknown_totals = make_block_totals(at.block_totals, own + at.by_feature);
      bool by_feature = false;
      if constexpr (!Max)
        if (!packed) {
          const index unknown = number_behind(e, children, tables, z, 0, z.strips, columns);
          by_feature = tables.plain && may_by_feature && is_worth_features(s, z.rows, unknown);
          if (by_feature) {
            find_unknown(e, children, tables, z, columns, unknown_totals);
            total_block(e, children, subtrees, tables, z, unknown_totals);
          }
        }

      const auto bytes_of = [&](index some) { return static_cast<std::size_t>(some * k) * sizeof *sums; };
      std::memcpy(sums, first, bytes_of(1));
      for (index r = 1; r < block; r *= 2) std::memcpy(sums + r * k, sums, bytes_of(r));
      for (index j = 0; j < d; ++j) {  // left to right
#if defined(TALLYDRAW_PACKED_MESSAGES)
        if constexpr (!Max && sizeof(U) == 1)
          if (packed) {
            add_feature_packed(e, children, tables, z, j, combined, row, m, made, p, sums);
            continue;
          }
#endif
        add_feature<Max>(e, children, tables, z, j, combined, columns, row, m, made,
                         by_feature ? &unknown_totals : nullptr, sums);
      }
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
