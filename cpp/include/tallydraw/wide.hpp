// Vectors of 64-bit lanes for Philox, one definition an instruction set. Written with intrinsics: the products
// want 32 x 32 -> 64 bits in every lane, which compilers do not find in plain loops (measured: 2 to 9 times slower).
#pragma once

#include <cstdint>

#include "tallydraw/views.hpp"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace tallydraw::TALLYDRAW_ISA {

// wide_set:          v in every lane
// wide_count:        first, first + 1, … mod 2^64
// wide_load:         64-bit lanes from memory, unaligned
// wide_product:      the product of the lower halves
// wide_upper:        the upper halves, as 64-bit lanes
// wide_store_words:  the lower halves of a, then of b
// wide_store_blocks: for each lane the lower halves of w0, w1, w2, w3

#if defined(__AVX512F__)

// The zero-masking forms with a full mask are the plain instructions; the plain forms of GCC 12 warn (its bug 105593).
using wide = __m512i;
constexpr index wide_lanes = 8;
inline wide wide_set(std::uint64_t v) { return _mm512_set1_epi64(static_cast<long long>(v)); }
inline wide wide_count(std::uint64_t first) {
  return _mm512_add_epi64(wide_set(first), _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0));
}
inline wide wide_load(const std::uint64_t* p) { return _mm512_loadu_si512(p); }
inline wide wide_product(wide a, wide b) { return _mm512_maskz_mul_epu32(0xFF, a, b); }
inline wide wide_xor(wide a, wide b) { return _mm512_xor_si512(a, b); }
inline wide wide_upper(wide a) { return _mm512_maskz_srli_epi64(0xFF, a, 32); }
inline void wide_store_words(wide a, wide b, std::uint32_t* to) {
  const wide even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  _mm512_storeu_si512(to, _mm512_permutex2var_epi32(a, even, b));
}
inline void wide_store_blocks(wide w0, wide w1, wide w2, wide w3, std::uint32_t* to) {
  const wide w01 = _mm512_mask_shuffle_epi32(w0, 0xAAAA, w1, _MM_PERM_CCAA);
  const wide w23 = _mm512_mask_shuffle_epi32(w2, 0xAAAA, w3, _MM_PERM_CCAA);
  _mm512_storeu_si512(to, _mm512_permutex2var_epi64(w01, _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0), w23));
  _mm512_storeu_si512(to + 16, _mm512_permutex2var_epi64(w01, _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4), w23));
}

#elif defined(__AVX2__)

using wide = __m256i;
constexpr index wide_lanes = 4;
inline wide wide_set(std::uint64_t v) { return _mm256_set1_epi64x(static_cast<long long>(v)); }
inline wide wide_count(std::uint64_t first) { return _mm256_add_epi64(wide_set(first), _mm256_set_epi64x(3, 2, 1, 0)); }
inline wide wide_load(const std::uint64_t* p) { return _mm256_loadu_si256(reinterpret_cast<const wide*>(p)); }
inline wide wide_product(wide a, wide b) { return _mm256_mul_epu32(a, b); }
inline wide wide_xor(wide a, wide b) { return _mm256_xor_si256(a, b); }
inline wide wide_upper(wide a) { return _mm256_srli_epi64(a, 32); }
inline void wide_store_words(wide a, wide b, std::uint32_t* to) {
  const __m256 even = _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88);
  _mm256_storeu_si256(reinterpret_cast<wide*>(to), _mm256_permute4x64_epi64(_mm256_castps_si256(even), 0xD8));
}
inline void wide_store_blocks(wide w0, wide w1, wide w2, wide w3, std::uint32_t* to) {
  const wide w01 = _mm256_blend_epi32(w0, _mm256_slli_epi64(w1, 32), 0xAA);
  const wide w23 = _mm256_blend_epi32(w2, _mm256_slli_epi64(w3, 32), 0xAA);
  const wide even = _mm256_unpacklo_epi64(w01, w23);
  const wide odd = _mm256_unpackhi_epi64(w01, w23);
  _mm256_storeu_si256(reinterpret_cast<wide*>(to), _mm256_permute2x128_si256(even, odd, 0x20));
  _mm256_storeu_si256(reinterpret_cast<wide*>(to) + 1, _mm256_permute2x128_si256(even, odd, 0x31));
}

