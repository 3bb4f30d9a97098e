// Rows with their missing cells filled in, each row under its class: a draw from p(x_missing | x_observed), or the most
// probable completion. Messages go up (messages.hpp), then contexts are completed before their children:
//   the weight of category x of a missing j, its context completed to a, is theta(x | a) b_j(a, x);
//   drawn   by purpose 0 of (start + r, j), by the levels of these float64 weights, the sums running from left to right
//           (levels.hpp); where j is silent, by the table's own levels, as sample_features draws;
//   chosen  the largest weight, of equal ones the first.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "tallydraw/attributes.hpp"
#include "tallydraw/codes.hpp"
#include "tallydraw/messages.hpp"
#include "tallydraw/messages_by_class.hpp"
#include "tallydraw/messages_by_strip.hpp"
#include "tallydraw/outcomes.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/philox.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Where the pieces of a thread's scratch begin, in words, and how many they are.
struct completion_pieces {
  index messages, plain_codes, combined;
  index strip, classes, uniforms, weights;  // of strips
  strip_pieces of_strip;
  index words;
};

inline completion_pieces make_completion_pieces(const structure_view& s, index n) {
  const index some = sent_by_strip(s, n), together = rows_together(s.d);
  completion_pieces at{};
  const auto place = [&at](index& piece, index words) {
    piece = at.words;
    at.words += whole_lines(words);
  };
  at.of_strip = make_strip_pieces(s, 1);
  place(at.messages, message_words(s));
  place(at.plain_codes, together * s.d);
  place(at.combined, together * s.d);
  place(at.strip, some * at.of_strip.words);
  place(at.classes, some * strip_rows);
  place(at.uniforms, some * (s.d + 3) / 4 * 4 * strip_rows / 2);
  place(at.weights, some * sizes_of_messages(s).most_categories);
  return at;
}

/// Scratch of complete_features in words of 64 bits.
inline index complete_features_scratch(const structure_view& s, index n, int threads) {
  return whole_lines(encoder_bytes(s.d) / 8) + threads * make_completion_pieces(s, n).words;
}

/// Whether a uniform, of purpose 0 of (row, j) and with this upper word, is below a level; its lower word is made where
/// the upper words are equal.
inline bool is_below(std::uint32_t word, std::uint64_t level, std::uint64_t key, std::uint64_t row, index j) noexcept {
  const auto upper = static_cast<std::uint32_t>(level >> 32);
  if (word != upper) return word < upper;
  const std::uint64_t u =
      (std::uint64_t{word} << 32) | one_word(key, counter_tag(purpose::cells, 1), row, static_cast<std::uint64_t>(j));
  return clamped(u) < level;
}

/// The uniforms of one row's cells; the four words of a block are made once.
class cell_uniforms {
 public:
  cell_uniforms(std::uint64_t key, std::uint64_t row) noexcept : key_(key), row_(row) {}

  std::uint32_t high(index j) noexcept {
    if (j / 4 != block_) {
      block_ = j / 4;
      words_[0][0] = static_cast<std::uint32_t>(row_);
      words_[1][0] = static_cast<std::uint32_t>(row_ >> 32);
      words_[2][0] = static_cast<std::uint32_t>(block_);
      words_[3][0] = counter_tag(purpose::cells, 0);
      philox(words_, key_);
    }
    return words_[j % 4][0];
  }

  bool below(index j, std::uint64_t level) noexcept { return is_below(high(j), level, key_, row_, j); }

 private:
  std::uint64_t key_;
  std::uint64_t row_;
  index block_ = -1;
  std::uint32_t words_[4][1] = {};
};

/// The first category whose level, made of these weights, is above u: the first x with below(level of x). Some weight
/// is positive. Of N categories, 0 if not known; of few all levels are looked at.
template <int N, class Below>
inline index draw_by_weight(const double* weights, index n, Below&& below) noexcept {
  double sum = 0.0;
  for (index x = 0; x < n; ++x) sum += weights[x];
  double running = 0.0;
  index chosen = 0;
  for (index x = 0; x < n - 1; ++x) {
    running += weights[x];
    const bool whole = running == sum;
    const double level = whole ? 0.0 : running / sum * 0x1p64;
    const bool above = !whole && !below(static_cast<std::uint64_t>(level));
    if (N == 0 && !above) break;
    chosen += above;
  }
  return chosen;
}

