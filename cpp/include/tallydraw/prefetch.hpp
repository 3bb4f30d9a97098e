// A hint to bring a cache line near; no effect on any result.
#pragma once

#include "tallydraw/views.hpp"

#if defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
#include <xmmintrin.h>
#endif

namespace tallydraw::TALLYDRAW_ISA {

inline void prefetch(const void* p) noexcept {
#if defined(__GNUC__)
  __builtin_prefetch(p);
#elif defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
#else
  (void)p;
#endif
}

/// The same, no nearer than the second level.
inline void prefetch_far(const void* p) noexcept {
#if defined(__GNUC__)
  __builtin_prefetch(p, 0, 2);
#elif defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1);
#else
  (void)p;
#endif
}

/// Brings a stretch of memory near, some lines at a time.
struct ahead {
  const char* at;
  const char* end;
  index lines;

  ahead(const void* from, const void* to, index calls)
      : at(static_cast<const char*>(from)),
        end(static_cast<const char*>(to)),
        lines(((end - at) / 64 + calls) / calls) {}
  void some() noexcept {
    for (index i = 0; i < lines && at < end; ++i, at += 64) prefetch_far(at);
  }
};

}  // namespace tallydraw::TALLYDRAW_ISA
