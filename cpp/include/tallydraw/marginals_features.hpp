// p(x_j | what is seen of the row), for every feature: 1 at an observed cell; at a missing one the sum over the
// classes, in their order, of weights[r][k] times the beliefs of beliefs.hpp, in their order. Classes of weight zero
// are left out. Where every context is at most one feature, several rows go at once (messages_by_row.hpp).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "tallydraw/beliefs.hpp"
#include "tallydraw/codes.hpp"
#include "tallydraw/messages_by_row.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/transpose.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Rows of a block, of those that go at once.
constexpr index marginal_rows = 64;

/// Where the pieces of a thread's scratch begin, in words, and how many they are.
struct marginals_pieces {
  index messages, beliefs, place, plain_codes, combined;
  index turned, gone, row_messages, down, sums;  // of rows at once
  index words;
};
inline marginals_pieces make_marginals_pieces(const structure_view& s) {
  const message_sizes size = sizes_of_messages(s);
  marginals_pieces at{};
  const auto place = [&at](index& piece, index words) {
    piece = at.words;
    at.words += whole_lines(words);
  };
  index columns = 0;
  for (index j = 0; j < s.d; ++j) columns += s.n_categories[j];
  const index together = std::max(marginal_rows, rows_together(s.d));
  place(at.messages, message_words(s));
  place(at.beliefs, belief_words(s));
  place(at.place, s.d);
  place(at.plain_codes, together * s.d);
  place(at.combined, together * s.d);
  const index some = sent_by_row(s, size);
  place(at.turned, some * marginal_rows * s.d);
  place(at.gone, some * s.d);
  place(at.row_messages, some * row_messages_words(s, size));
  place(at.down, some * rows_sent * size.entries);
  place(at.sums, some * rows_sent * columns);
  return at;
}

/// Scratch of marginals_features in words of 64 bits.
inline index marginals_features_scratch(const structure_view& s, int threads) {
  return whole_lines(encoder_bytes(s.d) / 8) + threads * make_marginals_pieces(s).words;
}

/// What one thread has.
template <class U>
struct marginals_state {
  message_state m;
  double* beliefs;
  index* place;  // [d] of a feature's categories among those of all
  index columns;
  index n;  // rows, of which out has every feature's together
  U* plain_codes;
  U* combined;
};

/// tell(j, v, belief) for each missing cell of a row under class c, of weight 1.
template <class U, class Tell>
inline void tell_row(const encoder& e, coded_row<U> row, const double* probabilities, bool plain, index c,
                     const marginals_state<U>& own, Tell&& tell) {
  pass_both_ways(e, row.x, probabilities, plain, c, own.m, own.beliefs, [&](index j, index z, double belief) {
    if (is_missing(e, row.x, j)) tell(j, z % e.s.n_categories[j], belief);
  });
}

/// Rows [begin, end), one after the other.
template <class U>
inline void marginals_of_each(const encoder& e, const double* probabilities, bool plain, const double* weights,
                              index begin, index end, marginals_state<U>& own, double* out) {
  const structure_view& s = e.s;
  const index d = s.d, k = s.n_classes;
  encode(e, begin, end, 0, d, own.combined, own.plain_codes);
  for (index r = begin; r < end; ++r) {
    const U* const z = own.combined + (r - begin) * d;
    const coded_row<U> row{e.contexts ? own.plain_codes + (r - begin) * d : z, z};
    const auto cells_of = [&](index j) { return out + own.place[j] * own.n + r * s.n_categories[j]; };
    find_touched(e, row, own.m);
    for (index j = 0; j < d; ++j) {
      std::fill_n(cells_of(j), s.n_categories[j], 0.0);
      if (!e.slots || !is_missing(e, row.x, j)) cells_of(j)[row.x[j]] = 1.0;
    }
    for (index c = 0; c < k && own.m.n_touched > 0; ++c) {
      const double weight = weights[r * k + c];
      if (weight == 0.0) continue;
      tell_row(e, row, probabilities, plain, c, own,
               [&](index j, index v, double belief) { cells_of(j)[v] += weight * belief; });
    }
  }
}

/// The same of the q-th rows_sent rows of a strip, all classes; sums[column][lane].
template <int N, class U>
TALLYDRAW_APART inline void marginals_of_rows(const encoder& e, const double* probabilities, const double* weights,
                                              index row0, index rows, const std::uint64_t* gone, index q,
                                              marginals_state<U>& own, const row_messages& t, double* down,
                                              double* sums) {
  const structure_view& s = e.s;
  const index d = s.d, k = s.n_classes;
  const index* const place = own.place;
  std::fill_n(sums, rows_sent * own.columns, 0.0);
  for (index c = 0; c < k; ++c) {
    bool counts = false;
    for (index l = 0; l < rows; ++l) counts |= weights[(row0 + l) * k + c] != 0.0;
    if (!counts) continue;
    const class_block of_class{probabilities, s, c};
    const std::uint32_t outside =
        send_rows<N>(e, of_class, gone, 1, q, own.m, t, [](index, row_bits, const row_doubles&) {});
    double weight[rows_sent] = {};
    for (index l = 0; l < rows; ++l)
      if (!(outside >> l & 1)) weight[l] = weights[(row0 + l) * k + c];
    row_doubles by;
    by.load(weight);
    spread_rows<N>(e, of_class, gone, 1, q, own.m, t, down, [=](index j, index v, row_doubles belief) {
      belief.multiply(by);
      belief.add_to(sums + rows_sent * (place[j] + v));
    });
    for (index l = 0; l < rows; ++l) {
      const double alone = weights[(row0 + l) * k + c];
      if (!(outside >> l & 1) || alone == 0.0) continue;
      encode(e, row0 + l, row0 + l + 1, 0, d, own.combined, own.plain_codes);
      const coded_row<U> row{own.plain_codes, own.combined};
      find_touched(e, row, own.m);
      tell_row(e, row, probabilities, true, c, own,
               [&](index j, index v, double belief) { sums[rows_sent * (place[j] + v) + l] += alone * belief; });
    }
  }
  row_doubles one;
  one.fill(1.0);
  for (index j = 0; j < d; ++j)
    for (index v = 0; v < s.n_categories[j]; ++v) {
      row_doubles sum;
      double* const column = sums + rows_sent * (place[j] + v);
      const row_bits missing = bits_of_rows(gone[j], q);
      sum.load(column);
      sum.keep(missing);
      sum.take(bits_of_rows(t.seen[j * t.most + v], q) & static_cast<row_bits>(~missing), one);
      sum.store(column);
    }
}

