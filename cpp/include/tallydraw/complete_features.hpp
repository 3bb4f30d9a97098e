// Rows with their missing cells filled in, each row under its class: a draw from p(x_missing | x_observed), or the most
// probable completion. Messages go up (messages.hpp), then contexts are completed before their children:
//   the weight of category x of a missing j, its context completed to a, is theta(x | a) b_j(a, x);
//   drawn   by purpose 0 of (start + r, j), by the levels of these float64 weights, the sums running from left to right
//           (levels.hpp); where j is silent, by the table's own levels, as sample_features draws;
//   chosen  the largest weight, of equal ones the first.
#pragma once

#include <cstdint>
#include <type_traits>

#include "tallydraw/codes.hpp"
#include "tallydraw/messages.hpp"
#include "tallydraw/outcomes.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/philox.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Scratch of complete_features in words of 64 bits.
inline index complete_features_part(const structure_view& s) { return message_words(s) + 2 * rows_together(s.d) * s.d; }
inline index complete_features_scratch(const structure_view& s, int threads) {
  return encoder_bytes(s.d) / 8 + threads * complete_features_part(s);
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

  /// u < level; the lower word of u is made where the upper words are equal.
  bool below(index j, std::uint64_t level) noexcept {
    const std::uint32_t word = high(j);
    const auto upper = static_cast<std::uint32_t>(level >> 32);
    if (word != upper) return word < upper;
    const std::uint64_t u = (std::uint64_t{word} << 32) |
                            one_word(key_, counter_tag(purpose::cells, 1), row_, static_cast<std::uint64_t>(j));
    return clamped(u) < level;
  }

 private:
  std::uint64_t key_;
  std::uint64_t row_;
  index block_ = -1;
  std::uint32_t words_[4][1] = {};
};

/// The first category whose level, made of these weights, is above u; some weight is positive.
inline index draw_by_weight(const double* weights, index n, cell_uniforms& u, index j) noexcept {
  double sum = 0.0;
  for (index x = 0; x < n; ++x) sum += weights[x];
  double running = 0.0;
  for (index x = 0; x < n; ++x) {
    running += weights[x];
    if (running == sum) return x;
    if (u.below(j, static_cast<std::uint64_t>(running / sum * 0x1p64))) return x;
  }
  return n - 1;  // not met: the last running sum is the sum
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
      const double* const weights = products(probabilities + first, b, n, m.terms);
      for (index v = 1; v < n; ++v)
        if (weights[v] > weights[chosen]) chosen = v;
    } else if (b) {
      chosen = draw_by_weight(products(probabilities + first, b, n, m.terms), n, u, j);
    } else {
      while (!u.below(j, level[first + chosen])) ++chosen;
    }
    row[j] = static_cast<T>(chosen);
  }
}

/// out (n, d) in any unsigned type that holds the categories. Codes are checked already, and every row is possible
/// under its class y[r] (class 0 where y is null). Where `only` is not negative the tables are of that class alone,
/// and only its rows are written. `plain`: every positive probability is at least 2^-500; `level`: the tables' levels;
/// scratch: complete_features_scratch words.
template <bool Max>
inline void complete_features_of(const codes_view& x, const index* y, const code_rules& rules, const structure_view& s,
                                 const double* probabilities, bool plain, const std::uint64_t* level, index only,
                                 std::uint64_t key, std::uint64_t start, outcomes_view out, void* scratch,
                                 int threads) {
  const index d = s.d;
  const encoder e = make_encoder(x, rules, s, scratch);
  std::uint64_t* const parts = static_cast<std::uint64_t*>(scratch) + encoder_bytes(d) / 8;
  const index part = complete_features_part(s);
  const index together = rows_together(d);
  with_outcomes(out, [&](auto* to) {
    visit_unsigned(e.tile, [&](auto u) {
      using U = decltype(u);
      using T = std::remove_pointer_t<decltype(to)>;
      parallel_blocks(x.n, together, threads, [&](index begin, index end, int thread) {
        std::uint64_t* own = parts + thread * part;
        message_state m = make_message_state(s, own);
        U* const plain_codes = reinterpret_cast<U*>(own + message_words(s));
        U* const combined = reinterpret_cast<U*>(own + message_words(s) + together * d);
        encode(e, begin, end, 0, d, combined, plain_codes);
        for (index r = begin; r < end; ++r) {
          const coded_row<U> row{(e.contexts ? plain_codes : combined) + (r - begin) * d, combined + (r - begin) * d};
          if (only >= 0 && y[r] != only) continue;
          T* const cells = to + r * d;
          for (index j = 0; j < d; ++j) cells[j] = static_cast<T>(row.x[j]);
          find_touched(e, row, m);
          if (m.n_touched == 0) continue;
          const index c = y && only < 0 ? y[r] : 0;
          cell_uniforms uniforms(key, start + static_cast<std::uint64_t>(r));
          const auto ignore = [](index, auto) {};
          if (plain && send_messages<Max, double>(e, row.x, probabilities, c, m, ignore)) {
            fill_row<Max, double>(e, row.x, probabilities, level, c, m, uniforms, cells);
          } else {
            send_messages<Max, scaled>(e, row.x, probabilities, c, m, ignore);
            fill_row<Max, scaled>(e, row.x, probabilities, level, c, m, uniforms, cells);
          }
        }
      });
    });
  });
}

inline void complete_features(const codes_view& x, const index* y, const code_rules& rules, const structure_view& s,
                              const double* probabilities, bool plain, const std::uint64_t* level, index only,
                              bool maximize, std::uint64_t key, std::uint64_t start, outcomes_view out, void* scratch,
                              int threads) {
  const auto run = maximize ? complete_features_of<true> : complete_features_of<false>;
  run(x, y, rules, s, probabilities, plain, level, only, key, start, out, scratch, threads);
}

}  // namespace tallydraw::TALLYDRAW_ISA
