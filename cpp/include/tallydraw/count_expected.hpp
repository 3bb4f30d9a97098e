// Expected counts, the E-step of EM (Dempster, Laird & Rubin 1977): every row adds to the cells of every feature's
// table of class k its weight times p(context, x_j | what is seen of the row, class k): the whole weight to one cell
// where all is observed, what beliefs.hpp tells otherwise.
//
// Sums do not commute. Rows go in blocks of `block_rows`, whatever the number of threads: a block adds its rows in
// their order, features in structure.order, from 0.0; the blocks' sums are added to counts in their order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tallydraw/attributes.hpp"
#include "tallydraw/beliefs.hpp"
#include "tallydraw/codes.hpp"
#include "tallydraw/log_prob_columns.hpp"
#include "tallydraw/messages_by_class.hpp"
#include "tallydraw/messages_by_strip.hpp"
#include "tallydraw/parallel.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Where the pieces of a thread's scratch begin, in words, and how many they are.
struct expected_pieces {
  index sums;  // of one block, classes innermost, a slot after each feature's cells
  index messages, beliefs, plain_codes, combined;
  index strip, columns, classes, n_told, terms, told;  // of strips
  strip_pieces of_strip;
  index words;
};

/// Words of one piece of news of W classes (belief_list), most: C, and of those of a row, which are an odd number of
/// cache lines: rows that lie a power of two apart would have one and the same lines of a cache.
inline index told_words(index most, index classes) { return 1 + most * classes; }
inline index row_told_words(const structure_view& s, index most, index classes) {
  index rows = 0;
  for (index j = 0; j < s.d; ++j) rows += s.n_contexts[j];
  return (whole_lines(rows * told_words(most, classes)) / 8 | 1) * 8;
}

/// How many classes of n rows that go in strips are taken at once, so many that the beliefs of a strip take at most
/// 32 MiB; 0 where not even one is, or rows go one by one.
inline index strip_classes(const structure_view& s, index n) {
  constexpr index most_words = index{1} << 22, most_sums = index{1} << 31;
  if (!sent_by_strip(s, n) || s.offsets[s.d] + s.d * s.n_classes > most_sums) return 0;
  const index most = sizes_of_messages(s).most_categories;
  index classes = classes_at_once(s.n_classes);
  while (classes > 0 && strip_rows * row_told_words(s, most, classes) > most_words) classes /= 2;
  return classes;
}

inline expected_pieces make_expected_pieces(const structure_view& s, index n) {
  const message_sizes size = sizes_of_messages(s);
  const index together = rows_together(s.d), classes = strip_classes(s, n), some = classes > 0;
  expected_pieces at{};
  const auto place = [&at](index& piece, index words) {
    piece = at.words;
    at.words += whole_lines(words);
  };
  at.of_strip = make_strip_pieces(s, classes);
  place(at.sums, s.offsets[s.d] + s.d * s.n_classes);
  place(at.messages, message_words(s));
  place(at.beliefs, belief_words(s));
  place(at.plain_codes, together * s.d);
  place(at.combined, together * s.d);
  place(at.strip, some * at.of_strip.words);
  place(at.columns, some * strip_rows * s.d);
  place(at.classes, some * strip_rows);
  place(at.n_told, some * strip_rows);
  place(at.terms, some * 2 * size.most_categories * classes);
  place(at.told, some * strip_rows * row_told_words(s, size.most_categories, classes));
  return at;
}

/// Scratch of count_expected in words of 64 bits: of the encoder, of tables with classes innermost, of threads.
inline index count_expected_scratch(const structure_view& s, index n, int threads) {
  return whole_lines(encoder_bytes(s.d) / 8 + s.d + 1) + whole_lines(s.offsets[s.d]) +
         threads * make_expected_pieces(s, n).words;
}

/// What a call has.
struct expected_call {
  encoder e;
  const double* probabilities;
  bool plain;
  index at_once;        // classes in strips; 0: no strips
  const double* cells;  // the same, codes and then classes innermost; null where no row is of several classes
  const double* weights;
  expected_pieces at;
  index most;           // C
  const index* begins;  // [d + 1]: where the sums of a feature begin
};

/// What the missing cells of one row of class c add.
template <class U>
inline void add_beliefs(const expected_call& call, coded_row<U> row, double weight, index c, message_state& m,
                        double* beliefs, double* sums) {
  const index k = call.e.s.n_classes;
  pass_both_ways(call.e, row.x, call.probabilities, call.plain, c, m, beliefs,
                 [&](index j, index z, double belief) { sums[call.begins[j] + z * k + c] += weight * belief; });
}

