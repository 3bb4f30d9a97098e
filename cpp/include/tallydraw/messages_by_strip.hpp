// The passes of messages.hpp and beliefs.hpp for the missing cells of a strip of 64 rows, feature by feature instead of
// row by row: where every context is at most one feature, and numbers are plain. A word of bits says in which rows a
// feature is missing, so that what is alike is done for one row after the other, without asking each what it is, and
// without waiting for it. The same numbers by the same operations.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "tallydraw/attributes.hpp"
#include "tallydraw/doubles.hpp"
#include "tallydraw/messages.hpp"
#include "tallydraw/messages_by_class.hpp"
#include "tallydraw/tree_columns.hpp"

namespace tallydraw::TALLYDRAW_ISA {

constexpr index strip_rows = 64;

/// Fewest rows of a call that are worth it.
constexpr index least_strip_rows = 16;

/// A strip of rows. b_j of the i-th row in which feature j is missing begins at number first[j] + i C_j.
template <class U>
struct strip_view {
  code_columns<U> z;
  index* first;
  std::uint64_t* loud;  // [d]: rows in which a message has come to a missing cell
};

/// Where the pieces of a strip begin, in words.
struct strip_pieces {
  index codes, turned, gone, first, loud, below;
  index words;
};

/// Of W classes at once.
inline strip_pieces make_strip_pieces(const structure_view& s, index W) {
  strip_pieces at{};
  const auto place = [&at](index& piece, index words) {
    piece = at.words;
    at.words += whole_lines(words);
  };
  index numbers = 0;
  for (index j = 0; j < s.d; ++j) numbers += strip_rows * s.n_categories[j];
  place(at.codes, strip_rows * s.d);
  place(at.turned, strip_rows * s.d);
  place(at.gone, s.d);
  place(at.first, s.d + 1);
  place(at.loud, s.d);
  place(at.below, numbers * W);
  return at;
}

/// Whether messages of a strip have room: 32 MiB for each thread.
inline bool fits_strip(const structure_view& s) {
  constexpr index most_words = index{1} << 22;
  return one_parent(s) && make_strip_pieces(s, 1).words <= most_words;
}

/// Whether n rows go in strips, if their codes are of at most two bytes and numbers plain.
inline bool sent_by_strip(const structure_view& s, index n) { return n >= least_strip_rows && fits_strip(s); }

/// The plain codes of rows [begin, end), at most strip_rows, row-major.
template <class U>
inline const U* encode_strip(const encoder& e, index begin, index end, const strip_pieces& at, std::uint64_t* words) {
  U* const codes = reinterpret_cast<U*>(words + at.codes);
  visit_unsigned(e.x.type, [&](auto v) { return encode_plain<decltype(v)>(e, begin, end, 0, e.s.d, codes); });
  return codes;
}

/// The same as columns; rows whose bit in `counted` is not set have no missing cells. Codes may be overwritten.
template <class U>
inline strip_view<U> turn_strip(const encoder& e, index rows, std::uint64_t counted, const strip_pieces& at,
                                std::uint64_t* words) {
  U *const codes = reinterpret_cast<U*>(words + at.codes), *const turned = reinterpret_cast<U*>(words + at.turned);
  const strip_view<U> strip{make_code_columns(e, codes, rows, turned, strip_rows, words + at.gone),
                            reinterpret_cast<index*>(words + at.first), words + at.loud};
  strip.first[0] = 0;
  for (index j = 0; j < e.s.d; ++j) {
    strip.z.gone[j] &= counted;
    strip.first[j + 1] = strip.first[j] + popcount(strip.z.gone[j]) * e.s.n_categories[j];
  }
  return strip;
}

/// How many of the bits of `word` are below bit r.
inline index bits_below(std::uint64_t word, index r) { return popcount(word & ((std::uint64_t{1} << r) - 1)); }

/// The tables of each row's own class.
struct tables_by_row {
  static constexpr int width = 1;
  static constexpr index step = 1;
  const double* probabilities;
  const index* offsets;
  const index* classes;  // [strip_rows]

  const double* of(index j, index cells, index r) const { return probabilities + offsets[j] + classes[r] * cells; }
};

/// The tables of W classes, of which there are `step`, innermost; all rows are of each.
template <int W>
struct tables_by_lane {
  static constexpr int width = W;
  index step;
  const double* cells;  // of the first class
  const index* offsets;

