// log p(x) or log p(x | y) of rows with missing cells: messages.hpp sums them out, or takes the most probable values
// (log max over the missing cells of p(x), where `maximize`).
//
// What feature j adds to its row:
//   observed, as is its context           log theta(x_j | context)
//   missing, its context observed         log of its total; nothing where silent
//   some cell of its context missing      nothing: it is in a message
// and the sum runs from first[k], left to right over the features.
//
// Rows go in groups of eight sums (a row of eight classes or more, or eight rows of one class): what every feature adds
// is laid out first, then the columns are added.
#pragma once

#include <cstdint>
#include <cstring>

#include "tallydraw/codes.hpp"
#include "tallydraw/log_prob_tree.hpp"
#include "tallydraw/messages.hpp"
#include "tallydraw/parallel.hpp"

namespace tallydraw::TALLYDRAW_ISA {

constexpr index sums_together = 8;

/// Rows of a group, and its sums up to a multiple of sums_together.
constexpr index rows_of_group(index k) { return k < sums_together ? sums_together / k : 1; }
constexpr index group_sums(index k) {
  return (rows_of_group(k) * k + sums_together - 1) / sums_together * sums_together;
}

/// Scratch of log_prob_rows in words of 64 bits.
inline index log_prob_rows_part(const structure_view& s) {
  return message_words(s) + s.d * (4 * rows_together(s.d) + 4 * group_sums(s.n_classes));
}
inline index log_prob_rows_scratch(const structure_view& s, int threads) {
  return encoder_bytes(s.d) / 8 + threads * log_prob_rows_part(s);
}

/// Totals of a group of rows: their places among what features add, and their values, whose logs are still to be taken.
struct group_totals {
  double* added;  // [d][group_sums]
  double* values;
  index* places;
  index n;
};

/// Lays out what every feature adds to a row, from column `at` of the group on.
template <bool Max, class U>
inline void lay_out_row(const encoder& e, coded_row<U> row, const scored_tables& tables, message_state& m, index at,
                        group_totals& totals) {
  const structure_view& s = e.s;
  const index k = s.n_classes;
  const index sums = group_sums(k);
  // Copies may alias whatever is behind a reference.
  const U* const z = row.z;
  const double* const logs = tables.logs;
  const index* const offsets = tables.offsets;
  double* const added = totals.added + at;
  for (index j = 0, d = s.d; j < d; ++j)
    std::memcpy(added + j * sums, logs + offsets[j] + static_cast<index>(z[j]) * k,
                static_cast<std::size_t>(k) * sizeof *added);
  if (m.n_touched == 0) return;
  for (index c = 0; c < k; ++c) {
    const index before = totals.n;
    const auto top = [&](index j, double value) {
      totals.values[totals.n] = value;
      totals.places[totals.n++] = j * sums + at + c;
    };
    if (tables.plain && send_messages<Max, double>(e, row.x, tables.probabilities, c, m, top)) continue;
    totals.n = before;
    send_messages<Max, scaled>(e, row.x, tables.probabilities, c, m, [&](index j, scaled value) {
      totals.added[j * sums + at + c] = log_scaled(value.m, value.e);
    });
  }
}

/// As log_prob_messages, where contexts may have several features. scratch: log_prob_rows_scratch words.
template <bool Max>
inline index log_prob_rows(const codes_view& x, const code_rules& rules, const structure_view& s,
                           const scored_tables& tables, const double* first, const index* rows, index n_rows,
                           double* out, void* scratch, int threads) {
  const index d = s.d, k = s.n_classes;
  const encoder e = make_encoder(x, rules, s, scratch);
  std::uint64_t* const parts = static_cast<std::uint64_t*>(scratch) + encoder_bytes(d) / 8;
  const index part = log_prob_rows_part(s);
  const index together = rows_together(d);
  const index grouped = rows_of_group(k), sums = group_sums(k);
  first_index bad;
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    parallel_blocks(n_rows, together, threads, [&](index begin, index end, int thread) {
      std::uint64_t* own = parts + thread * part;
      message_state m = make_message_state(s, own);
      own += message_words(s);
      U* const plain_codes = reinterpret_cast<U*>(own);
      U* const combined = reinterpret_cast<U*>(own + 2 * together * d);
      double* const added = reinterpret_cast<double*>(own + 4 * together * d);
      double* const logged = added + 3 * d * sums;
      group_totals totals{added, added + d * sums, reinterpret_cast<index*>(added + 2 * d * sums), 0};

      for (index i = 0; i < d * sums; ++i) added[i] = 0.0;  // columns of no row are added as well

      // Rows that lie close together are encoded at once.
      const index row0 = rows[begin], row1 = rows[end - 1] + 1;
      const bool dense = row1 - row0 <= 2 * together;
      const auto encode_checked = [&](index r0, index r1) {
        if (encode(e, r0, r1, 0, d, combined, plain_codes) & met_bad) bad.report(first_bad(e, r0, r1));
      };
      if (dense) encode_checked(row0, row1);
      for (index i = begin; i < end; i += grouped) {
        const index m_rows = end - i < grouped ? end - i : grouped;
        totals.n = 0;
        for (index g = 0; g < m_rows; ++g) {
          const index place = dense ? rows[i + g] - row0 : 0;
          if (!dense) encode_checked(rows[i + g], rows[i + g] + 1);
          const coded_row<U> row{(e.contexts ? plain_codes : combined) + place * d, combined + place * d};
          find_touched(e, row, m);
          lay_out_row<Max>(e, row, tables, m, g * k, totals);
        }
        log(totals.values, totals.n, logged);
        for (index t = 0; t < totals.n; ++t) added[totals.places[t]] = logged[t];
        for (index c0 = 0; c0 < m_rows * k; c0 += sums_together) {
          double sum[sums_together];
          for (index c = 0; c < sums_together; ++c) sum[c] = c0 + c < m_rows * k ? first[(c0 + c) % k] : 0.0;
          for (index j = 0; j < d; ++j)  // left to right
            for (index c = 0; c < sums_together; ++c) sum[c] += added[j * sums + c0 + c];
          for (index c = c0; c < c0 + sums_together && c < m_rows * k; ++c)
            out[rows[i + c / k] * k + c % k] = sum[c - c0];
        }
      }
    });
  });
  return bad.get();
}

/// Scratch of log_prob_messages in words of 64 bits.
inline index log_prob_messages_scratch(const structure_view& s, index n_rows, int threads) {
  return one_parent(s) ? log_prob_tree_scratch(s, n_rows, threads) : log_prob_rows_scratch(s, threads);
}

/// out[r] for r = rows[0] … rows[n_rows - 1] only, ascending; out (n, K). `plain`: every positive probability is at
/// least 2^-500. Returns the first bad cell of these rows, row * d + column, or -1. scratch: log_prob_messages_scratch
/// words.
inline index log_prob_messages(const codes_view& x, const code_rules& rules, const structure_view& s,
                               const double* probabilities, bool plain, const double* cells, const double* logs,
                               const index* log_offsets, const totals_view& totals, const double* first, bool maximize,
                               const index* rows, index n_rows, double* out, void* scratch, int threads) {
  const scored_tables tables{probabilities, plain, cells, logs, log_offsets, totals};
  const auto run = one_parent(s) ? maximize ? log_prob_tree<true> : log_prob_tree<false>
                   : maximize    ? log_prob_rows<true>
                                 : log_prob_rows<false>;
  return run(x, rules, s, tables, first, rows, n_rows, out, scratch, threads);
}

}  // namespace tallydraw::TALLYDRAW_ISA
