// The upward pass of messages.hpp for a block of rows, feature by feature, one class after the other: sum-product where
// every context is at most one feature, and numbers are plain. Of each feature only the rows take part in which it is
// missing and something is observed behind it: packed, eight of them fill a vector. The same numbers by the same
// operations.
//
// The rows of feature j are two lists, each ascending:
//   top    its parent is observed, or it has none: there it has a total
//   under  its parent is missing: there it sends a message
// Those of the under list follow those of the top list. Messages are packed as well, in a stream that has the order of
// the rows of the parent, so that each vector of these takes the next ones: first messages to its top list, then those to
// its under list.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tallydraw/attributes.hpp"
#include "tallydraw/doubles.hpp"
#include "tallydraw/messages.hpp"
#include "tallydraw/messages_by_class.hpp"
#include "tallydraw/tree_columns.hpp"
#include "tallydraw/wide_lookup.hpp"

#if defined(TALLYDRAW_MASKED_DOUBLES) && defined(TALLYDRAW_WIDE_LOOKUP) && defined(__AVX512BW__)
#define TALLYDRAW_PACKED_MESSAGES 1
#endif

namespace tallydraw::TALLYDRAW_ISA {

/// Most classes for which totals are made packed, and most categories of a feature.
constexpr index most_packed_classes = 4, most_packed_categories = 16;

/// Fewest rows of a block.
constexpr index least_packed_rows = 16;

/// The totals of a block of rows, and what is needed to make them.
struct packed_view {
  std::uint64_t* top;      // [d][strips]
  std::uint64_t* under;    // [d][strips]
  std::uint64_t* outside;  // [strips]: rows for which plain numbers do not suffice
  index* n_top;            // [d]: rows of feature j in either list
  index* n_under;          // [d]
  index* n_first;          // [d]: messages that go to the top list of its parent
  index* first;            // [d]: where its totals begin
  index* stream;           // [d]: where its messages begin
  double* totals;          // [classes][most]: total i of a class
  double* streams;         // of feature j: [classes][parent's C][messages, and room for eight]
  double* below;           // [classes][C][row_room]: b_j
  std::uint8_t* codes;     // a packed column
  index most;
  index row_room;
  index n_totals;  // of a class
};

/// Where the pieces of packed_view begin, in words, of blocks of `rows` rows.
struct packed_pieces {
  index top, under, outside, n_top, n_under, n_first, first, stream, totals, streams, below, codes;
  index most, row_room;
  index words;
};
inline index packed_stream_words(const structure_view& s, const message_sizes& size, index rows) {
  return s.n_classes * size.entries * (rows + 8);
}
inline packed_pieces make_packed_pieces(const structure_view& s, const message_sizes& size, index rows) {
  packed_pieces at{};
  const index strips = (rows + 63) / 64, k = s.n_classes;
  at.most = s.d * rows + 8;
  at.row_room = rows + 8;
  const auto place = [&at](index& piece, index words) {
    piece = at.words;
    at.words += whole_lines(words);
  };
  place(at.top, s.d * strips);
  place(at.under, s.d * strips);
  place(at.outside, strips);
  for (index* const piece : {&at.n_top, &at.n_under, &at.n_first, &at.first, &at.stream}) place(*piece, s.d);
  place(at.totals, k * at.most);
  place(at.streams, packed_stream_words(s, size, rows));
  place(at.below, k * size.most_categories * at.row_room);
  place(at.codes, (rows + 64 + 64) / 8);
  return at;
}
inline packed_view make_packed_view(const packed_pieces& at, std::uint64_t* words) {
  packed_view p{};
  p.top = words + at.top;
  p.under = words + at.under;
  p.outside = words + at.outside;
  p.n_top = reinterpret_cast<index*>(words + at.n_top);
  p.n_under = reinterpret_cast<index*>(words + at.n_under);
  p.n_first = reinterpret_cast<index*>(words + at.n_first);
  p.first = reinterpret_cast<index*>(words + at.first);
  p.stream = reinterpret_cast<index*>(words + at.stream);
  p.totals = reinterpret_cast<double*>(words + at.totals);
  p.streams = reinterpret_cast<double*>(words + at.streams);
  p.below = reinterpret_cast<double*>(words + at.below);
  p.codes = reinterpret_cast<std::uint8_t*>(words + at.codes);
  p.most = at.most;
  p.row_room = at.row_room;
  return p;
}

/// Whether totals may be made packed, of blocks of `rows` rows, if their codes are bytes and numbers plain; messages have
/// room: 128 MiB for each thread.
inline bool fits_packed(const structure_view& s, const message_sizes& size, index rows) {
#if defined(TALLYDRAW_PACKED_MESSAGES)
  constexpr index most_words = index{1} << 24;
  return rows >= least_packed_rows && s.n_classes <= most_packed_classes && size.entries > 0 &&
         size.most_categories <= most_packed_categories && packed_stream_words(s, size, rows) <= most_words;
#else
  static_cast<void>(s), static_cast<void>(size), static_cast<void>(rows);
  return false;
#endif
}

#if defined(TALLYDRAW_PACKED_MESSAGES)

/// The codes of a column in the rows whose bits are set, one after the other. The column is read, and `to` written, up to
/// 64 codes further; zeros follow.
inline void pack_some_codes(const std::uint8_t* x, const std::uint64_t* words, index strips, std::uint8_t* to) {
  for (index strip = 0; strip < strips; ++strip)
    for (index i = 64 * strip; i < 64 * strip + 64; i += 16) {
      const auto set = static_cast<__mmask16>(words[strip] >> (i - 64 * strip));
      const __m128i some = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i));
      const __m512i packed = _mm512_maskz_compress_epi32(set, _mm512_maskz_cvtepu8_epi32(0xFFFF, some));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_maskz_cvtepi32_epi8(0xFFFF, packed));
      to += popcount(set);
    }
}
/// The same where the processor packs bytes itself, as most that have AVX-512 do: asked at each call.
__attribute__((target("avx512vbmi2"))) TALLYDRAW_APART inline void pack_whole_strips(const std::uint8_t* x,
                                                                                     const std::uint64_t* words,
                                                                                     index strips, std::uint8_t* to) {
  for (index strip = 0; strip < strips; ++strip) {
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi8(words[strip], _mm512_loadu_si512(x + 64 * strip)));
    to += popcount(words[strip]);
  }
}
inline void pack_codes(const std::uint8_t* x, const std::uint64_t* words, index strips, std::uint8_t* to) {
  if (__builtin_cpu_supports("avx512vbmi2")) return pack_whole_strips(x, words, strips, to);
  pack_some_codes(x, words, strips, to);
}