/// The first of the largest of n weights.
inline index first_of_largest(const double* weights, index n) noexcept {
  index chosen = 0;
  for (index v = 1; v < n; ++v) chosen = weights[v] > weights[chosen] ? v : chosen;
  return chosen;
}

/// The missing cells of one row of class c, whose messages are sent in numbers of type N; row has the observed
/// cells already.
template <bool Max, class N, class U, class T>
inline void fill_row(const encoder& e, const U* x, const double* probabilities, const std::uint64_t* level, index c,
                     const message_state& m, cell_uniforms& u, T* row) {
  const structure_view& s = e.s;
  const N* const below = reinterpret_cast<const N*>(m.below);
  for (index i = 0; i < m.n_touched; ++i) {
    const index j = m.touched[i];
    if (!is_missing(e, x, j)) continue;
    const index n = s.n_categories[j];
    index a = 0;
    for (index t = s.context_begin[j]; t < s.context_begin[j + 1]; ++t)
      a = a * s.n_categories[s.context[t]] + static_cast<index>(row[s.context[t]]);
    const index first = s.offsets[j] + (c * s.n_contexts[j] + a) * n;
    const index width = m.begin[j + 1] - m.begin[j];
    const N* const b = m.loud[j] ? below + m.begin[j] + (width == n ? 0 : a * n % width) : nullptr;
    index chosen = 0;
    if (Max) {
      chosen = first_of_largest(products(probabilities + first, b, n, m.terms), n);
    } else if (b) {
      chosen = draw_by_weight<0>(products(probabilities + first, b, n, m.terms), n,
                                 [&](std::uint64_t bound) { return u.below(j, bound); });
    } else {
      while (!u.below(j, level[first + chosen])) ++chosen;
    }
    row[j] = static_cast<T>(chosen);
  }
}

/// What a call has. Where `only` is not negative the tables are of that class alone, and only its rows are written.
struct completion_call {
  encoder e;
  const index* y;
  const double* probabilities;
  bool plain;
  const std::uint64_t* level;
  index only;
  std::uint64_t key;
  std::uint64_t start;
  completion_pieces at;

  bool counts(index r) const { return only < 0 || y[r] == only; }
  index class_of(index r) const { return y && only < 0 ? y[r] : 0; }
};

/// The missing cells of row r; cells has the others already.
template <bool Max, class U, class T>
inline void complete_row(const completion_call& call, coded_row<U> row, index r, message_state& m, T* cells) {
  const encoder& e = call.e;
  find_touched(e, row, m);
  if (m.n_touched == 0) return;
  const index c = call.class_of(r);
  cell_uniforms uniforms(call.key, call.start + static_cast<std::uint64_t>(r));
  const auto ignore = [](index, auto) {};
  if (call.plain && send_messages<Max, double>(e, row.x, call.probabilities, c, m, ignore)) {
    fill_row<Max, double>(e, row.x, call.probabilities, call.level, c, m, uniforms, cells);
  } else {
    send_messages<Max, scaled>(e, row.x, call.probabilities, c, m, ignore);
    fill_row<Max, scaled>(e, row.x, call.probabilities, call.level, c, m, uniforms, cells);
  }
}

/// Rows [begin, end), at most rows_together of them, one after the other.
template <bool Max, class U, class T>
inline void complete_each(const completion_call& call, index begin, index end, std::uint64_t* own, T* out) {
  const encoder& e = call.e;
  const index d = e.s.d;
  message_state m = make_message_state(e.s, own + call.at.messages);
  U* const plain_codes = reinterpret_cast<U*>(own + call.at.plain_codes);
  U* const combined = reinterpret_cast<U*>(own + call.at.combined);
  encode(e, begin, end, 0, d, combined, plain_codes);
  for (index r = begin; r < end; ++r) {
    if (!call.counts(r)) continue;
    const coded_row<U> row{(e.contexts ? plain_codes : combined) + (r - begin) * d, combined + (r - begin) * d};
    std::copy_n(row.x, d, out + r * d);
    complete_row<Max>(call, row, r, m, out + r * d);
  }
}