#elif defined(__x86_64__) || defined(_M_X64)

using wide = __m128i;
constexpr index wide_lanes = 2;
inline wide wide_set(std::uint64_t v) { return _mm_set1_epi64x(static_cast<long long>(v)); }
inline wide wide_count(std::uint64_t first) { return _mm_add_epi64(wide_set(first), _mm_set_epi64x(1, 0)); }
inline wide wide_load(const std::uint64_t* p) { return _mm_loadu_si128(reinterpret_cast<const wide*>(p)); }
inline wide wide_product(wide a, wide b) { return _mm_mul_epu32(a, b); }
inline wide wide_xor(wide a, wide b) { return _mm_xor_si128(a, b); }
inline wide wide_upper(wide a) { return _mm_srli_epi64(a, 32); }
inline void wide_store_words(wide a, wide b, std::uint32_t* to) {
  const __m128 even = _mm_shuffle_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b), 0x88);
  _mm_storeu_si128(reinterpret_cast<wide*>(to), _mm_castps_si128(even));
}
inline void wide_store_blocks(wide w0, wide w1, wide w2, wide w3, std::uint32_t* to) {
  const __m128 low = _mm_shuffle_ps(_mm_castsi128_ps(w0), _mm_castsi128_ps(w1), 0x88);   // w0, w0', w1, w1'
  const __m128 high = _mm_shuffle_ps(_mm_castsi128_ps(w2), _mm_castsi128_ps(w3), 0x88);  // w2, w2', w3, w3'
  const __m128 first = _mm_shuffle_ps(low, high, 0x88);
  const __m128 second = _mm_shuffle_ps(low, high, 0xDD);
  _mm_storeu_si128(reinterpret_cast<wide*>(to), _mm_castps_si128(first));
  _mm_storeu_si128(reinterpret_cast<wide*>(to) + 1, _mm_castps_si128(second));
}

#else

struct wide {
  std::uint64_t lane[2];
};
constexpr index wide_lanes = 2;
inline wide wide_set(std::uint64_t v) { return {{v, v}}; }
inline wide wide_count(std::uint64_t first) { return {{first, first + 1}}; }
inline wide wide_load(const std::uint64_t* p) { return {{p[0], p[1]}}; }
inline std::uint64_t wide_product_of(std::uint64_t a, std::uint64_t b) {
  return std::uint64_t{static_cast<std::uint32_t>(a)} * static_cast<std::uint32_t>(b);
}
inline wide wide_product(wide a, wide b) {
  return {{wide_product_of(a.lane[0], b.lane[0]), wide_product_of(a.lane[1], b.lane[1])}};
}
inline wide wide_xor(wide a, wide b) { return {{a.lane[0] ^ b.lane[0], a.lane[1] ^ b.lane[1]}}; }
inline wide wide_upper(wide a) { return {{a.lane[0] >> 32, a.lane[1] >> 32}}; }
inline void wide_store_words(wide a, wide b, std::uint32_t* to) {
  to[0] = static_cast<std::uint32_t>(a.lane[0]);
  to[1] = static_cast<std::uint32_t>(a.lane[1]);
  to[2] = static_cast<std::uint32_t>(b.lane[0]);
  to[3] = static_cast<std::uint32_t>(b.lane[1]);
}
inline void wide_store_blocks(wide w0, wide w1, wide w2, wide w3, std::uint32_t* to) {
  for (int l = 0; l < 2; ++l) {
    to[4 * l] = static_cast<std::uint32_t>(w0.lane[l]);
    to[4 * l + 1] = static_cast<std::uint32_t>(w1.lane[l]);
    to[4 * l + 2] = static_cast<std::uint32_t>(w2.lane[l]);
    to[4 * l + 3] = static_cast<std::uint32_t>(w3.lane[l]);
  }
}

#endif

}  // namespace tallydraw::TALLYDRAW_ISA
