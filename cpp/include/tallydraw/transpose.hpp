// Columns of codes into rows of codes, by interleaving halves: whole vectors at a time, in any instruction set.
#pragma once

#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Rows of `features` columns of `rows` codes each: to[r * features + f] = from[f * rows + r]. `features` is a power of
/// two: each pass interleaves the two halves, which moves one bit of f below r. Both buffers are overwritten; returns
/// the one that holds the result.
template <class T>
inline const T* columns_to_rows(T* from, T* to, index features, index rows) {
  if (rows == 1) return from;
  const index half = features * rows / 2;
  for (; features > 1; features /= 2) {
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