/// sums of rows [begin, end), one after the other.
template <class U>
inline void expect_each(const expected_call& call, index begin, index end, std::uint64_t* own) {
  const encoder& e = call.e;
  const structure_view& s = e.s;
  const index d = s.d, k = s.n_classes;
  const index together = rows_together(d);
  double* const sums = reinterpret_cast<double*>(own + call.at.sums);
  message_state m = make_message_state(s, own + call.at.messages);
  double* const beliefs = reinterpret_cast<double*>(own + call.at.beliefs);
  U* const plain_codes = reinterpret_cast<U*>(own + call.at.plain_codes);
  U* const combined = reinterpret_cast<U*>(own + call.at.combined);
  const U* const whole = static_cast<const U*>(e.whole);
  for (index row0 = begin; row0 < end; row0 += together) {
    const index row1 = std::min(end, row0 + together);
    const unsigned met = encode(e, row0, row1, 0, d, combined, plain_codes);
    for (index r = row0; r < row1; ++r) {
      const coded_row<U> row{(e.contexts ? plain_codes : combined) + (r - row0) * d, combined + (r - row0) * d};
      const double* const weight = call.weights + r * k;
      for (index j = 0; j < d; ++j) {
        if ((met & met_missing) && row.z[j] == whole[j]) continue;
        double* const to = sums + call.begins[j] + static_cast<index>(row.z[j]) * k;
        for (index c = 0; c < k; ++c) to[c] += weight[c];
      }
      if (!(met & met_missing)) continue;
      find_touched(e, row, m);
      for (index c = 0; c < k && m.n_touched > 0; ++c)
        if (weight[c] != 0.0) add_beliefs(call, row, weight[c], c, m, beliefs, sums);
    }
  }
}

/// What a strip's beliefs add to the sums, of W classes at once: made feature by feature, added row by row.
template <class Tables>
class belief_list {
 public:
  static constexpr int W = Tables::width;

  /// classes: of each row, the first of W. weights: of the strip.
  belief_list(const expected_call& call, const double* weights, const index* classes, index* told, std::uint64_t* words)
      : begins_(call.begins),
        k_(call.e.s.n_classes),
        weights_(weights),
        classes_(classes),
        told_(told),
        words_(words),
        apart_(told_words(call.most, W)),
        rows_apart_(row_told_words(call.e.s, call.most, W)) {
    std::fill_n(told, strip_rows, index{0});
  }

  void tell(index r, index j, index z, index step, index n, const doubles<W>* beliefs) const {
    std::uint64_t* const at = words_ + r * rows_apart_ + told_[r]++ * apart_;
    const head h{static_cast<std::uint32_t>(begins_[j] + z * k_ + classes_[r]), static_cast<std::uint16_t>(step),
                 static_cast<std::uint16_t>(n)};
    std::memcpy(at, &h, sizeof h);
    doubles<W> weight;
    weight.load(weights_ + r * k_ + classes_[r]);
    for (index v = 0; v < n; ++v) {
      doubles<W> belief = weight;
      belief.multiply(beliefs[v]);
      belief.store(reinterpret_cast<double*>(at + 1) + v * W);
    }
  }
  /// What row r adds. N: how many beliefs are told at once, 0 if not known.
  template <int N>
  void add(index r, double* sums) const {
    const std::uint64_t* at = words_ + r * rows_apart_;
    for (index i = 0; i < told_[r]; ++i, at += apart_) {
      head h;
      std::memcpy(&h, at, sizeof h);
      const double* const beliefs = reinterpret_cast<const double*>(at + 1);
      const index n = N > 0 ? N : h.n, apart = h.step * k_;
      double* const to = sums + h.first;
      for (index v = 0; v < n; ++v) add_some<W>(beliefs + v * W, to + v * apart);
    }
  }

 private:
  struct head {
    std::uint32_t first;
    std::uint16_t step, n;
  };
  static_assert(sizeof(head) == 8);

  const index* begins_;
  index k_;
  const double* weights_;
  const index* classes_;
  index* told_;
  std::uint64_t* words_;
  index apart_, rows_apart_;
};

