// Rows of codes into columns of codes, or back, by interleaving halves: whole vectors, in any instruction set.
#pragma once

#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// to[i * outer + o] = from[o * inner + i]. `outer` is a power of two: each pass interleaves the two halves, which
/// moves one bit of o below i. Both buffers are overwritten; returns the one that holds the result.
template <class T>
inline const T* transpose(T* from, T* to, index outer, index inner) {
  if (inner == 1) return from;
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
