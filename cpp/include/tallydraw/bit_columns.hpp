// Columns of bits, one a category of a feature, and how many bits two columns share: the whole of a contingency table
// of few categories. Eight columns lie side by side: word w of column q is words[((q / 8) * n_words + w) * 8 + q % 8],
// so one vector holds the same 64 rows of several columns, and counts need no sum across lanes.
// Counting bits by carries of eight words and by table lookup in nibbles: Mula, Kurz & Lemire (2018), "Faster
// population counts using AVX2 instructions".
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tallydraw/attributes.hpp"
#include "tallydraw/transpose.hpp"
#include "tallydraw/views.hpp"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace tallydraw::TALLYDRAW_ISA {

constexpr index bit_lanes = 8;

inline index popcount(std::uint64_t v) {
#if defined(__GNUC__)
  return __builtin_popcountll(v);
#else
  v -= (v >> 1) & 0x5555555555555555;
  v = (v & 0x3333333333333333) + ((v >> 2) & 0x3333333333333333);
  v = (v + (v >> 4)) & 0x0F0F0F0F0F0F0F0F;
  return static_cast<index>((v * 0x0101010101010101) >> 56);
#endif
}

/// The number of the lowest bit that is set; some is.
inline index lowest_bit(std::uint64_t v) {
#if defined(__GNUC__)
  return __builtin_ctzll(v);
#else
  return popcount((v & (0 - v)) - 1);
#endif
}

/// Bit j is set where codes[j] == c, of 64 codes.
inline std::uint64_t bits_equal_to(const std::uint8_t* codes, std::uint8_t c) {
#if defined(__AVX512BW__)
  return _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(codes), _mm512_set1_epi8(static_cast<char>(c)));
#elif defined(__AVX2__)
  const __m256i wanted = _mm256_set1_epi8(static_cast<char>(c));
  std::uint64_t bits = 0;
  for (int i = 0; i < 2; ++i) {
    const __m256i some = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + 32 * i));
    const auto met = static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(some, wanted)));
    bits |= std::uint64_t{met} << (32 * i);
  }
  return bits;
#elif defined(__x86_64__) || defined(_M_X64)
  const __m128i wanted = _mm_set1_epi8(static_cast<char>(c));
  std::uint64_t bits = 0;
  for (int i = 0; i < 4; ++i) {
    const __m128i some = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + 16 * i));
    const auto met = static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(some, wanted)));
    bits |= std::uint64_t{met} << (16 * i);
  }
  return bits;
#else
  std::uint64_t bits = 0;
  for (int i = 0; i < 64; ++i) bits |= std::uint64_t{codes[i] == c} << i;
  return bits;
#endif
}

/// The same for each c < n.
template <class U>
inline void bits_equal_to_each(const U* codes, index n, std::uint64_t* bits) {
  for (index c = 0; c < n; ++c) {
    if constexpr (sizeof(U) == 1) {
      bits[c] = bits_equal_to(codes, static_cast<U>(c));
    } else {
      bits[c] = 0;
      for (int i = 0; i < 64; ++i) bits[c] |= std::uint64_t{codes[i] == static_cast<U>(c)} << i;
    }
  }
}

/// Bit i of byte j is set where rows[i][j] == c, of eight rows of 64 codes.
template <class U>
inline void equal_bits(const U* const (&rows)[8], U c, std::uint8_t* bytes) {
  std::uint8_t bits[64];
  for (int j = 0; j < 64; ++j) {
    unsigned met = 0;
    for (int i = 0; i < 8; ++i) met |= (rows[i][j] == c ? 1u : 0u) << i;
    bits[j] = static_cast<std::uint8_t>(met);
  }
  std::memcpy(bytes, bits, sizeof bits);
}