/// What a strip of rows from row0 on adds to W classes from classes[r] on. columns: of combined codes.
template <int N, class U, class Tables>
TALLYDRAW_APART inline void expect_classes(const expected_call& call, const Tables& tables, const strip_view<U>& strip,
                                           const U* columns, index row0, index rows, const index* classes,
                                           std::uint64_t* own) {
  constexpr int W = Tables::width;
  const encoder& e = call.e;
  const index d = e.s.d, k = e.s.n_classes;
  const double* const weights = call.weights + row0 * k;
  double* const sums = reinterpret_cast<double*>(own + call.at.sums);
  double* const below = reinterpret_cast<double*>(own + call.at.strip + call.at.of_strip.below);
  const belief_list<Tables> beliefs(call, weights, classes, reinterpret_cast<index*>(own + call.at.n_told),
                                    own + call.at.told);
  std::uint64_t outside = 0;
  if (strip.first[d] > 0) {
    outside = send_strip<false, N>(e, strip, tables, below);
    spread_strip<true, N>(e, strip, tables, below, reinterpret_cast<double*>(own + call.at.terms), call.most,
                          [=](index r, index j, index z, index step, index n, const doubles<W>* told) {
                            beliefs.tell(r, j, z, step, n, told);
                          });
  }
  const index* const offsets = e.s.offsets;
  for (index r = 0; r < rows; ++r) {
    const double* const weight = weights + r * k + classes[r];
    double* to = sums + classes[r];
    const U* z = columns + r;
    for (index j = 0; j < d; ++j, to += k, z += strip_rows)
      add_some<W>(weight, to + offsets[j] + static_cast<index>(*z) * k);
    if (!(outside >> r & 1)) {
      beliefs.template add<N>(r, sums);
      continue;
    }
    message_state m = make_message_state(e.s, own + call.at.messages);
    const coded_row<U> row = encode_row(e, row0 + r, reinterpret_cast<U*>(own + call.at.plain_codes),
                                        reinterpret_cast<U*>(own + call.at.combined));
    find_touched(e, row, m);
    for (int w = 0; w < W; ++w)
      if (weight[w] != 0.0)
        add_beliefs(call, row, weight[w], classes[r] + w, m, reinterpret_cast<double*>(own + call.at.beliefs), sums);
  }
}

/// sums of rows [row0, row1), at most strip_rows.
template <class U>
inline void expect_strip(const expected_call& call, index row0, index row1, std::uint64_t* own) {
  const encoder& e = call.e;
  const structure_view& s = e.s;
  const index d = s.d, k = s.n_classes;
  index* const classes = reinterpret_cast<index*>(own + call.at.classes);
  std::uint64_t counted = 0;
  bool several = false;
  for (index r = row0; r < row1; ++r) {
    const double* const weight = call.weights + r * k;
    index n = 0, sum = 0;  // of the classes that have a weight
    for (index c = 0; c < k; ++c) {
      n += weight[c] != 0.0;
      sum += weight[c] != 0.0 ? c : 0;
    }
    classes[r - row0] = n == 1 ? sum : 0;
    counted |= std::uint64_t{n > 0} << (r - row0);
    several |= n > 1;
  }
  encode_strip<U>(e, row0, row1, call.at.of_strip, own + call.at.strip);
  const strip_view<U> strip = turn_strip<U>(e, row1 - row0, counted, call.at.of_strip, own + call.at.strip);
  U* const columns = reinterpret_cast<U*>(own + call.at.columns);
  for (index j = 0; j < d; ++j) {
    const U* const x = strip.z.x + j * strip_rows;
    if (e.parent != nullptr && e.parent[j] != j)
      combine_columns(e, j, x, strip.z.x + e.parent[j] * strip_rows, strip_rows, columns + j * strip_rows);
    else
      std::copy_n(x, strip_rows, columns + j * strip_rows);
  }
  const auto expect = [&](const auto& tables) {
    constexpr int W = std::decay_t<decltype(tables)>::width;
    const auto run = [&](auto n) {
      expect_classes<decltype(n)::value>(call, tables, strip, columns, row0, row1 - row0, classes, own);
    };
    if constexpr (sizeof(U) == 1 && (W == 1 || W == most_classes))
      with_categories(s, run);
    else
      run(std::integral_constant<int, 0>{});
  };
  const tables_by_row by_row{call.probabilities, s.offsets, classes};
  if (!several) return expect(by_row);
  for (index c = 0, w = 0; c < k; c += w) {
    w = call.cells != nullptr ? std::min(call.at_once, classes_at_once(k - c)) : 1;
    std::fill_n(classes, strip_rows, c);
    with_classes(w, [&](auto at_once) {
      constexpr int W = decltype(at_once)::value;
      if constexpr (W > 1)
        expect(tables_by_lane<W>{k, call.cells + c, s.offsets});
      else
        expect(by_row);
    });
  }
}

