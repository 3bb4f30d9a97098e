// Draws from table rows of few levels, 32 in a vector, by halving in registers: where the processor has the
// instructions, TALLYDRAW_WIDE_SEARCH is defined.
//
// The levels of a table row are a complete tree of medians, and step s of a search asks for one of 2^s of them. Those of
// all table rows lie one after the other in a table of registers. A place in it, doubled, and one more where the draw is
// above the level there, is the place in the table of the next step; the last one counts the levels below the draw.
#pragma once

#include <cstdint>

#include "tallydraw/attributes.hpp"
#include "tallydraw/views.hpp"

#if defined(__AVX512BW__) && defined(__AVX512VL__)
#include <immintrin.h>

#define TALLYDRAW_WIDE_SEARCH 1

namespace tallydraw::TALLYDRAW_ISA {

/// Categories of one table row, of which the upper 16 bits of all levels are in registers.
constexpr index most_searched = 512;

/// Draws of a vector; several vectors go side by side, since each waits long for its last step.
constexpr index searched_together = 32;

/// At most 2^(Bits - Steps) table rows of at most 2^Steps categories.
template <int Steps, int Bits>
class wide_search {
 public:
  /// high: the upper 32 bits of the n levels of so many table rows. All bits of the last one are set, and of what fills a
  /// table row up: no word is above.
  wide_search(const std::uint32_t* high, index n, index rows) {
    constexpr index width = index{1} << Steps;
    __m512i level[parts(Bits)];
    if (rows == 1 || n == width) {
      for (int i = 0; i < parts(Bits); ++i) {
        const index from = searched_together * i;
        level[i] = every(2, 1, some_of(high, from, rows * n), some_of(high, from + 16, rows * n));
      }
    } else {
      alignas(64) std::uint16_t upper[searched_together * parts(Bits)] = {};
      for (index r = 0; r < rows; ++r)
        for (index c = 0; c < width; c += 16)
          _mm256_mask_storeu_epi16(
              upper + r * width + c, static_cast<__mmask16>(width < 16 ? (1 << width) - 1 : 0xFFFF),
              _mm512_maskz_cvtepi32_epi16(0xFFFF, _mm512_maskz_srli_epi32(0xFFFF, some_of(high + r * n, c, n), 16)));
      for (int i = 0; i < parts(Bits); ++i) level[i] = _mm512_load_si512(upper + searched_together * i);
    }
    split<Steps - 1>(level);
  }

  /// out[i] = how many levels of table row rows[i] (null: 0) are below words[i], by their upper halves, for i < n. Bit i
  /// mod 32 of open[i / 32] is set where these are those of a level. words and rows are readable up to a multiple of 32.
  template <class T>
  TALLYDRAW_INTO void find(const std::uint32_t* words, const std::uint8_t* rows, index n, T* out,
                           std::uint32_t* open) const {
    constexpr index one = searched_together, four = 4 * one;
    const wide_search own = *this;  // in registers: outcomes are bytes, which may alias whatever is behind `this`
    const auto of = [=](index i) { return Steps == Bits ? nullptr : rows + i; };
    index i = 0;
    for (; i + four <= n; i += four) own.template some<4>(words + i, of(i), out + i, open + i / one);
    for (; i + one <= n; i += one) own.template some<1>(words + i, of(i), out + i, open + i / one);
    if (i < n) own.template some<1>(words + i, of(i), out + i, open + i / one, all >> (one - (n - i)));
  }

 private:
  static constexpr std::uint32_t all = ~std::uint32_t{0};

  /// Registers of 2^bits levels.
  static constexpr int parts(int bits) { return bits > 5 ? 1 << (bits - 5) : 1; }
  /// The bits of a place in the table of step s, and the first register of that.
  static constexpr int bits_of(int s) { return Bits - Steps + s; }
  static constexpr int begin(int s) { return s == 0 ? 0 : begin(s - 1) + parts(bits_of(s - 1)); }

  /// 16 levels of n, from `from` on; all bits of those past the last.
  static __m512i some_of(const std::uint32_t* high, index from, index n) {
    const __m512i none = _mm512_set1_epi32(-1);
    if (from >= n) return none;
    const auto there = static_cast<__mmask16>(n - from >= 16 ? 0xFFFF : (1 << (n - from)) - 1);
    return _mm512_mask_loadu_epi32(none, there, high + from);
  }

