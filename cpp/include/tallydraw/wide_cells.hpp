// Draws from one table row of few categories, 32 at once, by lookups in registers: the first six bits of a word name a
// cell, in which at most two levels lie, nearly always. Only for processors that have the instructions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tallydraw/levels.hpp"

#if defined(__AVX512BW__)
#include <immintrin.h>

namespace tallydraw::TALLYDRAW_ISA {

/// Of each cell the upper 16 bits of its levels, 2^16 - 1 where there is none, and the outcomes below, between and
/// above them, five bits each; the topmost bit marks a cell of more levels.
struct cell_table {
  static constexpr index cells = 64;
  static constexpr index most_categories = 32;
  static constexpr index most_open = 1;  // cells of more than two levels, whose words are searched for one by one
  static constexpr std::uint16_t open = 1 << 15;
  std::uint16_t first[cells];
  std::uint16_t second[cells];
  std::uint16_t outcomes[cells];
  bool usable = false;

  cell_table() = default;
  /// Of table row 0; only usable where f has 2 to most_categories categories.
  template <class T>
  explicit cell_table(const feature_levels<T>& f) {
    index c = 0;  // levels below the cell
    index crowded = 0;
    for (index i = 0; i < cells; ++i) {
      std::uint16_t level[2] = {UINT16_MAX, UINT16_MAX};
      index outcome[3] = {c, c, c};
      index met = 0;
      while (c < f.n - 1 && static_cast<index>(f.high[c] >> 26) == i) {
        const std::uint16_t upper = static_cast<std::uint16_t>(f.high[c] >> 16);
        if (met == 0 || (met < 3 && upper != level[met - 1])) {
          if (met < 2) level[met] = upper;
          ++met;
        }
        ++c;
        for (index k = met; k < 3; ++k) outcome[k] = c;
      }
      crowded += met == 3;
      first[i] = level[0];
      second[i] = level[1];
      outcomes[i] = static_cast<std::uint16_t>(outcome[0] | outcome[1] << 5 | outcome[2] << 10 | (met == 3 ? open : 0));
    }
    usable = crowded <= most_open;
  }
};

/// out[i] = the outcome of words[i] for i < n; low(i) gives the low word of draw i. `words` must be readable up to the
/// next multiple of 32.
template <class Low>
inline void outcomes_by_cells(const feature_levels<std::uint8_t>& f, const cell_table& table,
                              const std::uint32_t* words, index n, std::uint8_t* out, const Low& low) {
  constexpr index group = 32;
  std::uint16_t odd[group];
  for (index i = 0; i < group; ++i) odd[i] = static_cast<std::uint16_t>(2 * i + 1);
  const __m512i uppers = _mm512_loadu_si512(odd);
  const __m512i first[2] = {_mm512_loadu_si512(table.first), _mm512_loadu_si512(table.first + group)};
  const __m512i second[2] = {_mm512_loadu_si512(table.second), _mm512_loadu_si512(table.second + group)};
  const __m512i outcomes[2] = {_mm512_loadu_si512(table.outcomes), _mm512_loadu_si512(table.outcomes + group)};
  const __m512i five = _mm512_set1_epi16(5);
  const __m512i mask = _mm512_set1_epi16(31);
  for (index i = 0; i < n; i += group) {
    const __m512i w =
        _mm512_permutex2var_epi16(_mm512_loadu_si512(words + i), uppers, _mm512_loadu_si512(words + i + 16));
    const __m512i cell = _mm512_srli_epi16(w, 10);
    const __m512i a = _mm512_permutex2var_epi16(first[0], cell, first[1]);
    const __m512i b = _mm512_permutex2var_epi16(second[0], cell, second[1]);
    const __m512i o = _mm512_permutex2var_epi16(outcomes[0], cell, outcomes[1]);
    const __m512i above_first = _mm512_maskz_mov_epi16(_mm512_cmpgt_epu16_mask(w, a), five);
    const __m512i shift = _mm512_mask_add_epi16(above_first, _mm512_cmpgt_epu16_mask(w, b), above_first, five);
    const __m512i c = _mm512_and_si512(_mm512_srlv_epi16(o, shift), mask);
    // The outcome is open where the upper bits are those of a level, and in a crowded cell.
    std::uint32_t undecided = _mm512_cmpeq_epi16_mask(w, a) | _mm512_cmpeq_epi16_mask(w, b) | _mm512_movepi16_mask(o);
    std::uint8_t found[group];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(found), _mm512_maskz_cvtepi16_epi8(~__mmask32{0}, c));
    const index size = n - i < group ? n - i : group;
    for (; undecided != 0; undecided &= undecided - 1) {
      const index k = static_cast<index>(_tzcnt_u32(undecided));
      if (k >= size) break;
      const std::uint32_t word = words[i + k];
      const index candidate = table.outcomes[word >> 26] & 31;
      found[k] = static_cast<std::uint8_t>(outcome_from(f, 0, candidate, word, low, i + k));
    }
    if (size == group)
      std::memcpy(out + i, found, group);
    else
      std::memcpy(out + i, found, static_cast<std::size_t>(size));
  }
}

}  // namespace tallydraw::TALLYDRAW_ISA

#else

namespace tallydraw::TALLYDRAW_ISA {

struct cell_table {
  static constexpr index most_categories = 0;
  bool usable = false;

  cell_table() = default;
  template <class T>
  explicit cell_table(const feature_levels<T>&) {}
};

template <class Low>
inline void outcomes_by_cells(const feature_levels<std::uint8_t>&, const cell_table&, const std::uint32_t*, index,
                              std::uint8_t*, const Low&) {}

}  // namespace tallydraw::TALLYDRAW_ISA

#endif