/// Word by word the columns of 64 rows of W codes, `stride` bytes apart, that are 0, or else 1: a bit is set where the
/// code is 0. Eight columns go to `to`, the next eight `apart` words further. Which bit is whose row is the same in every
/// column. Returns whether one of the first `width` codes of a row is above 1.
template <index W>
inline bool pack_zeros(const std::uint8_t* codes, index stride, index width, std::uint64_t* to, index apart) {
  // Bytes of eight rows each, a bit a row, of each column; then the eight bytes of a column together.
#if defined(__AVX512BW__)
  if constexpr (W == 64) {
    const auto any = [](__m512i u, __m512i v, __m512i w) { return _mm512_ternarylogic_epi64(u, v, w, 0xFE); };
    const auto left = [](__m512i v, unsigned places) { return _mm512_maskz_slli_epi64(0xFF, v, places); };
    // Lane l of 128 bits gets columns 8 m + 2 l and 8 m + 2 l + 1, m = 0 … 7: interleaving leaves eight side by side.
    static constexpr std::uint16_t dealt[32] = {0, 4, 8,  12, 16, 20, 24, 28, 1, 5, 9,  13, 17, 21, 25, 29,
                                                2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31};
    const __m512i order = _mm512_loadu_si512(dealt), ones = _mm512_set1_epi8(-1);
    __m512i a[8], b[8], seen = _mm512_setzero_si512();
    for (int part = 0; part < 8; ++part) {
      __m512i v[8];
      for (int i = 0; i < 8; ++i) v[i] = _mm512_loadu_si512(codes + (8 * part + i) * stride);
      seen = any(seen, any(v[0], v[1], v[2]), any(v[3], v[4], any(v[5], v[6], v[7])));
      const __m512i low = any(any(v[0], left(v[1], 1), left(v[2], 2)), left(v[3], 3), left(v[4], 4));
      const __m512i met = any(any(low, left(v[5], 5), left(v[6], 6)), left(v[7], 7), left(v[7], 7));
      a[part] = _mm512_maskz_permutexvar_epi16(~__mmask32{0}, order, _mm512_xor_si512(met, ones));
    }
    for (int i = 0; i < 8; i += 2) {
      b[i] = _mm512_unpacklo_epi8(a[i], a[i + 1]);
      b[i + 1] = _mm512_unpackhi_epi8(a[i], a[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
      for (int k = 0; k < 2; ++k) {
        a[i + 2 * k] = _mm512_unpacklo_epi16(b[i + k], b[i + k + 2]);
        a[i + 2 * k + 1] = _mm512_unpackhi_epi16(b[i + k], b[i + k + 2]);
      }
    for (int i = 0; i < 4; ++i) {
      const __m512i low = _mm512_maskz_unpacklo_epi32(0xFFFF, a[i], a[i + 4]);
      const __m512i high = _mm512_maskz_unpackhi_epi32(0xFFFF, a[i], a[i + 4]);
      if (16 * i < width) _mm512_storeu_si512(to + 2 * i * apart, low);
      if (16 * i + 8 < width) _mm512_storeu_si512(to + (2 * i + 1) * apart, high);
    }
    const std::uint64_t asked = width < 64 ? (std::uint64_t{1} << width) - 1 : ~std::uint64_t{0};
    return (_mm512_cmpgt_epu8_mask(seen, _mm512_set1_epi8(1)) & asked) != 0;
  }
#endif
  std::uint64_t bits[W], turned[W], seen[W / 8] = {};
  for (index part = 0; part < 8; ++part)
    for (index q = 0; q < W / 8; ++q) {
      std::uint64_t v[8];
      for (index i = 0; i < 8; ++i) std::memcpy(&v[i], codes + (8 * part + i) * stride + 8 * q, sizeof v[i]);
      seen[q] |= ((v[0] | v[1]) | (v[2] | v[3])) | ((v[4] | v[5]) | (v[6] | v[7]));
      const std::uint64_t low = (v[0] | v[1] << 1) | (v[2] << 2 | v[3] << 3);
      bits[part * (W / 8) + q] = ~(low | ((v[4] << 4 | v[5] << 5) | (v[6] << 6 | v[7] << 7)));
    }
  std::uint8_t from[8 * W], back[8 * W], most[W];
  std::memcpy(from, bits, sizeof from);
  std::memcpy(turned, transpose(from, back, 8, W), sizeof turned);
  for (index q = 0; q < width; q += bit_lanes) std::memcpy(to + q / bit_lanes * apart, turned + q, 8 * bit_lanes);
  std::memcpy(most, seen, sizeof most);
  unsigned above = 0;
  for (index j = 0; j < width; ++j) above |= most[j];
  return above > 1;
}

/// Word by word the columns of `rows` rows of d codes that are 0, or else 1, `stride` bytes apart: the words of a column
/// follow each other. Bits past the last row are 0. Nothing from `end` on is read. Returns whether a code is above 1.
inline bool pack_binary_rows(const std::uint8_t* codes, index stride, index rows, index d, const std::uint8_t* end,
                             std::uint64_t* to, index apart) {
  constexpr index side = 64;
  bool strange = false;
  const auto pack = [&](auto of, const std::uint8_t* from, index m, index width, std::uint64_t* words) {
    constexpr index w = decltype(of)::value;
    if (m == side && from + (side - 1) * stride + w <= end) return pack_zeros<w>(from, stride, width, words, apart);
    std::uint8_t copies[side * w];
    std::memset(copies, 1, sizeof copies);
    for (index r = 0; r < m; ++r) std::memcpy(copies + r * w, from + r * stride, static_cast<std::size_t>(width));
    return pack_zeros<w>(copies, w, width, words, apart);
  };
  for (index r = 0; r < rows; r += side, codes += side * stride, to += bit_lanes) {
    const index m = rows - r < side ? rows - r : side;
    for (index j = 0; j < d; j += side) {
      const index width = d - j < side ? d - j : side;
      std::uint64_t* const words = to + j / bit_lanes * apart;
      if (width <= 8)
        strange |= pack(std::integral_constant<index, 8>{}, codes + j, m, width, words);
      else if (width <= 16)
        strange |= pack(std::integral_constant<index, 16>{}, codes + j, m, width, words);
      else if (width <= 32)
        strange |= pack(std::integral_constant<index, 32>{}, codes + j, m, width, words);
      else
        strange |= pack(std::integral_constant<index, 64>{}, codes + j, m, width, words);
    }
  }
  return strange;
}

#if defined(__AVX512BW__) && defined(__GNUC__)
/// shared_bits where the processor counts the bits of words itself, as most that have AVX-512 do: asked at each call.
template <int P, index Stride>
__attribute__((target("avx512vpopcntdq"))) TALLYDRAW_APART inline void shared_bits_counted(
    const std::uint64_t* const (&a)[P], const std::uint64_t* b, index n, std::uint32_t* const (&shared)[P]) {
  __m512i sums[P];
  for (int p = 0; p < P; ++p) sums[p] = _mm512_setzero_si512();
  for (index w = 0; w < n; ++w) {
    const __m512i v = _mm512_loadu_si512(b + w * bit_lanes);
    for (int p = 0; p < P; ++p) {
      const __m512i both = _mm512_and_si512(v, _mm512_set1_epi64(static_cast<long long>(a[p][w * Stride])));
      sums[p] = _mm512_add_epi64(sums[p], _mm512_popcnt_epi64(both));
    }
  }
  for (int p = 0; p < P; ++p)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(shared[p]), _mm512_maskz_cvtepi64_epi32(0xFF, sums[p]));
}
#endif

/// shared[p][l] = how many bits column a[p] and lane l of `b` have in common, in n words of which each is bit_lanes
/// away from the one before, `Stride` in a[p].
template <int P, index Stride = bit_lanes>
inline void shared_bits(const std::uint64_t* const (&a)[P], const std::uint64_t* b, index n,
                        std::uint32_t* const (&shared)[P]) {
#if defined(__AVX512BW__) && defined(__GNUC__)
  if (__builtin_cpu_supports("avx512vpopcntdq")) return shared_bits_counted<P, Stride>(a, b, n, shared);
#endif
#if defined(__AVX2__)
  constexpr index most_words = 31;  // counted until a byte, which grows by 8 at most, could overflow
  constexpr index least = 24;       // words, for which carries are worth it
  using bits = __m256i;
  constexpr int parts = 2;
  const bits nibble = _mm256_set1_epi8(15), zero = _mm256_setzero_si256();
  const bits counts = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const auto count = [&](bits v) {
    const bits low = _mm256_shuffle_epi8(counts, _mm256_and_si256(v, nibble));
    const bits high = _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble));
    return _mm256_add_epi8(low, high);
  };
  const auto load = [](const std::uint64_t* p) { return _mm256_loadu_si256(reinterpret_cast<const bits*>(p)); };
  const auto both = [](bits v, std::uint64_t w) {
    return _mm256_and_si256(v, _mm256_set1_epi64x(static_cast<long long>(w)));
  };
  const auto add_bytes = [](bits v, bits w) { return _mm256_add_epi8(v, w); };
  const auto add_sums = [&](bits sum, bits bytes) { return _mm256_add_epi64(sum, _mm256_sad_epu8(bytes, zero)); };
  const auto store = [](std::uint64_t* to, bits v) { _mm256_storeu_si256(reinterpret_cast<bits*>(to), v); };
  const auto shift = [](bits v, int places) { return _mm256_slli_epi64(v, places); };
  const auto odd = [](bits u, bits v, bits w) { return _mm256_xor_si256(_mm256_xor_si256(u, v), w); };
  const auto most = [](bits u, bits v, bits w) {
    return _mm256_or_si256(_mm256_and_si256(u, v), _mm256_and_si256(_mm256_xor_si256(u, v), w));
  };
  // Adds v to the bits of `low`; what that carries.
  const auto carry = [&](bits& low, bits u, bits v) {
    const bits high = most(low, u, v);
    low = odd(low, u, v);
    return high;
  };
  constexpr index width = bit_lanes / parts;
  for (int part = 0; part < parts; ++part) {
    bits sums[P], ones[P], twos[P], fours[P];
    for (int p = 0; p < P; ++p) sums[p] = ones[p] = twos[p] = fours[p] = zero;
    index w = 0;
    while (n >= least && n - w >= 8) {  // of eight words only what they carry is counted
      const index end = n - w < 8 * most_words ? n - 7 : w + 8 * most_words;
      bits bytes[P];
      for (int p = 0; p < P; ++p) bytes[p] = zero;
      for (; w < end; w += 8) {
        bits two[P], four[P];
        const auto add_two = [&](index i, int p, bits v0, bits v1) {
          return carry(ones[p], both(v0, a[p][(w + i) * Stride]), both(v1, a[p][(w + i + 1) * Stride]));
        };
        for (index i = 0; i < 8; i += 4) {
          bits v0 = load(b + (w + i) * bit_lanes + part * width), v1 = load(b + (w + i + 1) * bit_lanes + part * width);
          for (int p = 0; p < P; ++p) two[p] = add_two(i, p, v0, v1);
          v0 = load(b + (w + i + 2) * bit_lanes + part * width), v1 = load(b + (w + i + 3) * bit_lanes + part * width);
          for (int p = 0; p < P; ++p) {
            const bits of_four = carry(twos[p], two[p], add_two(i + 2, p, v0, v1));
            if (i == 0)
              four[p] = of_four;
            else
              bytes[p] = add_bytes(bytes[p], count(carry(fours[p], four[p], of_four)));
          }
        }
      }
      for (int p = 0; p < P; ++p) sums[p] = add_sums(sums[p], bytes[p]);
    }
    const bits* const uncounted[] = {fours, twos, ones};
    for (int i = 0; w > 0 && i < 3; ++i)
      for (int p = 0; p < P; ++p) sums[p] = add_sums(shift(sums[p], 1), count(uncounted[i][p]));
    bits bytes[P];
    for (int p = 0; p < P; ++p) bytes[p] = zero;
    for (; w < n; ++w) {
      const bits v = load(b + w * bit_lanes + part * width);
      for (int p = 0; p < P; ++p) bytes[p] = add_bytes(bytes[p], count(both(v, a[p][w * Stride])));
    }
    for (int p = 0; p < P; ++p) sums[p] = add_sums(sums[p], bytes[p]);
    for (int p = 0; p < P; ++p) {
      std::uint64_t sum[width];
      store(sum, sums[p]);
      for (index l = 0; l < width; ++l) shared[p][part * width + l] = static_cast<std::uint32_t>(sum[l]);
    }
  }
#else
  for (int p = 0; p < P; ++p) {
    index sums[bit_lanes] = {};
    for (index w = 0; w < n; ++w)
      for (index l = 0; l < bit_lanes; ++l) sums[l] += popcount(a[p][w * Stride] & b[w * bit_lanes + l]);
    for (index l = 0; l < bit_lanes; ++l) shared[p][l] = static_cast<std::uint32_t>(sums[l]);
  }
#endif
}

/// totals[l] = how many bits are set in lane l of `b`, n words.
inline void set_bits(const std::uint64_t* b, index n, std::uint32_t* totals) {
#if defined(__AVX2__)
  const std::uint64_t all = ~std::uint64_t{0};
  shared_bits<1, 0>({&all}, b, n, {totals});
#else
  for (index l = 0; l < bit_lanes; ++l) {
    index total = 0;
    for (index w = 0; w < n; ++w) total += popcount(b[w * bit_lanes + l]);
    totals[l] = static_cast<std::uint32_t>(total);
  }
#endif
}

}  // namespace tallydraw::TALLYDRAW_ISA