  const double* of(index j, index, index) const { return cells + offsets[j]; }
};

/// As total() of messages.hpp, of W classes: of p[x * step] b[x * W].
template <bool Max, int W>
inline doubles<W> total_of(const double* p, index step, const double* b, index n) noexcept {
  doubles<W> sum;
  sum.load(p);
  sum.multiply(b);
  for (index x = 1; x < n; ++x) {
    doubles<W> term;
    term.load(p + x * step);
    term.multiply(b + x * W);
    if constexpr (Max)
      sum = term.value > sum.value ? term : sum;
    else
      sum.add(term);
  }
  return sum;
}

/// The upward pass; below: [first[d]][W] numbers, ones where no message came. Features have N categories, of N = 0 as
/// many as they have. Returns the rows for which plain numbers do not suffice: of theirs some was not done.
template <bool Max, int N, class U, class Tables>
TALLYDRAW_APART inline std::uint64_t send_strip(const encoder& e, const strip_view<U>& strip, const Tables& tables,
                                                double* below) {
  constexpr int W = Tables::width;
  // Copies: what is stored may alias whatever is behind a reference.
  const index d = e.s.d;
  const index *const order = e.s.order, *const parents = e.parent, *const n_categories = e.s.n_categories;
  const index* const first = strip.first;
  const std::uint64_t* const gone = strip.z.gone;
  std::uint64_t* const loud = strip.loud;
  const U* const x = strip.z.x;
  const Tables from = tables;
  std::uint64_t outside = 0;
  std::fill_n(below, first[d] * W, 1.0);
  std::fill_n(loud, d, std::uint64_t{0});
  for (index i = d - 1; i >= 0 && parents != nullptr; --i) {
    const index j = order[i], parent = parents[j];
    const std::uint64_t under = parent == j ? 0 : gone[parent];
    const std::uint64_t seen = under & ~gone[j], unseen = under & gone[j] & (Max ? ~std::uint64_t{0} : loud[j]);
    if ((seen | unseen) == 0) continue;
    const index n = N > 0 ? N : n_categories[j], rows = N > 0 ? N : n_categories[parent];
    const auto send = [&](index r, const double* b, const double* theta) {
      double* const above = below + (first[parent] + bits_below(under, r) * rows) * W;
      range_check<W> range;
      for (index a = 0; a < rows; ++a, theta += n * from.step) {
        doubles<W> message;
        if (b != nullptr) {
          message = total_of<Max, W>(theta, from.step, b, n);
          range.look_at(message);
        } else {
          message.load(theta);
        }
        message.multiply(above + a * W);
        range.look_at(message);
        message.store(above + a * W);
      }
      outside |= std::uint64_t{range.any()} << r;
    };
    for_bits(seen, [&](index r) {
      send(r, nullptr, from.of(j, rows * n, r) + static_cast<index>(x[j * strip_rows + r]) * from.step);
    });
    for_bits(unseen,
             [&](index r) { send(r, below + (first[j] + bits_below(gone[j], r) * n) * W, from.of(j, rows * n, r)); });
    loud[parent] |= seen | unseen;
  }
  return outside;
}

/// The downward pass of sums, whose beliefs take the place of the messages. tell(r, j, z, step, n, beliefs): those in the
/// n combined codes z, z + step, … of feature j in row r, of Observed also where it is not missing, but its parent is.
/// room: [2 most][W], most: C.
template <bool Observed, int N, class U, class Tables, class Tell>
TALLYDRAW_APART inline void spread_strip(const encoder& e, const strip_view<U>& strip, const Tables& tables,
                                         double* below, double* room, index most, Tell&& tell) {
  constexpr int W = Tables::width;
  const index d = e.s.d;
  const index *const order = e.s.order, *const parents = e.parent, *const n_categories = e.s.n_categories;
  const index* const first = strip.first;
  const std::uint64_t *const gone = strip.z.gone, *const loud = strip.loud;
  const U* const x = strip.z.x;
  const Tables from = tables;
  doubles<W> some[N > 0 ? 2 * N : 1];
  doubles<W>* const beliefs = N > 0 ? some : reinterpret_cast<doubles<W>*>(room);
  doubles<W>* const sums = beliefs + (N > 0 ? N : most);
  for (index i = 0; i < d; ++i) {
    const index j = order[i], parent = parents != nullptr ? parents[j] : j;
    const std::uint64_t missing = gone[j], heard = loud[j], under = parent == j ? 0 : gone[parent];
    if ((missing | under) == 0) continue;
    const index n = N > 0 ? N : n_categories[j], rows = parent == j ? 1 : N > 0 ? N : n_categories[parent];
    const auto own = [&](index r) { return below + (first[j] + bits_below(missing, r) * n) * W; };
    const auto above = [&](index r) { return below + (first[parent] + bits_below(under, r) * rows) * W; };
    const auto take_tables = [&](const double* theta) {
      for (index v = 0; v < n; ++v) beliefs[v].load(theta + v * from.step);
    };
    const auto take_terms = [&](const double* theta, const double* b) {  // t_v / t
      doubles<W> sum = {};
      for (index v = 0; v < n; ++v) {  // left to right
        doubles<W> term;
        term.load(theta + v * from.step);
        term.multiply(b + v * W);
        sum.add(term);
        beliefs[v] = term;
      }
      for (index v = 0; v < n; ++v) beliefs[v].divide_or_zero(sum);
    };
    const auto spread = [&](index r, auto has_message) {
      double* const b = own(r);
      const index z = parent == j ? 0 : static_cast<index>(x[parent * strip_rows + r]) * n;
      const double* const theta = from.of(j, rows * n, r) + z * from.step;
      if constexpr (has_message)
        take_terms(theta, b);
      else
        take_tables(theta);
      for (index v = 0; v < n; ++v) beliefs[v].store(b + v * W);
      tell(r, j, z, 1, n, beliefs);
    };
    for_bits(missing & ~under & heard, [&](index r) { spread(r, std::true_type{}); });
    for_bits(missing & ~under & ~heard, [&](index r) { spread(r, std::false_type{}); });
    for_bits(missing & under, [&](index r) {
      const double *const p = above(r), *const theta = from.of(j, rows * n, r);
      double* const b = own(r);
      for (index v = 0; v < n; ++v) sums[v] = {};
      for (index a = 0; a < rows; ++a) {
        if (heard >> r & 1)
          take_terms(theta + a * n * from.step, b);
        else
          take_tables(theta + a * n * from.step);
        for (index v = 0; v < n; ++v) {
          beliefs[v].multiply(p + a * W);
          sums[v].add(beliefs[v]);
        }
        tell(r, j, a * n, 1, n, beliefs);
      }
      for (index v = 0; v < n; ++v) sums[v].store(b + v * W);
    });
    for_bits(Observed ? under & ~missing : 0, [&](index r) {
      const double* const p = above(r);
      for (index a = 0; a < rows; ++a) beliefs[a].load(p + a * W);
      tell(r, j, static_cast<index>(x[j * strip_rows + r]), n, rows, beliefs);
    });
  }
}

}  // namespace tallydraw::TALLYDRAW_ISA
