// Where draws go: the smallest unsigned type that holds them.
#pragma once

#include <cstdint>

#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// f(p), p being the outcomes' first cell in their own type.
template <class Function>
inline void with_outcomes(outcomes_view out, Function&& f) {
  switch (out.type) {
    case outcome_type::u8: f(static_cast<std::uint8_t*>(out.data)); break;
    case outcome_type::u16: f(static_cast<std::uint16_t*>(out.data)); break;
    case outcome_type::u32: f(static_cast<std::uint32_t*>(out.data)); break;
    case outcome_type::u64: f(static_cast<std::uint64_t*>(out.data)); break;
  }
}

}  // namespace tallydraw::TALLYDRAW_ISA
