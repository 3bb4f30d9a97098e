// p(x_j | what is seen of the row), for every feature: 1 at an observed cell; at a missing one the sum over the
// classes, in their order, of weights[r][k] times the beliefs of beliefs.hpp, in their order. Classes of weight zero
// are left out. Where every context is at most one feature, rows go in strips (messages_by_strip.hpp).
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "tallydraw/attributes.hpp"
#include "tallydraw/beliefs.hpp"
#include "tallydraw/codes.hpp"
#include "tallydraw/messages_by_class.hpp"
#include "tallydraw/messages_by_strip.hpp"
#include "tallydraw/parallel.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Where the pieces of a thread's scratch begin, in words, and how many they are.
struct marginals_pieces {
  index messages, beliefs, place, plain_codes, combined;
  index strip, room;  // of strips
  strip_pieces of_strip;
  index words;
};
inline marginals_pieces make_marginals_pieces(const structure_view& s) {
  marginals_pieces at{};
  const auto place = [&at](index& piece, index words) {
    piece = at.words;
    at.words += whole_lines(words);
  };
  const index some = fits_strip(s);
  at.of_strip = make_strip_pieces(s, 1);
  place(at.messages, message_words(s));
  place(at.beliefs, belief_words(s));
  place(at.place, s.d);
  place(at.plain_codes, rows_together(s.d) * s.d);
  place(at.combined, rows_together(s.d) * s.d);
  place(at.strip, some * at.of_strip.words);
  place(at.room, some * 2 * sizes_of_messages(s).most_categories);
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

/// What the missing cells of a strip of rows from row0 on add, classes in their order.
template <int N, class U>
TALLYDRAW_APART inline void add_strip(const encoder& e, const double* probabilities, const double* weights, index row0,
                                      index rows, const strip_view<U>& strip, const marginals_pieces& at,
                                      std::uint64_t* words, marginals_state<U>& own, double* out) {
  const structure_view& s = e.s;
  const index k = s.n_classes, n_rows = own.n, most = sizes_of_messages(s).most_categories;
  const index *const place = own.place, *const n_categories = s.n_categories;
  double* const below = reinterpret_cast<double*>(words + at.strip + at.of_strip.below);
  double* const room = reinterpret_cast<double*>(words + at.room);
  const auto cells_of = [=](index j, index r) { return out + place[j] * n_rows + (row0 + r) * n_categories[j]; };
  for (index c = 0; c < k; ++c) {
    index classes[strip_rows];
    double weight[strip_rows];
    std::fill_n(classes, strip_rows, c);
    bool counts = false;
    for (index r = 0; r < rows; ++r) {
      weight[r] = weights[(row0 + r) * k + c];
      counts |= weight[r] != 0.0;
    }
    if (!counts) continue;
    const tables_by_row tables{probabilities, s.offsets, classes};
    const std::uint64_t outside = send_strip<false, N>(e, strip, tables, below);
    for_bits(outside, [&](index r) {
      const double alone = weight[r];
      weight[r] = 0.0;
      if (alone == 0.0) return;
      const coded_row<U> row = encode_row(e, row0 + r, own.plain_codes, own.combined);
      find_touched(e, row, own.m);
      tell_row(e, row, probabilities, true, c, own,
               [&](index j, index v, double belief) { cells_of(j, r)[v] += alone * belief; });
    });
    const double* const by = weight;
    spread_strip<false, N>(e, strip, tables, below, room, most,
                           [=](index r, index j, index, index, index n, const doubles<1>* beliefs) {
                             double* const to = cells_of(j, r);
                             for (index v = 0; v < n; ++v) to[v] += by[r] * beliefs[v].value;
                           });
  }
}

/// Rows [begin, end), at most strip_rows; `words`: of the thread.
template <class U>
inline void marginals_of_strip(const encoder& e, const double* probabilities, const double* weights, index begin,
                               index end, marginals_state<U>& own, const marginals_pieces& at, std::uint64_t* words,
                               double* out) {
  const structure_view& s = e.s;
  encode_strip<U>(e, begin, end, at.of_strip, words + at.strip);
  const strip_view<U> strip = turn_strip<U>(e, end - begin, ~std::uint64_t{0}, at.of_strip, words + at.strip);
  const auto run = [&](auto categories) {
    constexpr int N = decltype(categories)::value;
    for (index j = 0; j < s.d; ++j) {
      const index n = N > 0 ? N : s.n_categories[j];
      const U* const x = strip.z.x + j * strip_rows;
      const std::uint64_t gone = strip.z.gone[j];
      double* const to = out + own.place[j] * own.n + begin * n;
      std::fill_n(to, (end - begin) * n, 0.0);
      for (index r = 0; r < end - begin; ++r) {
        const index missing = gone >> r & 1;  // no branch: it would be taken at random
        to[r * n + static_cast<index>(x[r]) - missing] = static_cast<double>(1 - missing);
      }
    }
    if (strip.first[s.d] > 0) add_strip<N>(e, probabilities, weights, begin, end - begin, strip, at, words, own, out);
  };
  if constexpr (sizeof(U) == 1)
    with_categories(s, run);
  else
    run(std::integral_constant<int, 0>{});
}

/// out: of one feature after the other, (n, C_j). Codes are checked already; `plain`: every positive probability is at
/// least 2^-500. scratch: marginals_features_scratch words.
inline void marginals_features(const codes_view& x, const code_rules& rules, const structure_view& s,
                               const double* probabilities, bool plain, const double* weights, double* out,
                               void* scratch, int threads) {
  const encoder e = make_encoder(x, rules, s, scratch);
  std::uint64_t* const parts = static_cast<std::uint64_t*>(scratch) + whole_lines(encoder_bytes(s.d) / 8);
  const marginals_pieces at = make_marginals_pieces(s);
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    const bool by_strip = plain && sizeof(U) <= 2 && sent_by_strip(s, x.n);
    parallel_blocks(x.n, by_strip ? strip_rows : rows_together(s.d), threads, [&](index begin, index end, int thread) {
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
      if constexpr (sizeof(U) <= 2)
        if (by_strip) return marginals_of_strip(e, probabilities, weights, begin, end, own, at, words, out);
      marginals_of_each(e, probabilities, plain, weights, begin, end, own, out);
    });
  });
}

}  // namespace tallydraw::TALLYDRAW_ISA
