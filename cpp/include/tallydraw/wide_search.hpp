// Draws from one table row of few categories, 32 at once, by halving in registers: where the processor has the
// instructions, TALLYDRAW_WIDE_SEARCH is defined.
#pragma once

#include <cstdint>
#include <cstring>

#include "tallydraw/views.hpp"

#if defined(__AVX512BW__)
#include <immintrin.h>

#define TALLYDRAW_WIDE_SEARCH 1

namespace tallydraw::TALLYDRAW_ISA {

constexpr index searched_together = 32;
constexpr index most_searched = 64;

/// The upper 16 bits of the levels of one table row of at most 2^Steps categories, as the steps of a search look at them.
template <int Steps>
class wide_search {
 public:
  /// high: the upper 32 bits of the n levels.
  wide_search(const std::uint32_t* high, index n) : uppers_(counted_from(1, 2)) {
    __m512i halves[2 * parts];
    for (int i = 0; i < 2 * parts; ++i) {  // beyond the last level but one all bits are set: no word is above
      const index some = n - 1 - 16 * i;
      const auto there = static_cast<__mmask16>(some >= 16 ? 0xFFFF : some > 0 ? (1 << some) - 1 : 0);
      halves[i] = _mm512_mask_loadu_epi32(_mm512_set1_epi32(-1), there, high + 16 * i);
    }
    table level;
    for (int i = 0; i < parts; ++i) level.part[i] = upper_halves(halves[2 * i], halves[2 * i + 1]);
    for (int s = 0; s < Steps; ++s)
      for (int i = 0; i < parts; ++i) tables_[s].part[i] = level.at(counted_from(32 * i + (1 << s) - 1, 1));
    middle_ = level.at(_mm512_set1_epi16((1 << (Steps - 1)) - 1));
  }

  /// found[i] = how many levels are below words[i], by their upper halves. Bit i is set where these are those of a level.
  std::uint32_t find(const std::uint32_t* words, std::uint8_t* found) const {
    const __m512i w = upper_halves(_mm512_loadu_si512(words), _mm512_loadu_si512(words + 16));
    __m512i c = step(_mm512_setzero_si512(), w, middle_, Steps - 1);
    for (int s = Steps - 2; s >= 0; --s) c = step(c, w, tables_[s].at(c), s);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(found), _mm512_maskz_cvtepi16_epi8(~__mmask32{0}, c));
    return _mm512_cmpeq_epi16_mask(w, tables_[0].at(c));
  }

 private:
  static constexpr int parts = Steps > 5 ? 2 : 1;

  /// 32 levels, or 64, and the one that each lane names.
  struct table {
    __m512i part[parts];

    __m512i at(__m512i c) const {
      if constexpr (parts == 2)
        return _mm512_permutex2var_epi16(part[0], c, part[1]);
      else
        return _mm512_maskz_permutexvar_epi16(~__mmask32{0}, c, part[0]);
    }
  };

  /// first, first + by, … in lanes of 16 bits.
  static __m512i counted_from(int first, int by) {
    std::uint16_t lane[32];
    for (int i = 0; i < 32; ++i) lane[i] = static_cast<std::uint16_t>(first + by * i);
    return _mm512_loadu_si512(lane);
  }
  __m512i upper_halves(__m512i first, __m512i second) const {
    return _mm512_permutex2var_epi16(first, uppers_, second);
  }
  static __m512i step(__m512i c, __m512i w, __m512i level, int s) {
    return _mm512_mask_add_epi16(c, _mm512_cmpgt_epu16_mask(w, level), c,
                                 _mm512_set1_epi16(static_cast<short>(1 << s)));
  }

  __m512i uppers_;
  table tables_[Steps];  // [s][c] is level c + 2^s - 1, where there is one
  __m512i middle_;
};

}  // namespace tallydraw::TALLYDRAW_ISA

#else

namespace tallydraw::TALLYDRAW_ISA { constexpr index most_searched = 0; }  // namespace tallydraw::TALLYDRAW_ISA

#endif
