// The upward pass on the tree of features that a row's missing cells need, shared by every kernel that looks behind
// them: sum-product (Pearl 1982), or max-product (Viterbi 1967; Dawid 1992), exact at every order.
//
// Only touched features take part: those that are missing, or have a missing cell in their context. Where the context
// of feature j has a missing cell, j sends its parent, the last feature of its context, the message
//   mu_j(a) = theta(x_j | a) b_j(a, x_j)             x_j observed
//   mu_j(a) = sum_x theta(x | a) b_j(a, x)           x_j missing (max_x in max-product)
// for every combination a of its context that agrees with what is observed. b_j is the product of the messages of j's
// children in the reverse of structure.order; all children of j have one and the same context, a suffix of
// (context of j, j), so b_j has an entry for each table row of theirs, and (a, x) has the entry (a C_j + x) mod their
// number. A missing cell with no message from below is silent in sum-product: its sum is one, and it sends nothing.
// Where the context of a missing j is observed, the same sum or maximum is the feature's total, a factor of the row.
//
// Numbers are plain float64 where every positive one is at least 2^-500, and carry their own exponents otherwise
// (scaled.hpp). A power of two changes no rounding, so both have the same bits.
#pragma once

#include <cstdint>

#include "tallydraw/codes.hpp"
#include "tallydraw/scaled.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// What the passes need to know of a structure, and what one thread needs for one row.
struct message_state {
  const index* begin;  // [d + 1]: b_j lies at [begin[j], begin[j + 1])
  scaled* below;       // [begin[d]]; as many float64 where numbers are plain
  double* terms;       // [most C_j]
  index* rows;         // [most n_contexts]
  index* touched;      // [d], contexts before their children
  index n_touched;
  bool* loud;  // [d]: a message has come from below
};

/// Whether every context is at most one feature.
inline bool one_parent(const structure_view& s) {
  for (index j = 0; j < s.d; ++j)
    if (s.context_begin[j + 1] - s.context_begin[j] > 1) return false;
  return true;
}

/// Entries of b_j together, the largest C_j and n_contexts.
struct message_sizes {
  index entries;
  index most_categories;
  index most_rows;
};

inline message_sizes sizes_of_messages(const structure_view& s) {
  message_sizes size{0, 1, 1};
  for (index j = 0; j < s.d; ++j) {
    size.most_categories = s.n_categories[j] > size.most_categories ? s.n_categories[j] : size.most_categories;
    size.most_rows = s.n_contexts[j] > size.most_rows ? s.n_contexts[j] : size.most_rows;
    if (s.context_begin[j + 1] > s.context_begin[j]) size.entries += s.n_contexts[j];  // bounds what parents hold
  }
  return size;
}

/// Words of 64 bits that make_message_state takes.
inline index message_words(const structure_view& s) {
  const message_sizes size = sizes_of_messages(s);
  return 2 * size.entries + size.most_categories + size.most_rows + 3 * s.d + 1;
}

inline message_state make_message_state(const structure_view& s, std::uint64_t* words) {
  const message_sizes size = sizes_of_messages(s);
  message_state m{};
  m.below = reinterpret_cast<scaled*>(words);
  m.terms = reinterpret_cast<double*>(words + 2 * size.entries);
  m.rows = reinterpret_cast<index*>(m.terms + size.most_categories);
  index* const begin = m.rows + size.most_rows;
  m.begin = begin;
  m.touched = begin + s.d + 1;
  m.loud = reinterpret_cast<bool*>(m.touched + s.d);
  for (index j = 0; j <= s.d; ++j) begin[j] = 0;
  for (index j = 0; j < s.d; ++j)
    if (s.context_begin[j + 1] > s.context_begin[j]) begin[s.context[s.context_begin[j + 1] - 1] + 1] = s.n_contexts[j];
  for (index j = 0; j < s.d; ++j) begin[j + 1] += begin[j];
  return m;
}

/// The plain and combined codes of one row.
template <class U>
struct coded_row {
  const U* x;
  const U* z;
};

/// Those of row r, for which there is room.
template <class U>
inline coded_row<U> encode_row(const encoder& e, index r, U* plain, U* combined) {
  encode(e, r, r + 1, 0, e.s.d, combined, plain);
  return {e.contexts ? plain : combined, combined};
}

/// Lists the touched features of a row.
template <class U>
inline void find_touched(const encoder& e, coded_row<U> row, message_state& m) {
  m.n_touched = 0;
  if (!e.slots) return;
  const U* const whole = static_cast<const U*>(e.whole);
  const index* const order = e.s.order;
  index* const touched = m.touched;
  index n = 0;
  for (index i = 0; i < e.s.d; ++i) {
    const index j = order[i];
    touched[n] = j;
    n += row.z[j] == whole[j];
  }
  m.n_touched = n;
}

template <class U>
inline bool is_missing(const encoder& e, const U* x, index j) {
  return x[j] == static_cast<const U*>(e.slot)[j];
}

/// Whether every cell of the context of j is observed, and then its table row.
template <class U>
inline bool known_context(const encoder& e, const U* x, index j, index* row) {
  const structure_view& s = e.s;
  index a = 0;
  for (index i = s.context_begin[j]; i < s.context_begin[j + 1]; ++i) {
    const index f = s.context[i];
    if (is_missing(e, x, f)) return false;
    a = a * s.n_categories[f] + static_cast<index>(x[f]);
  }
  *row = a;
  return true;
}