/// Numbers of eight rows.
using packed_doubles = doubles<8>;

/// The lanes of `v` where 0 < v < least_plain, gathered over many.
struct packed_range {
  wide least = wide_set(~std::uint64_t{0});

  void look_at(const packed_doubles& v) noexcept {
    const wide before = _mm512_sub_epi64(reinterpret_cast<wide>(v.value[0]), wide_set(1));  // that of zero is largest
    least = _mm512_maskz_min_epu64(0xFF, least, before);
  }
  std::uint8_t lanes() const noexcept { return _mm512_cmplt_epu64_mask(least, wide_set(bits_of(least_plain) - 1)); }
};

/// Marks the rows of a list whose lanes are set, in the vector that begins with its i-th row.
TALLYDRAW_RARE inline void mark_outside(const std::uint64_t* list, index strips, index i, std::uint8_t lanes,
                                        std::uint64_t* outside) {
  index at = -i;
  for (index strip = 0; strip < strips; ++strip)
    for_bits(list[strip], [&](index bit) {
      if (at >= 0 && at < 8) outside[strip] |= std::uint64_t{lanes >> at & 1u} << bit;
      ++at;
    });
}

/// Numbers that eight lanes look up, in Parts registers.
template <int Parts>
struct packed_table {
  wide_double held[Parts];

  /// from[0 … n), then ones.
  void load(const double* from, index n) noexcept {
    for (int p = 0; p < Parts; ++p, n -= 8)
      held[p] = _mm512_mask_loadu_pd(wide_double_set(1.0), first_lanes(n), from + 8 * p);
  }
  /// from[0], from[step], …: n numbers.
  void gather(const double* from, index step, index n) noexcept {
    if (step == 1) return load(from, n);
    const wide places = wide_product(wide_count(0), wide_set(static_cast<std::uint64_t>(step)));
    for (int p = 0; p < Parts; ++p, n -= 8, from += 8 * step)
      held[p] = _mm512_mask_i64gather_pd(_mm512_setzero_pd(), first_lanes(n), places, from, sizeof *from);
  }
  packed_doubles look_up(wide codes) const noexcept {
    packed_doubles v;
    v.value[0] = reinterpret_cast<packed_doubles::lanes>(wide_lookup<Parts>(held, codes));
    return v;
  }

