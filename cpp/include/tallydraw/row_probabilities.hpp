// Estimates of table rows, theta_c = (n_c + alpha) / (N + C alpha): the commonest of what Tables.normalize does.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Adds `more` to all weights, makes those of rows of zeros ones, and divides each row by its sum, which runs from left
/// to right. False where a row is none that divides: negative, not finite, or integers that could pass 2^62 in sum.
template <class Weight>
inline bool row_probabilities_of(const structure_view& s, Weight* weights, Weight more, double* theta) {
  bool good = true;
  for (index j = 0; j < s.d; ++j) {
    const index c = s.n_categories[j], rows = s.n_classes * s.n_contexts[j];
    Weight most = std::numeric_limits<Weight>::max();
    if constexpr (std::is_integral_v<Weight>) most = (Weight{1} << 62) / c;
    for (index r = 0; r < rows; ++r, weights += c, theta += c) {
      bool in_range = more <= most, empty = true;
      for (index b = 0; b < c; ++b) in_range = in_range && weights[b] >= 0 && weights[b] <= most - more;
      good = good && in_range;
      if (!in_range) continue;
      for (index b = 0; b < c; ++b) {
        weights[b] += more;
        empty = empty && weights[b] == 0;
      }
      Weight total = 0;
      for (index b = 0; b < c; ++b) {
        if (empty) weights[b] = 1;
        total += weights[b];
      }
      good = good && total <= std::numeric_limits<Weight>::max();
      for (index b = 0; b < c; ++b) theta[b] = static_cast<double>(weights[b]) / static_cast<double>(total);
    }
  }
  return good;
}

/// One of `floats` and `integers` is null; `more` is whole for integers.
inline bool row_probabilities(const structure_view& s, double* floats, index* integers, double more, double* theta) {
  return floats ? row_probabilities_of(s, floats, more, theta)
                : row_probabilities_of(s, integers, static_cast<index>(more), theta);
}

}  // namespace tallydraw::TALLYDRAW_ISA