/// Whether that is worth it, of n rows of which these cells are missing: in units of 2 ns (measured), what it costs are
/// one a cell and class and 16 products; 40 a missing cell and class of positive weight are what it saves.
inline bool are_many(const structure_view& s, const std::uint64_t* gone, const double* weights, index n) {
  const index k = s.n_classes;
  index missing = 0, products = 0;
  for (index j = 0; j < s.d; ++j) {
    missing += popcount(gone[j]);
    products += s.n_contexts[j] * s.n_categories[j];
  }
  const index positive = n * k - std::count(weights, weights + n * k, 0.0);
  return 40 * missing * positive > n * n * k * (s.d + products / 16);
}

/// The same of rows [begin, end), at most marginal_rows, several at once; `words`: of the thread.
template <class U>
inline void marginals_of_block(const encoder& e, const double* probabilities, const double* weights, index begin,
                               index end, marginals_state<U>& own, const marginals_pieces& at, std::uint64_t* words,
                               double* out) {
  const structure_view& s = e.s;
  const index d = s.d, n = end - begin;
  U* const codes = own.plain_codes;
  U* const turned = reinterpret_cast<U*>(words + at.turned);
  visit_unsigned(e.x.type, [&](auto v) { return encode_plain<decltype(v)>(e, begin, end, 0, d, codes); });
  std::memset(codes + n * d, 0, static_cast<std::size_t>((marginal_rows - n) * d) * sizeof(U));
  code_columns<U> z{codes, words + at.gone, marginal_rows, 1};
  if (transpose(codes, turned, marginal_rows, d) == turned) z.x = turned;
  for (index j = 0; j < d; ++j)
    z.gone[j] = !e.slots ? 0 : bits_where(z.x + j * marginal_rows, marginal_rows, static_cast<const U*>(e.slot)[j]);
  if (!are_many(s, z.gone, weights + begin * s.n_classes, n))
    return marginals_of_each(e, probabilities, true, weights, begin, end, own, out);
  const row_messages t = make_row_messages(s, sizes_of_messages(s), words + at.row_messages);
  see_strip(s, z, 0, t);
  double* const sums = reinterpret_cast<double*>(words + at.sums);
  with_categories(s, [&](auto categories) {
    for (index q = 0; q * rows_sent < n; ++q) {
      const index row0 = begin + q * rows_sent, rows = std::min<index>(rows_sent, end - row0);
      marginals_of_rows<decltype(categories)::value>(e, probabilities, weights, row0, rows, z.gone, q, own, t,
                                                     reinterpret_cast<double*>(words + at.down), sums);
      for (index j = 0; j < d; ++j) {
        const index categories_of = s.n_categories[j];
        const double* const from = sums + rows_sent * own.place[j];
        double* const to = out + own.place[j] * own.n + row0 * categories_of;
        for (index l = 0; l < rows; ++l)
          for (index v = 0; v < categories_of; ++v) to[l * categories_of + v] = from[rows_sent * v + l];
      }
    }
  });
}

/// out: of one feature after the other, (n, C_j). Codes are checked already; `plain`: every positive probability is at
/// least 2^-500. scratch: marginals_features_scratch words.
inline void marginals_features(const codes_view& x, const code_rules& rules, const structure_view& s,
                               const double* probabilities, bool plain, const double* weights, double* out,
                               void* scratch, int threads) {
  const encoder e = make_encoder(x, rules, s, scratch);
  std::uint64_t* const parts = static_cast<std::uint64_t*>(scratch) + whole_lines(encoder_bytes(s.d) / 8);
  const marginals_pieces at = make_marginals_pieces(s);
  const bool by_row = plain && e.tile == code_type::u8 && e.parent != nullptr && sent_by_row(s, sizes_of_messages(s));
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    parallel_blocks(x.n, by_row ? marginal_rows : rows_together(s.d), threads, [&](index begin, index end, int thread) {
      std::uint64_t* const words = parts + thread * at.words;
      marginals_state<U> own{make_message_state(s, words + at.messages),
                             reinterpret_cast<double*>(words + at.beliefs),
                             reinterpret_cast<index*>(words + at.place),
                             0,
                             x.n,
                             reinterpret_cast<U*>(words + at.plain_codes),
                             reinterpret_cast<U*>(words + at.combined)};
      for (index j = 0; j < s.d; ++j) {
        own.place[j] = own.columns;
        own.columns += s.n_categories[j];
      }
      if constexpr (sizeof(U) == 1) {
        if (by_row) return marginals_of_block(e, probabilities, weights, begin, end, own, at, words, out);
      }
      marginals_of_each(e, probabilities, plain, weights, begin, end, own, out);
    });
  });
}

}  // namespace tallydraw::TALLYDRAW_ISA