 private:
  static __mmask8 first_lanes(index n) noexcept {
    return static_cast<__mmask8>(n >= 8 ? 0xFF : n > 0 ? (1u << n) - 1 : 0);
  }
};

/// The rows of a feature, those of both lists, and where it is reported that plain numbers do not suffice.
struct packed_rows {
  const std::uint64_t* top;
  const std::uint64_t* under;
  index strips;
  index n_top;
  index n_under;
  std::uint64_t* outside;

  index n() const noexcept { return n_top + n_under; }
  /// In these lanes of the vector that begins with the i-th row.
  void report(index i, std::uint8_t lanes) const noexcept {
    if (lanes == 0) return;
    mark_outside(top, strips, i, lanes, outside);
    mark_outside(under, strips, i - n_top, lanes, outside);
  }
};

/// b_j of the rows of a feature of N categories, times the messages of a child: where it is observed, of these codes, a
/// look-up in its probabilities, tables[a] under a; where it is missing and has one, Heard, the next of a stream; and
/// ones elsewhere. First: of no child before.
template <bool First, bool Heard, int N, int Parts>
TALLYDRAW_APART inline void multiply_packed(const packed_rows of, const std::uint8_t* codes, const double* theta,
                                            index size, index child_size, const double* stream, index stream_apart,
                                            double* below, index apart) {
  const index rows = N > 0 ? N : size;
  packed_table<Parts> tables[N > 0 ? N : most_packed_categories];
  for (index a = 0; a < rows; ++a) tables[a].load(theta + a * child_size, child_size);
  const wide heard = wide_set(static_cast<std::uint64_t>(child_size + 1));
  for (index i = 0; i < of.n(); i += 8) {
    const wide at = wide_bytes(codes + i);
    __mmask8 from_stream = 0;
    if constexpr (Heard) from_stream = _mm512_cmpeq_epi64_mask(at, heard);
    packed_range range;
    for (index a = 0; a < rows; ++a) {
      packed_doubles message = tables[a].look_up(at);
      if constexpr (Heard)
        message.value[0] = reinterpret_cast<packed_doubles::lanes>(_mm512_mask_expand_pd(
            reinterpret_cast<__m512d>(message.value[0]), from_stream, _mm512_loadu_pd(stream + a * stream_apart)));
      if constexpr (!First) {
        message.multiply(below + a * apart + i);
        range.look_at(message);
      }
      message.store(below + a * apart + i);
    }
    if constexpr (Heard) stream += popcount(from_stream);
    if constexpr (!First) of.report(i, range.lanes());
  }
}

/// The totals of n rows: sums over x of theta(x | a) b_j(x), for the codes a of the parent. theta: of x under a at
/// (x contexts + a) k.
template <int N, int Parts>
TALLYDRAW_APART inline void sum_packed(const std::uint8_t* codes, index n, const double* theta, index size,
                                       index contexts, index k, const double* below, index apart, double* totals) {
  const index rows = N > 0 ? N : size;
  packed_table<Parts> tables[N > 0 ? N : most_packed_categories];
  for (index x = 0; x < rows; ++x) tables[x].gather(theta + x * contexts * k, k, contexts);
  for (index i = 0; i < n; i += 8) {
    const wide at = wide_bytes(codes + i);
    packed_doubles sum = tables[0].look_up(at);
    sum.multiply(below + i);
    for (index x = 1; x < rows; ++x) {  // left to right
      packed_doubles term = tables[x].look_up(at);
      term.multiply(below + x * apart + i);
      sum.add(term);
    }
    sum.store(totals + i);
  }
}

