// log_prob_messages.hpp where every context is at most one feature: the same numbers by the same operations.
//
// Rows go in blocks, as columns of codes. What an observed cell adds is looked up among the logs; what a missing one
// adds, its total, likewise wherever what is observed behind it has a number (tree_columns.hpp): rows with gaps are
// scored as complete ones are. Totals without a number are made of messages (tree_totals.hpp), those of many rows
// feature by feature (totals_by_feature.hpp). Where many cells of a block are missing, all its totals are made at once
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
#include "tallydraw/totals_by_feature.hpp"
#include "tallydraw/tree_columns.hpp"
#include "tallydraw/tree_totals.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Whether so few cells are missing that it pays to look up observed cells alone in registers, and others one by one
/// (measured).
inline bool are_rare(index missing, index rows) { return 32 * missing < rows; }

/// Whether a thread's blocks are packed, and for how many more: the first of so many tells.
struct judged_packed {
  index left;
  bool packed;
};
constexpr index judged_blocks = 8;

#if defined(TALLYDRAW_PACKED_MESSAGES)
/// Whether it pays to make the totals of a block packed, to judge by its first strip, and what that needs otherwise;
/// features with children count. In units of 0.01 ns (measured), of C categories on average: packed, a feature costs
/// 11 + K (3 + C) for each of 32 rows, and of 256 a block; its missing cells K (64 + 10 C + 1.6 C^2), and 60 K more of
/// several classes. Otherwise it costs 20 for each of 64 rows that it is numbered in and of one class not looked up in
/// registers, or 10 where few cells are missing, 2400 a total without a number, and 2800 C more each message that that
/// needs.
template <class U>
inline bool are_packed(const encoder& e, children_view children, bool tabulated, const code_columns<U>& z, needs need) {
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
  const index numbered = tabulated && k == 1 ? features * 64 * (are_rare(missing, 64 * features) ? 10 : 20) : 0;
  return numbered + 2400 * need.totals + 2800 * c * need.messages > packed;
}
#endif

/// Whether totals of blocks of `rows` rows that have no number may be made feature by feature. Without registers of eight
/// numbers that is slower than one by one, and a few rows, or a few slots, have no use for it (measured).
inline bool total_by_feature(const structure_view& s, const message_sizes& size, index rows) {
  constexpr index least_slots = 64;
  return wide_lanes >= 8 && rows >= 64 && size.entries > 0 &&
         size.most_categories * s.n_classes <= most_slot_words / least_slots;
}

/// Whether it is worth it (measured, benchmarks/missing_cells.py): where totals need so many messages.
inline bool is_worth_features(const structure_view& s, index rows, index messages) {
  return 256 * messages > s.d * rows;
}