  /// Lanes first, first + by, … of two times 32, mod 64.
  static __m512i every(int by, int first, __m512i a, __m512i b) {
    std::uint16_t lane[searched_together];
    for (int i = 0; i < searched_together; ++i) lane[i] = static_cast<std::uint16_t>(first + by * i);
    return _mm512_permutex2var_epi16(a, _mm512_loadu_si512(lane), b);
  }

  /// The tables of steps s, s - 1, …, 0. That of step s has every other level, and those between are the levels of the
  /// steps before: in one or two registers they stay where they are, `by` apart.
  template <int s, int by = 1>
  void split(const __m512i* level) {
    constexpr int size = parts(bits_of(s));
    if constexpr (bits_of(s) > 5) {
      __m512i rest[size];
      for (int i = 0; i < size; ++i) {
        table_[begin(s) + i] = every(2, 0, level[2 * i], level[2 * i + 1]);
        rest[i] = every(2, 1, level[2 * i], level[2 * i + 1]);
      }
      if constexpr (s > 0) split<s - 1>(rest);
    } else {
      constexpr int last = (by << bits_of(s)) > 16 ? 1 : 0;  // of by 2^(bits_of(s) + 1) levels
      table_[s] = every(2 * by, by - 1, level[0], level[last]);
      if constexpr (s > 0) split<s - 1, 2 * by>(level);
    }
  }

  /// table[place], of 2^bits levels.
  template <int bits>
  static __m512i at(const __m512i* table, __m512i place) {
    if constexpr (bits <= 5) {
      return _mm512_maskz_permutexvar_epi16(all, place, table[0]);
    } else if constexpr (bits == 6) {
      return _mm512_permutex2var_epi16(table[0], place, table[1]);
    } else {
      const __mmask32 upper = _mm512_test_epi16_mask(place, _mm512_set1_epi16(1 << (bits - 1)));
      return _mm512_mask_blend_epi16(upper, at<bits - 1>(table, place), at<bits - 1>(table + parts(bits - 1), place));
    }
  }

  /// Steps s, s + 1, … of N vectors of words; `next` is the least level met that is not below.
  template <int s, int N>
  void descend(const __m512i* words, __m512i* place, __m512i* next) const {
    for (int k = 0; k < N; ++k) {
      const __m512i level = at<bits_of(s)>(table_ + begin(s), place[k]);
      const __mmask32 above = _mm512_cmpgt_epu16_mask(words[k], level);
      next[k] = _mm512_mask_blend_epi16(above, level, next[k]);
      place[k] = _mm512_add_epi16(place[k], place[k]);
      place[k] = _mm512_mask_add_epi16(place[k], above, place[k], _mm512_set1_epi16(1));
    }
    if constexpr (s + 1 < Steps) descend<s + 1, N>(words, place, next);
  }

  template <int N, class T>
  void some(const std::uint32_t* words, const std::uint8_t* rows, T* out, std::uint32_t* open,
            __mmask32 asked = all) const {
    __m512i w[N], place[N], next[N];
    for (int k = 0; k < N; ++k) {
      const std::uint32_t* const from = words + k * searched_together;
      w[k] = every(2, 1, _mm512_loadu_si512(from), _mm512_loadu_si512(from + searched_together / 2));
      next[k] = _mm512_set1_epi16(-1);
      place[k] = _mm512_setzero_si512();
      if constexpr (Steps < Bits)
        place[k] = _mm512_maskz_cvtepu8_epi16(
            all, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows + k * searched_together)));
    }
    descend<0, N>(w, place, next);
    for (int k = 0; k < N; ++k) {
      if (Steps < Bits) place[k] = _mm512_and_si512(place[k], _mm512_set1_epi16((1 << Steps) - 1));
      open[k] = _mm512_mask_cmpeq_epi16_mask(asked, w[k], next[k]);
      T* const to = out + k * searched_together;
      if constexpr (sizeof(T) == 1)
        _mm256_mask_storeu_epi8(to, asked, _mm512_maskz_cvtepi16_epi8(all, place[k]));
      else
        _mm512_mask_storeu_epi16(to, asked, place[k]);
    }
  }

  __m512i table_[begin(Steps)];
};

}  // namespace tallydraw::TALLYDRAW_ISA

#else

namespace tallydraw::TALLYDRAW_ISA { constexpr index most_searched = 0; }  // namespace tallydraw::TALLYDRAW_ISA

#endif