/// The upper words of the uniforms of rows from row0 on: uniforms[j * strip_rows + r], wherever a cell is missing.
template <class U>
inline void fill_uniforms(const completion_call& call, const strip_view<U>& strip, index row0,
                          std::uint32_t* uniforms) {
  std::uint64_t rows[strip_rows];
  for (index r = 0; r < strip_rows; ++r) rows[r] = call.start + static_cast<std::uint64_t>(row0 + r);
  for (index j = 0; j < call.e.s.d; j += 4) {
    std::uint64_t gone = 0;
    for (index i = j; i < std::min(j + 4, call.e.s.d); ++i) gone |= strip.z.gone[i];
    if (gone == 0) continue;
    std::uint32_t* const to = uniforms + j * strip_rows;
    static_assert(strip_rows % lanes == 0);
    fill_columns(call.key, counter_tag(purpose::cells, 0), rows, strip_rows, static_cast<std::uint32_t>(j / 4),
                 {to, to + strip_rows, to + 2 * strip_rows, to + 3 * strip_rows});
  }
}

/// The missing cells of a strip, whose messages are sent, among its codes.
template <bool Max, int N, class U>
TALLYDRAW_APART inline void fill_strip(const completion_call& call, const strip_view<U>& strip,
                                       const tables_by_row& tables, index row0, const double* below,
                                       const std::uint32_t* uniforms, double* room) {
  const encoder& e = call.e;
  const index d = e.s.d;
  const index *const order = e.s.order, *const parents = e.parent, *const n_categories = e.s.n_categories;
  const std::uint64_t* const level = call.level;
  const std::uint64_t key = call.key, start = call.start + static_cast<std::uint64_t>(row0);
  U* const x = strip.z.x;
  double some[N > 0 ? N : 1];
  double* const weights = N > 0 ? some : room;
  for (index i = 0; i < d; ++i) {
    const index j = order[i], parent = parents != nullptr ? parents[j] : j;
    const std::uint64_t missing = strip.z.gone[j], silent = Max ? 0 : missing & ~strip.loud[j];
    if (missing == 0) continue;
    const index n = N > 0 ? N : n_categories[j], rows = parent == j ? 1 : n_categories[parent];
    const double* const b = below + strip.first[j];
    const auto theta_of = [&](index r) {
      const index a = parent == j ? 0 : static_cast<index>(x[parent * strip_rows + r]);
      return tables.of(j, rows * n, r) + a * n;
    };
    const auto below_level = [&](index r, std::uint64_t bound) {
      return is_below(uniforms[j * strip_rows + r], bound, key, start + static_cast<std::uint64_t>(r), j);
    };
    for_bits(missing & ~silent, [&](index r) {
      const double *const theta = theta_of(r), *const from = b + bits_below(missing, r) * n;
      for (index v = 0; v < n; ++v) weights[v] = theta[v] * from[v];
      const index chosen =
          Max ? first_of_largest(weights, n)
              : draw_by_weight<N>(weights, n, [&](std::uint64_t bound) { return below_level(r, bound); });
      x[j * strip_rows + r] = static_cast<U>(chosen);
    });
    for_bits(silent, [&](index r) {
      const std::uint64_t* const levels = level + (theta_of(r) - call.probabilities);
      index chosen = 0;
      if constexpr (N > 0)
        for (index v = 0; v < n - 1; ++v) chosen += !below_level(r, levels[v]);
      else
        while (!below_level(r, levels[chosen])) ++chosen;
      x[j * strip_rows + r] = static_cast<U>(chosen);
    });
  }
}