/// Where the pieces of a thread's scratch begin, for blocks of `rows` rows, and how many words they are: the one place
/// that says so. Each piece begins a cache line.
struct log_prob_tree_pieces {
  index messages, codes, turned, row, numbers, combined, gone, none, heard, unknown, needed;
  index sums, values, exponents, made_rows, terms;
  index packed, judged, by_feature;
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
  place(at.numbers, s.d * rows);
  place(at.combined, most_added * rows + 8);
  for (index* const piece : {&at.gone, &at.none, &at.heard, &at.unknown, &at.needed})
    place(*piece, s.d * ((rows + 63) / 64));
  place(at.sums, rows * s.n_classes);
  place(at.values, rows * s.n_classes + 8);
  place(at.exponents, rows * s.n_classes);
  place(at.made_rows, rows);
  place(at.terms, most_classes * (size.entries + size.most_categories));
  at.of_packed = make_packed_pieces(s, size, rows);
  place(at.packed, fits_packed(s, size, rows) ? at.of_packed.words : 0);
  static_assert(sizeof(judged_packed) <= 2 * sizeof(std::uint64_t));
  place(at.judged, 2);
  at.block_totals = make_block_total_pieces(s, size, rows);
  place(at.by_feature, total_by_feature(s, size, rows) ? at.block_totals.words : 0);
  return at;
}
/// Scratch of log_prob_tree in words of 64 bits.
inline index log_prob_tree_begin(index d) { return whole_lines(encoder_bytes(d) / 8 + 3 * d + 1); }
inline index log_prob_tree_scratch(const structure_view& s, index n, int threads) {
  return log_prob_tree_begin(s.d) + threads * make_log_prob_tree_pieces(s, column_rows(s, n, threads)).words;
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

/// The codes and tables of some features, side by side, whose cells add what they look up.
template <class I>
struct added_columns {
  I* combined;  // [most_added][rows]
  const I* codes[most_added];
  const double* tables[most_added];
  index n = 0;

  void add(index rows, index k, double* sums) {
    switch (n) {
      case 4: add_columns<4>(codes, tables, rows, k, sums); break;
      case 3: add_columns<3>(codes, tables, rows, k, sums); break;
      case 2: add_columns<2>(codes, tables, rows, k, sums); break;
      case 1: add_columns<1>(codes, tables, rows, k, sums); break;
      default: break;
    }
    n = 0;
  }
};

/// Adds what the cells of feature j look up, perhaps with those of features to come. `numbers` are columns, those of z
/// where totals are not tabulated.
template <class U, class N, class I>
inline void add_looked_up(const encoder& e, const scored_tables& tables, bool with_totals, const code_columns<U>& z,
                          const N* numbers, index j, added_columns<I>& columns, double* sums) {
  const index parent = e.parent != nullptr ? e.parent[j] : j, k = e.s.n_classes, rows = z.rows;
  const column_table table = table_of(e, tables, with_totals, j);
  I* const combined = columns.combined + columns.n * rows;
  const auto combine = [&](const auto* from, const column_table& to) {
    combine_numbers(from + j * rows, parent == j ? nullptr : from + parent * rows, e.s.n_contexts[j], to, rows,
                    combined);
  };
  if (k == 1 && table.zero < most_looked_up) {
    combine(numbers, table);
    columns.add(rows, k, sums);
    return add_column(combined, rows, table.logs, table.zero + 1, k, sums);
  }
  const column_table observed = table_of(e, tables, false, j);
  if (with_totals && k == 1 && observed.zero < most_looked_up) {
    const std::uint64_t *const gone = z.gone + j * z.strips, *const under = z.gone + parent * z.strips;
    index missing = 0;
    for (index strip = 0; strip < z.strips; ++strip) missing += popcount(gone[strip]);
    if (are_rare(missing, rows)) {
      combine(z.x, observed);
      columns.add(rows, k, sums);
      add_column(combined, rows, observed.logs, observed.zero + 1, k, sums);
      for (index strip = 0; strip < z.strips; ++strip)
        for_bits(parent == j ? gone[strip] : gone[strip] & ~under[strip], [&](index bit) {
          const index r = 64 * strip + bit, number = static_cast<index>(numbers[j * rows + r]);
          const index a = parent == j ? 0 : static_cast<index>(z.x[parent * rows + r]);
          if (number < table.width) sums[r] += table.logs[a * table.width + number];
        });
      return;
    }
  }
  combine(numbers, table);
  columns.codes[columns.n] = combined;
  columns.tables[columns.n++] = table.logs;
  if (columns.n == most_added) columns.add(rows, k, sums);
}

/// Adds the totals of feature j that are not looked up, of the rows whose bits are set in unknown[strips].
template <bool Max, class U>
inline void add_unknown(const encoder& e, children_view children, const scored_tables& tables, const code_columns<U>& z,
                        const std::uint64_t* unknown, const std::uint64_t* heard, index j, U* row, message_state& m,
                        made_totals& made, const block_totals* by_feature, double* sums) {
  const index k = e.s.n_classes, parent = e.parent != nullptr ? e.parent[j] : j;
  const U* const above = z.x + parent * z.rows;
  const double* const theta = tables.cells + tables.offsets[j];
  made.n = 0;
  made.scaled = false;
  for (index strip = 0; strip < z.strips; ++strip) {
    std::uint64_t further = 0;  // messages come from further than the children
    for (index at = children.begin[j]; at < children.begin[j + 1]; ++at)
      further |= heard[children.child[at] * z.strips + strip];
    for_bits(unknown[strip] & (by_feature != nullptr ? by_feature->outside[strip] : ~std::uint64_t{0}), [&](index bit) {
      const index r = 64 * strip + bit, a = parent == j ? 0 : static_cast<index>(above[r]);
      if (!Max && tables.plain && !(further >> bit & 1) &&
          make_near_total(e, children, tables, z, j, theta + a * k, e.s.n_contexts[j] * k, r, made))
        return;
      touch_behind(e, children, z, j, r, row, m);
      make_total<Max>(e, row, tables, r, m, made);
    });
  }
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

/// Adds what feature j adds to the sums of a block whose totals are made.
inline void add_feature_packed(const encoder& e, children_view children, const scored_tables& tables,
                               const code_columns<std::uint8_t>& z, index j, added_columns<std::uint16_t>& columns,
                               std::uint8_t* row, message_state& m, made_totals& made, const packed_view& p,
                               double* sums) {
  const index k = e.s.n_classes;
  const std::uint64_t* const top = p.top + j * z.strips;
  const double* const totals = p.totals + p.first[j];
  const index entries = e.s.n_contexts[j] * e.s.n_categories[j] + 1;
  if (k == 1 && entries <= most_looked_up) {
    const double* const observed = tables.logs + tables.offsets[j];
    std::uint8_t* const combined = reinterpret_cast<std::uint8_t*>(columns.combined);
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
    add_looked_up(e, tables, false, z, z.x, j, columns, sums);
    columns.add(z.rows, k, sums);
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
  const encoder e = make_encoder(x, rules, s, scratch, false);
  std::uint64_t* const words = static_cast<std::uint64_t*>(scratch);
  const children_view children = make_children(e, reinterpret_cast<index*>(words + encoder_bytes(d) / 8));
  index* const subtrees = reinterpret_cast<index*>(words + encoder_bytes(d) / 8) + 2 * d + 1;
  std::uint64_t* const parts = words + log_prob_tree_begin(d);
  const index block = column_rows(s, n_rows, threads);
  const log_prob_tree_pieces at = make_log_prob_tree_pieces(s, block);
  const message_sizes size = sizes_of_messages(s);
  // Packed codes are combined in bytes.
  bool in_bytes = true;
  for (index j = 0; j < d; ++j) in_bytes &= s.n_contexts[j] * s.n_categories[j] <= UINT8_MAX;
  [[maybe_unused]] const bool may_pack = !Max && in_bytes && fits_packed(s, size, block);
  const bool tabulated = !Max && tables.totals.offsets != nullptr;
  const bool may_by_feature = !Max && total_by_feature(s, size, block);
  if (may_by_feature) list_subtrees(s, children, subtrees);
  const auto judged_of = [&](index thread) {
    return reinterpret_cast<judged_packed*>(parts + thread * at.words + at.judged);
  };
  for (int thread = 0; thread < threads; ++thread) *judged_of(thread) = {};
  first_index bad;
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    using I = combined_code<U>;
    parallel_blocks(n_rows, block, threads, [&](index begin, index end, int thread) {
      std::uint64_t* const own = parts + thread * at.words;
      message_state m = make_message_state(s, own + at.messages);
      U* const codes = reinterpret_cast<U*>(own + at.codes);
      U* const turned = reinterpret_cast<U*>(own + at.turned);
      U* const row = reinterpret_cast<U*>(own + at.row);
      I* const numbers = reinterpret_cast<I*>(own + at.numbers);
      std::uint64_t *const none = own + at.none, *const heard = own + at.heard, *const unknown = own + at.unknown,
                           *const needed = own + at.needed;
      added_columns<I> columns{};
      columns.combined = reinterpret_cast<I*>(own + at.combined);
      double* const sums = reinterpret_cast<double*>(own + at.sums);
      made_totals made{};
      made.values = reinterpret_cast<double*>(own + at.values);
      made.exponents = reinterpret_cast<index*>(own + at.exponents);
      made.rows = reinterpret_cast<index*>(own + at.made_rows);
      made.terms = reinterpret_cast<double*>(own + at.terms);

      const index n = end - begin;
      if (encode_rows(e, rows + begin, n, codes) & met_bad) bad.report(first_bad(e, rows[begin], rows[end - 1] + 1));
      const code_columns<U> z = make_code_columns(e, codes, n, turned, block, own + at.gone);

      // Totals without a number: where none are tabulated, of all missing cells behind which something is observed.
      const std::uint64_t* const loud = Max ? z.gone : tabulated ? none : heard;
      const auto number = [&](strip_range some) {
        return !tabulated || number_columns(e, children, tables, z, some, numbers, none);
      };
      const auto look_for = [&](strip_range some) {
        find_heard(e, children, z, some, heard);
        return find_unknown(e, z, some, loud, heard, unknown, needed);
      };
      bool has_unknown = false, packed = false;
      needs need{};
      index looked_at = 0;
#if defined(TALLYDRAW_PACKED_MESSAGES)
      packed_view p = make_packed_view(at.of_packed, own + at.packed);
      if constexpr (!Max && sizeof(U) == 1)
        if (tables.plain && e.parent != nullptr && may_pack) {
          judged_packed& judged = *judged_of(thread);
          if (judged.left-- == 0) {
            judged.left = judged_blocks - 1;
            judged.packed = tabulated && are_packed(e, children, tabulated, z, need);
            if (!judged.packed) {
              looked_at = 1;
              has_unknown = number({0, 1});
              if (has_unknown) need = look_for({0, 1});
              judged.packed = are_packed(e, children, tabulated, z, need);
            }
          }
          packed = judged.packed;
          if (packed) {
            make_packed(e, children, tables, z, p);
            clear_outside(p, d, z.strips, k);
          }
        }
#endif
      if (!packed && looked_at < z.strips) {
        has_unknown |= number({looked_at, z.strips});
        if (has_unknown) need = look_for({0, z.strips});
      }
      [[maybe_unused]] block_totals unknown_totals = make_block_totals(at.block_totals, needed, own + at.by_feature);
      bool by_feature = false;
      if constexpr (!Max) {
        by_feature = !packed && tables.plain && may_by_feature && is_worth_features(s, z.rows, need.messages);
        if (by_feature) total_block(e, children, subtrees, tables, z, unknown_totals);
      }

      const auto bytes_of = [&](index some) { return static_cast<std::size_t>(some * k) * sizeof *sums; };
      std::memcpy(sums, first, bytes_of(1));
      for (index r = 1; r < block; r *= 2) std::memcpy(sums + r * k, sums, bytes_of(r));
      for (index j = 0; j < d; ++j) {  // left to right
#if defined(TALLYDRAW_PACKED_MESSAGES)
        if constexpr (!Max && sizeof(U) == 1)
          if (packed) {
            add_feature_packed(e, children, tables, z, j, columns, row, m, made, p, sums);
            continue;
          }
#endif
        if (tabulated)
          add_looked_up(e, tables, true, z, numbers, j, columns, sums);
        else
          add_looked_up(e, tables, false, z, z.x, j, columns, sums);
        const std::uint64_t* const own_unknown = unknown + j * z.strips;
        if (!has_unknown ||
            std::all_of(own_unknown, own_unknown + z.strips, [](std::uint64_t word) { return word == 0; }))
          continue;
        columns.add(z.rows, k, sums);
        add_unknown<Max>(e, children, tables, z, own_unknown, heard, j, row, m, made,
                         by_feature ? &unknown_totals : nullptr, sums);
      }
      columns.add(z.rows, k, sums);
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