/// sums, from 0.0, of rows [begin, end).
template <class U>
inline void expect_block(const expected_call& call, index begin, index end, std::uint64_t* own) {
  const structure_view& s = call.e.s;
  std::fill_n(reinterpret_cast<double*>(own + call.at.sums), call.begins[s.d], 0.0);
  if constexpr (sizeof(U) <= 2)
    if (call.at_once > 0) {
      for (index row0 = begin; row0 < end; row0 += strip_rows)
        expect_strip<U>(call, row0, std::min(end, row0 + strip_rows), own);
      return;
    }
  expect_each<U>(call, begin, end, own);
}

/// Whether some of n rows is of several classes.
inline bool of_several(const double* weights, index n, index k) {
  for (index r = 0; k > 1 && r < n; ++r)
    if (k - std::count(weights + r * k, weights + (r + 1) * k, 0.0) > 1) return true;
  return false;
}

/// The tables with codes, then classes innermost.
inline void copy_cells(const structure_view& s, const double* probabilities, double* cells) {
  const index k = s.n_classes;
  for (index j = 0; j < s.d; ++j) {
    const index n = s.n_contexts[j] * s.n_categories[j];
    for (index z = 0; z < n; ++z)
      for (index c = 0; c < k; ++c) cells[s.offsets[j] + z * k + c] = probabilities[s.offsets[j] + c * n + z];
  }
}

/// Adds to counts, laid out as the tables. Codes are checked already; weights (n, K) are non-negative; `plain`: every
/// positive probability is at least 2^-500. scratch: count_expected_scratch words.
inline void count_expected(const codes_view& x, const code_rules& rules, const structure_view& s,
                           const double* probabilities, bool plain, const double* weights, index block_rows,
                           double* counts, void* scratch, int threads) {
  const index d = s.d, k = s.n_classes;
  std::uint64_t* const words = static_cast<std::uint64_t*>(scratch);
  index* const begins = reinterpret_cast<index*>(words + encoder_bytes(d) / 8);
  double* const cells = reinterpret_cast<double*>(words + whole_lines(encoder_bytes(d) / 8 + d + 1));
  std::uint64_t* const parts = reinterpret_cast<std::uint64_t*>(cells) + whole_lines(s.offsets[d]);
  for (index j = 0; j <= d; ++j) begins[j] = s.offsets[j] + j * k;
  expected_call call{make_encoder(x, rules, s, scratch),
                     probabilities,
                     plain,
                     plain ? strip_classes(s, x.n) : 0,
                     nullptr,
                     weights,
                     make_expected_pieces(s, x.n),
                     sizes_of_messages(s).most_categories,
                     begins};
  if (call.at_once > 1 && s.offsets[d] <= 4 * x.n * d * k && of_several(weights, x.n, k)) {
    copy_cells(s, probabilities, cells);
    call.cells = cells;
  }
  visit_unsigned(call.e.tile, [&](auto u) {
    using U = decltype(u);
    for (index row0 = 0; row0 < x.n; row0 += threads * block_rows) {  // a block a thread at a time
      const index row1 = std::min(x.n, row0 + threads * block_rows);
      const auto part = [&](index block) { return parts + block * call.at.words; };
      parallel_blocks(row1 - row0, block_rows, threads, [&](index begin, index end, int) {
        expect_block<U>(call, row0 + begin, row0 + end, part(begin / block_rows));
      });
      for (index block = 0; block * block_rows < row1 - row0; ++block) {
        const double* const sums = reinterpret_cast<const double*>(part(block) + call.at.sums);
        for (index j = 0; j < d; ++j) {
          const index n = s.n_contexts[j] * s.n_categories[j];
          for (index c = 0; c < k; ++c)
            for (index z = 0; z < n; ++z) counts[s.offsets[j] + c * n + z] += sums[call.begins[j] + z * k + c];
        }
      }
    }
  });
}

}  // namespace tallydraw::TALLYDRAW_ISA
