// Tables of doubles in registers, eight in each, looked up by eight indices at once: where the processor has that
// instruction, TALLYDRAW_WIDE_LOOKUP is defined.
#pragma once

#include <cstdint>

#include "tallydraw/views.hpp"
#include "tallydraw/wide.hpp"

#if defined(__AVX512F__)

namespace tallydraw::TALLYDRAW_ISA {

// wide_bytes:   eight bytes as 64-bit lanes
// wide_codes:   eight codes of one or two bytes, the same
// wide_lookup:  table[at] in every lane, of a table in one, two or four registers

#define TALLYDRAW_WIDE_LOOKUP 1
using wide_double = __m512d;
inline wide wide_codes(const std::uint16_t* p) {
  return _mm512_maskz_cvtepu16_epi64(0xFF, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline wide wide_bytes(const std::uint8_t* p) {
  return _mm512_maskz_cvtepu8_epi64(0xFF, _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
inline wide wide_codes(const std::uint8_t* p) { return wide_bytes(p); }
inline wide_double wide_double_set(double v) { return _mm512_set1_pd(v); }
inline wide_double wide_double_add(wide_double a, wide_double b) { return _mm512_add_pd(a, b); }
inline wide_double wide_double_load(const double* p) { return _mm512_loadu_pd(p); }
inline wide_double wide_lookup(wide_double table, wide at) { return _mm512_maskz_permutexvar_pd(0xFF, at, table); }
template <int Parts>
inline wide_double wide_lookup(const wide_double (&table)[Parts], wide at) {
  static_assert(Parts == 1 || Parts == 2 || Parts == 4);
  if constexpr (Parts == 1) return wide_lookup(table[0], at);
  const wide_double low = _mm512_permutex2var_pd(table[0], at, table[Parts > 1 ? 1 : 0]);
  if constexpr (Parts < 4) return low;
  const wide_double high = _mm512_permutex2var_pd(table[Parts > 2 ? 2 : 0], at, table[Parts > 2 ? 3 : 0]);
  return _mm512_mask_blend_pd(_mm512_test_epi64_mask(at, _mm512_set1_epi64(16)), low, high);
}
inline void wide_double_store(wide_double v, double* to) { _mm512_storeu_pd(to, v); }

}  // namespace tallydraw::TALLYDRAW_ISA

#endif