/// The table rows of j that agree with what is observed of its context, ascending; how many.
template <class U>
inline index context_rows(const encoder& e, const U* x, index j, index* rows) {
  const structure_view& s = e.s;
  index n = 1;
  rows[0] = 0;
  for (index i = s.context_begin[j]; i < s.context_begin[j + 1]; ++i) {
    const index f = s.context[i];
    const index c = s.n_categories[f];
    if (!is_missing(e, x, f)) {
      for (index r = 0; r < n; ++r) rows[r] = rows[r] * c + static_cast<index>(x[f]);
      continue;
    }
    for (index r = n - 1; r >= 0; --r)
      for (index v = c - 1, first = rows[r] * c; v >= 0; --v) rows[r * c + v] = first + v;
    n *= c;
  }
  return n;
}

/// Positive numbers at least this large: their products and sums keep every bit.
constexpr double least_plain = 0x1p-500;

inline bool in_range(double x) noexcept { return x == 0.0 || x >= least_plain; }
inline bool in_range(scaled) noexcept { return true; }

template <class N>
inline N number(double p) noexcept;
template <>
inline double number<double>(double p) noexcept {
  return p;
}
template <>
inline scaled number<scaled>(double p) noexcept {
  return make_scaled(p);
}

/// Sum (left to right) or maximum over x < n of p[x] b[x]; of p alone where b is null.
template <bool Max>
inline double total(const double* p, const double* b, index n) noexcept {
  double sum = 0.0;
  for (index x = 0; x < n; ++x) {
    const double t = b ? p[x] * b[x] : p[x];
    sum = Max ? (t > sum ? t : sum) : sum + t;
  }
  return sum;
}

template <bool Max>
inline scaled total(const double* p, const scaled* b, index n) noexcept {
  if (!Max) return sum_of_products(p, 1, b, n);
  scaled most{0.0, 0};
  for (index x = 0; x < n; ++x) {
    const scaled t = b ? make_scaled(p[x]) * b[x] : make_scaled(p[x]);
    if (most < t) most = t;
  }
  return most;
}

/// The messages of a row's touched features under class c. top(j, value) is called for every total, children before
/// parents. false where numbers of type N do not suffice: then some of it was not done.
template <bool Max, class N, class U, class Top>
inline bool send_messages(const encoder& e, const U* x, const double* probabilities, index c, const message_state& m,
                          Top&& top) {
  const structure_view& s = e.s;
  N* const below = reinterpret_cast<N*>(m.below);
  for (index i = 0; i < m.n_touched; ++i) m.loud[m.touched[i]] = false;
  for (index i = m.n_touched - 1; i >= 0; --i) {
    const index j = m.touched[i];
    const index n = s.n_categories[j];
    const bool missing = is_missing(e, x, j);
    const bool loud = m.loud[j];
    if (missing && !loud && !Max) continue;  // silent
    const double* const theta = probabilities + s.offsets[j] + c * s.n_contexts[j] * n;
    const N* const b = below + m.begin[j];
    const index width = m.begin[j + 1] - m.begin[j];
    const auto entry = [&](index a) { return !loud ? nullptr : width == n ? b : b + a * n % width; };
    if (index a = 0; known_context(e, x, j, &a)) {
      top(j, total<Max>(theta + a * n, entry(a), n));
      continue;
    }
    const index parent = s.context[s.context_begin[j + 1] - 1];
    N* const above = below + m.begin[parent];
    const index rows = context_rows(e, x, j, m.rows);
    bool good = true;
    for (index i_row = 0; i_row < rows; ++i_row) {
      const index a = m.rows[i_row];
      N message = missing ? total<Max>(theta + a * n, entry(a), n) : number<N>(theta[a * n + static_cast<index>(x[j])]);
      if (!missing && loud) message = message * entry(a)[x[j]];
      good &= in_range(message);
      if (m.loud[parent]) message = above[a] * message;
      good &= in_range(message);
      above[a] = message;
    }
    if (!good) return false;
    m.loud[parent] = true;
  }
  return true;
}

/// terms[x] = p[x] b[x], up to one power of two for all: at the exponent of the largest, those below 2^-1022 of it 0.
/// b null: p itself.
inline const double* products(const double* p, const double* b, index n, double* terms) noexcept {
  if (!b) return p;
  for (index x = 0; x < n; ++x) terms[x] = p[x] * b[x];
  return terms;
}

inline const double* products(const double* p, const scaled* b, index n, double* terms) noexcept {
  if (!b) return p;
  index most = INT64_MIN;
  for (index x = 0; x < n; ++x) {
    const scaled t = make_scaled(p[x]) * b[x];
    if (t.m != 0.0 && t.e > most) most = t.e;
  }
  for (index x = 0; x < n; ++x) {
    const scaled t = make_scaled(p[x]) * b[x];
    const bool counts = t.m != 0.0 && t.e - most >= -1022;
    terms[x] = counts ? t.m * double_of(static_cast<std::uint64_t>(t.e - most + 1023) << 52) : 0.0;
  }
  return terms;
}

/// How many rows are encoded at once.
inline index rows_together(index d) {
  const index rows = (index{1} << 16) / (d + 1);
  return rows < 1 ? 1 : rows > 64 ? 64 : rows;
}

}  // namespace tallydraw::TALLYDRAW_ISA
