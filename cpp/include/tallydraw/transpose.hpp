// Rows of codes into columns of codes, or back: tiles of bytes in registers, where the instruction set has the shuffles,
// and otherwise by interleaving halves: whole vectors, in any instruction set.
#pragma once

#include <cstdint>

#include "tallydraw/attributes.hpp"
#include "tallydraw/views.hpp"

#if defined(__AVX512BW__)
#include <immintrin.h>
#endif

namespace tallydraw::TALLYDRAW_ISA {

#if defined(__AVX512BW__)
/// to[i * to_apart + o] = from[o * apart + i] for o < 8 * Parts, 4 or 8, and i < width <= 64; 4 parts: even widths only,
/// and columns without gaps. Eight rows at a time by bytes, then the words of the parts: both interleave halves.
template <int Parts>
TALLYDRAW_APART inline void turn_bytes(const std::uint8_t* from, index apart, index width, std::uint8_t* to,
                                       index to_apart) {
  static_assert(Parts == 4 || Parts == 8);
  const __mmask64 asked = width < 64 ? (std::uint64_t{1} << width) - 1 : ~std::uint64_t{0};
  __m512i part[8][Parts];
  for (int p = 0; p < Parts; ++p) {
    __m512i a[8], b[8];
    for (int i = 0; i < 8; ++i) a[i] = _mm512_maskz_loadu_epi8(asked, from + (8 * p + i) * apart);
    const auto interleave = [](const __m512i* x, __m512i* y) {
      for (int i = 0; i < 4; ++i) {
        y[2 * i] = _mm512_unpacklo_epi8(x[i], x[i + 4]);
        y[2 * i + 1] = _mm512_unpackhi_epi8(x[i], x[i + 4]);
      }
    };
    interleave(a, b);
    interleave(b, a);
    interleave(a, b);
    for (int q = 0; q < 8; ++q) part[q][p] = b[q];
  }
  // Words 2 l and 2 l + 1 of part[q] are of columns 16 l + 2 q and 16 l + 2 q + 1.
  const __m512i low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), high = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
  for (int q = 0; q < 8; ++q) {
    __m512i a[Parts], b[Parts];
    const auto interleave = [&](const __m512i* x, __m512i* y) {
      for (int i = 0; i < Parts / 2; ++i) {
        y[2 * i] = _mm512_permutex2var_epi64(x[i], low, x[i + Parts / 2]);
        y[2 * i + 1] = _mm512_permutex2var_epi64(x[i], high, x[i + Parts / 2]);
      }
    };
    interleave(part[q], a);
    interleave(a, b);
    if (Parts == 8) interleave(b, a);
    for (int i = 0; i < Parts; ++i) {
      const index column = Parts == 8 ? 16 * (i / 2) + 2 * q + i % 2 : 16 * i + 2 * q;
      if (column < width) _mm512_storeu_si512(to + column * to_apart, Parts == 8 ? a[i] : b[i]);
    }
  }
}
#endif

/// to[i * outer + o] = from[o * inner + i]. `outer` is a power of two: each pass interleaves the two halves, which
/// moves one bit of o below i. Both buffers may be overwritten; returns the one that holds the result.
template <class T>
inline const T* transpose(T* from, T* to, index outer, index inner) {
  if (inner == 1) return from;
#if defined(__AVX512BW__)
  if constexpr (sizeof(T) == 1) {
    constexpr index side = 64, least = 8;  // of fewer columns a tile takes longer than the passes
    if (outer >= side && inner >= least) {
      for (index o = 0; o < outer; o += side)
        for (index i = 0; i < inner; i += side)
          turn_bytes<8>(from + o * inner + i, inner, inner - i < side ? inner - i : side, to + i * outer + o, outer);
      return to;
    }
    if (outer == side / 2 && inner % side == 0) {
      for (index i = 0; i < inner; i += side) turn_bytes<4>(from + i, inner, side, to + i * outer, outer);
      return to;
    }
  }
#endif
  const index half = outer * inner / 2;
  for (; outer > 1; outer /= 2) {
    for (index i = 0; i < half; ++i) {
      to[2 * i] = from[i];
      to[2 * i + 1] = from[half + i];
    }
    T* const done = to;
    to = from;
    from = done;
  }
  return from;
}

}  // namespace tallydraw::TALLYDRAW_ISA