/// Rows [begin, end), at most strip_rows.
template <bool Max, class U, class T>
inline void complete_strip(const completion_call& call, index begin, index end, std::uint64_t* own, T* out) {
  const encoder& e = call.e;
  const index d = e.s.d;
  index* const classes = reinterpret_cast<index*>(own + call.at.classes);
  const U* const codes = encode_strip<U>(e, begin, end, call.at.of_strip, own + call.at.strip);
  std::uint64_t counted = 0;
  for (index r = begin; r < end; ++r) {
    classes[r - begin] = call.class_of(r);
    if (!call.counts(r)) continue;
    counted |= std::uint64_t{1} << (r - begin);
    std::copy_n(codes + (r - begin) * d, d, out + r * d);
  }
  const strip_view<U> strip = turn_strip<U>(e, end - begin, counted, call.at.of_strip, own + call.at.strip);
  if (strip.first[d] == 0) return;
  double* const below = reinterpret_cast<double*>(own + call.at.strip + call.at.of_strip.below);
  std::uint32_t* const uniforms = reinterpret_cast<std::uint32_t*>(own + call.at.uniforms);
  if (!Max) fill_uniforms(call, strip, begin, uniforms);
  std::uint64_t outside = 0;
  const auto fill = [&](auto n) {
    constexpr int N = decltype(n)::value;
    const tables_by_row tables{call.probabilities, e.s.offsets, classes};
    outside = send_strip<Max, N>(e, strip, tables, below);
    fill_strip<Max, N>(call, strip, tables, begin, below, uniforms, reinterpret_cast<double*>(own + call.at.weights));
  };
  if constexpr (sizeof(U) == 1)
    with_categories(e.s, fill);
  else
    fill(std::integral_constant<int, 0>{});
  for (index j = 0; j < d; ++j)
    for_bits(strip.z.gone[j],
             [&](index r) { out[(begin + r) * d + j] = static_cast<T>(strip.z.x[j * strip_rows + r]); });
  for_bits(outside, [&](index r) { complete_each<Max, U>(call, begin + r, begin + r + 1, own, out); });
}

/// out (n, d) in any unsigned type that holds the categories. Codes are checked already, and every row is possible
/// under its class y[r] (class 0 where y is null). `plain`: every positive probability is at least 2^-500; `level`: the
/// tables' levels; scratch: complete_features_scratch words.
template <bool Max>
inline void complete_features_of(const completion_call& call, outcomes_view out, std::uint64_t* parts, int threads) {
  const encoder& e = call.e;
  const index n = e.x.n;
  with_outcomes(out, [&](auto* to) {
    visit_unsigned(e.tile, [&](auto u) {
      using U = decltype(u);
      const bool by_strip = call.plain && sizeof(U) <= 2 && sent_by_strip(e.s, n);
      parallel_blocks(n, by_strip ? strip_rows : rows_together(e.s.d), threads,
                      [&](index begin, index end, int thread) {
                        std::uint64_t* const own = parts + thread * call.at.words;
                        if constexpr (sizeof(U) <= 2)
                          if (by_strip) return complete_strip<Max, U>(call, begin, end, own, to);
                        complete_each<Max, U>(call, begin, end, own, to);
                      });
    });
  });
}

inline void complete_features(const codes_view& x, const index* y, const code_rules& rules, const structure_view& s,
                              const double* probabilities, bool plain, const std::uint64_t* level, index only,
                              bool maximize, std::uint64_t key, std::uint64_t start, outcomes_view out, void* scratch,
                              int threads) {
  const completion_call call{make_encoder(x, rules, s, scratch), y, probabilities, plain, level, only, key, start,
                             make_completion_pieces(s, x.n)};
  std::uint64_t* const parts = static_cast<std::uint64_t*>(scratch) + whole_lines(encoder_bytes(s.d) / 8);
  const auto run = maximize ? complete_features_of<true> : complete_features_of<false>;
  run(call, out, parts, threads);
}

}  // namespace tallydraw::TALLYDRAW_ISA
