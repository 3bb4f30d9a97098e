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
  /// high: the upper halves of the n levels.
  wide_search(const std::uint32_t* high, index n) {
    std::uint16_t upper[2 * most_searched];
    for (std::uint16_t& u : upper) u = UINT16_MAX;
    for (index c = 0; c < n - 1; ++c) upper[c] = static_cast<std::uint16_t>(high[c] >> 16);
    for (int s = 0; s < Steps; ++s) tables_[s].load(upper + (index{1} << s) - 1);
    middle_ = _mm512_set1_epi16(static_cast<short>(upper[(index{1} << (Steps - 1)) - 1]));
    for (index i = 0; i < searched_together; ++i) upper[i] = static_cast<std::uint16_t>(2 * i + 1);
    uppers_ = _mm512_loadu_si512(upper);
  }

  /// found[i] = how many levels are below words[i], by their upper halves. Bit i is set where these are those of a level.
  std::uint32_t find(const std::uint32_t* words, std::uint8_t* found) const {
    const __m512i w = _mm512_permutex2var_epi16(_mm512_loadu_si512(words), uppers_, _mm512_loadu_si512(words + 16));
    __m512i c = step(_mm512_setzero_si512(), w, middle_, Steps - 1);
    for (int s = Steps - 2; s >= 0; --s) c = step(c, w, tables_[s].at(c), s);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(found), _mm512_maskz_cvtepi16_epi8(~__mmask32{0}, c));
    return _mm512_cmpeq_epi16_mask(w, tables_[0].at(c));
  }

 private:
  /// 32 levels, or 64, and the one that each lane names.
  struct table {
    __m512i part[Steps > 5 ? 2 : 1];

    void load(const std::uint16_t* from) {
      part[0] = _mm512_loadu_si512(from);
      if constexpr (Steps > 5) part[1] = _mm512_loadu_si512(from + 32);
    }
    __m512i at(__m512i c) const {
      if constexpr (Steps > 5)
        return _mm512_permutex2var_epi16(part[0], c, part[1]);
      else
        return _mm512_maskz_permutexvar_epi16(~__mmask32{0}, c, part[0]);
    }
  };

  static __m512i step(__m512i c, __m512i w, __m512i level, int s) {
    return _mm512_mask_add_epi16(c, _mm512_cmpgt_epu16_mask(w, level), c, _mm512_set1_epi16(static_cast<short>(1 << s)));
  }

  table tables_[Steps];  // [s][c] is level c + 2^s - 1
  __m512i middle_;
  __m512i uppers_;
};

}  // namespace tallydraw::TALLYDRAW_ISA

#else

namespace tallydraw::TALLYDRAW_ISA {

constexpr index most_searched = 0;

}  // namespace tallydraw::TALLYDRAW_ISA

#endif
