// N doubles side by side that are added lane by lane: in vector registers, as many as they take.
#pragma once

#include <cstring>

#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

template <int N>
struct doubles {
#if defined(__GNUC__)
  typedef double lanes __attribute__((vector_size(N * sizeof(double))));
#else
  struct lanes {
    double lane[N];
    void operator+=(const lanes& other) noexcept {
      for (int i = 0; i < N; ++i) lane[i] += other.lane[i];
    }
  };
#endif
  lanes value;

  void load(const double* from) noexcept { std::memcpy(&value, from, sizeof value); }
  void store(double* to) const noexcept { std::memcpy(to, &value, sizeof value); }
  void add(const double* from) noexcept {
    lanes other;
    std::memcpy(&other, from, sizeof other);
    value += other;
  }
};

template <>
struct doubles<1> {
  double value;

  void load(const double* from) noexcept { value = *from; }
  void store(double* to) const noexcept { *to = value; }
  void add(const double* from) noexcept { value += *from; }
};

}  // namespace tallydraw::TALLYDRAW_ISA