/// The messages of the rows of the under list, in a stream: those come first where the code of the parent's parent is
/// not `gone` or past it, n_first of them.
template <int N>
TALLYDRAW_APART inline void send_packed(const packed_rows of, const std::uint8_t* codes, index gone,
                                        const double* theta, index size, index contexts, index k, const double* below,
                                        index apart, double* stream, index n_first, index stream_apart) {
  const index rows = N > 0 ? N : size;
  double* further = stream + n_first;
  for (index i = 0; i < of.n_under; i += 8) {
    const auto both = static_cast<__mmask8>(of.n_under - i < 8 ? (1u << (of.n_under - i)) - 1 : 0xFF);
    const __mmask8 second =
        both & _mm512_cmpge_epu64_mask(wide_bytes(codes + i), wide_set(static_cast<std::uint64_t>(gone)));
    const __mmask8 first = both & static_cast<__mmask8>(~second);
    const auto n_now = static_cast<unsigned>(popcount(first));
    const auto now = static_cast<__mmask8>((1u << n_now) - 1);
    packed_doubles b[N > 0 ? N : most_packed_categories];
    for (index x = 0; x < rows; ++x) b[x].load(below + x * apart + of.n_top + i);
    packed_range range;
    for (index a = 0; a < contexts; ++a) {
      packed_doubles sum = b[0];
      sum.multiply(theta[a * k]);
      for (index x = 1; x < rows; ++x) {  // left to right
        packed_doubles term = b[x];
        term.multiply(theta[(x * contexts + a) * k]);
        sum.add(term);
      }
      range.look_at(sum);
      const auto message = reinterpret_cast<__m512d>(sum.value[0]);
      _mm512_mask_storeu_pd(stream + a * stream_apart, now, _mm512_maskz_compress_pd(first, message));
      if (second != 0) _mm512_storeu_pd(further + a * stream_apart, _mm512_maskz_compress_pd(second, message));
    }
    stream += n_now;
    further += popcount(second);
    of.report(of.n_top + i, range.lanes() & both);
  }
}

/// Finds the lists of a block; missing cells under missing ones that send a message get the code C + 1. How many totals
/// there are. Features without children have no rows in either list.
inline index list_packed(const encoder& e, children_view children, const code_columns<std::uint8_t>& z,
                         const packed_view& p) {
  const index d = e.s.d, strips = z.strips;
  const index *const order = e.s.order, *const parents = e.parent;
  index n_totals = 0;
  for (index i = d - 1; i >= 0; --i) {
    const index j = order[i], parent = parents[j], further = parents[parent];
    index n = 0, n_top = 0, n_second = 0;
    for (index strip = 0; strip < strips; strip += 8) {  // as many words at once
      const auto some = static_cast<__mmask8>(strips - strip < 8 ? (1u << (strips - strip)) - 1 : 0xFF);
      const auto load = [&](const std::uint64_t* words, index f) {
        return _mm512_maskz_loadu_epi64(some, words + f * strips + strip);
      };
      wide heard = _mm512_setzero_si512();
      for (index at = children.begin[j]; at < children.begin[j + 1]; ++at) {
        const index child = children.child[at];
        constexpr int either = 0xFB;  // heard | ~gone | sent
        heard = _mm512_ternarylogic_epi64(heard, load(z.gone, child), load(p.under, child), either);
      }
      const wide gone = load(z.gone, j), above = parent == j ? _mm512_setzero_si512() : load(z.gone, parent);
      heard = _mm512_and_si512(heard, gone);
      const wide under = _mm512_and_si512(heard, above);
      _mm512_mask_storeu_epi64(p.top + j * strips + strip, some, _mm512_xor_si512(heard, under));
      _mm512_mask_storeu_epi64(p.under + j * strips + strip, some, under);
    }
    if (children.begin[j] < children.begin[j + 1]) {
      for (index strip = 0; strip < strips; ++strip) {
        n_top += popcount(p.top[j * strips + strip]);
        n += popcount(p.under[j * strips + strip]);
      }
      if (n > 0 && further != parent)
        for (index strip = 0; strip < strips; ++strip)
          n_second += popcount(p.under[j * strips + strip] & z.gone[further * strips + strip]);
      const __m512i marked = _mm512_set1_epi8(static_cast<char>(e.s.n_categories[j] + 1));
      for (index strip = 0; strip < strips && n > 0; ++strip) {
        std::uint8_t* const x = z.x + j * z.rows + 64 * strip;
        _mm512_storeu_si512(x, _mm512_mask_mov_epi8(_mm512_loadu_si512(x), p.under[j * strips + strip], marked));
      }
    }
    p.first[j] = n_totals;
    p.n_top[j] = n_top;
    p.n_under[j] = n;
    p.n_first[j] = n - n_second;
    p.stream[j] = 0;
    n_totals += n_top;
  }
  return n_totals;
}

/// Makes all totals of a block whose lists are found, features having N categories, of N = 0 as many as they have.
template <int N, int Parts>
inline void sum_out_packed(const encoder& e, children_view children, const scored_tables& tables,
                           const code_columns<std::uint8_t>& z, const packed_view& p) {
  const index k = e.s.n_classes, strips = z.strips, room = p.row_room;
  const auto column = [&](index j) { return z.x + j * z.rows; };
  for (index strip = 0; strip < strips; ++strip) p.outside[strip] = 0;
  index stream = 0;
  for (index i = e.s.d - 1; i >= 0; --i) {
    const index j = e.s.order[i], parent = e.parent[j], further = e.parent[parent];
    const packed_rows of{p.top + j * strips, p.under + j * strips, strips, p.n_top[j], p.n_under[j], p.outside};
    if (of.n() == 0) continue;
    const index rows = N > 0 ? N : e.s.n_categories[j], contexts = e.s.n_contexts[j];
    for (index at = children.begin[j + 1] - 1; at >= children.begin[j]; --at) {
      const index child = children.child[at], size = N > 0 ? N : e.s.n_categories[child];
      const index n_heard = p.n_under[child], apart = n_heard + 8;
      pack_codes(column(child), of.top, strips, p.codes);
      if (of.n_under > 0) pack_codes(column(child), of.under, strips, p.codes + of.n_top);
      for (index c = 0; c < k; ++c) {
        const auto multiply = [&](auto is_first, auto is_heard) {
          multiply_packed<decltype(is_first)::value, decltype(is_heard)::value, N, Parts>(
              of, p.codes, tables.probabilities + e.s.offsets[child] + c * rows * size, rows, size,
              p.streams + p.stream[child] + c * rows * apart, apart, p.below + c * rows * room, room);
        };
        const auto with_heard = [&](auto is_first) {
          if (n_heard > 0)
            multiply(is_first, std::true_type{});
          else
            multiply(is_first, std::false_type{});
        };
        if (at == children.begin[j + 1] - 1)
          with_heard(std::true_type{});
        else
          with_heard(std::false_type{});
      }
    }
    const double* const theta = tables.cells + tables.offsets[j];
    if (of.n_top > 0) {
      if (parent == j)
        std::fill_n(p.codes, of.n_top + 8, std::uint8_t{0});
      else
        pack_codes(column(parent), of.top, strips, p.codes);
      for (index c = 0; c < k; ++c)
        sum_packed<N, Parts>(p.codes, of.n_top, theta + c, rows, contexts, k, p.below + c * rows * room, room,
                             p.totals + c * p.most + p.first[j]);
    }
    if (of.n_under > 0) {
      pack_codes(column(further), of.under, strips, p.codes);
      const index gone = further == parent ? 256 : e.s.n_categories[further], apart = of.n_under + 8;
      p.stream[j] = stream;
      for (index c = 0; c < k; ++c)
        send_packed<N>(of, p.codes, gone, theta + c, rows, contexts, k, p.below + c * rows * room, room,
                       p.streams + stream + c * contexts * apart, p.n_first[j], apart);
      stream += k * contexts * apart;
    }
  }
}

/// Totals of a block of rows with missing cells; theirs are the codes of z.
inline void make_packed(const encoder& e, children_view children, const scored_tables& tables,
                        const code_columns<std::uint8_t>& z, packed_view& p) {
  p.n_totals = list_packed(e, children, z, p);
  const index most = *std::max_element(e.s.n_categories, e.s.n_categories + e.s.d);
  with_categories(e.s, [&](auto n) {
    constexpr int N = decltype(n)::value;
    constexpr int parts = N > 6 ? 2 : 1;  // two codes more: of silent children, and of those that are heard
    if (N > 0 || most <= 6)
      sum_out_packed<N, parts>(e, children, tables, z, p);
    else if (most <= 14)
      sum_out_packed<N, 2>(e, children, tables, z, p);
    else
      sum_out_packed<0, 4>(e, children, tables, z, p);
  });
  for (index c = 0; c < e.s.n_classes; ++c) log(p.totals + c * p.most, p.n_totals, p.totals + c * p.most);
}

#endif

}  // namespace tallydraw::TALLYDRAW_ISA
