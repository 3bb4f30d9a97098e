// N doubles side by side, added and multiplied lane by lane: in vector registers, as many as they take.
#pragma once

#include <cstring>

#include "tallydraw/views.hpp"
#include "tallydraw/wide.hpp"

#if defined(__GNUC__) && defined(__AVX512F__)
#include <immintrin.h>
#define TALLYDRAW_MASKED_DOUBLES 1
#endif

namespace tallydraw::TALLYDRAW_ISA {

template <int N>
struct doubles {
  static constexpr int width = N < wide_lanes ? N : static_cast<int>(wide_lanes);  // of a register
  static constexpr int parts = N / width;
#if defined(__GNUC__)
  typedef double lanes __attribute__((vector_size(width * sizeof(double))));
#else
  struct lanes {
    double lane[width];
    void operator+=(const lanes& other) noexcept {
      for (int i = 0; i < width; ++i) lane[i] += other.lane[i];
    }
    void operator+=(double other) noexcept {
      for (int i = 0; i < width; ++i) lane[i] += other;
    }
    void operator*=(const lanes& other) noexcept {
      for (int i = 0; i < width; ++i) lane[i] *= other.lane[i];
    }
    void operator*=(double by) noexcept {
      for (int i = 0; i < width; ++i) lane[i] *= by;
    }
  };
#endif
  lanes value[parts];

  void load(const double* from) noexcept {
    for (int i = 0; i < parts; ++i) std::memcpy(&value[i], from + i * width, sizeof(lanes));
  }
  void store(double* to) const noexcept {
    for (int i = 0; i < parts; ++i) std::memcpy(to + i * width, &value[i], sizeof(lanes));
  }
  void add(const double* from) noexcept {
    for (int i = 0; i < parts; ++i) {
      lanes other;
      std::memcpy(&other, from + i * width, sizeof other);
      value[i] += other;
    }
  }
  void add(const doubles& other) noexcept {
    for (int i = 0; i < parts; ++i) value[i] += other.value[i];
  }
  void multiply(const double* by) noexcept {
    for (int i = 0; i < parts; ++i) {
      lanes other;
      std::memcpy(&other, by + i * width, sizeof other);
      value[i] *= other;
    }
  }
  void multiply(double by) noexcept {
    for (int i = 0; i < parts; ++i) value[i] *= by;
  }
  void add_to_all(double other) noexcept {
    for (int i = 0; i < parts; ++i) value[i] += other;
  }
  /// Zeros where it is not greater than `least`.
  void keep_above(double least) noexcept {
#if defined(__GNUC__)
    for (int i = 0; i < parts; ++i) {
      const auto kept = value[i] > least;  // all bits, or none
      value[i] = reinterpret_cast<lanes>(reinterpret_cast<decltype(kept)>(value[i]) & kept);
    }
#else
    for (int i = 0; i < parts; ++i)
      for (double& x : value[i].lane) x = x > least ? x : 0.0;
#endif
  }
  /// Of two doubles.
  void add(double first, double second) noexcept {
    static_assert(N == 2);
    const double other[2] = {first, second};
    add(other);
  }
  /// The first n < N only; what is not loaded is zero.
  void load_some(const double* from, index n) noexcept {
#if defined(TALLYDRAW_MASKED_DOUBLES)
    if constexpr (N == 8) {
      value[0] = reinterpret_cast<lanes>(_mm512_maskz_loadu_pd(static_cast<__mmask8>((1 << n) - 1), from));
      return;
    }
#endif
    double some[N] = {};
    for (index i = 0; i < n; ++i) some[i] = from[i];
    load(some);
  }
  void store_some(double* to, index n) const noexcept {
#if defined(TALLYDRAW_MASKED_DOUBLES)
    if constexpr (N == 8) {
      _mm512_mask_storeu_pd(to, static_cast<__mmask8>((1 << n) - 1), reinterpret_cast<__m512d>(value[0]));
      return;
    }
#endif
    double some[N];
    store(some);
    for (index i = 0; i < n; ++i) to[i] = some[i];
  }
  void add_to(double* to) const noexcept {
    for (int i = 0; i < parts; ++i) {
      lanes sum;
      std::memcpy(&sum, to + i * width, sizeof sum);
      sum += value[i];
      std::memcpy(to + i * width, &sum, sizeof sum);
    }
  }
};

template <>
struct doubles<1> {
  double value;

  void load(const double* from) noexcept { value = *from; }
  void store(double* to) const noexcept { *to = value; }
  void add(const double* from) noexcept { value += *from; }
  void add(const doubles& other) noexcept { value += other.value; }
  void multiply(const double* by) noexcept { value *= *by; }
  void multiply(double by) noexcept { value *= by; }
  void add_to_all(double other) noexcept { value += other; }
  void keep_above(double least) noexcept { value = value > least ? value : 0.0; }
  void add_to(double* to) const noexcept { *to += value; }
};

/// to[i] += from[i] for i < N.
template <int N>
inline void add_some(const double* from, double* to) noexcept {
  doubles<N> v;
  v.load(from);
  v.add_to(to);
}

/// to[i] += from[i] for i < n.
inline void add_vector(const double* from, index n, double* to) noexcept {
  index k = 0;
  for (; k + 8 <= n; k += 8) add_some<8>(from + k, to + k);
  if (n & 4) add_some<4>(from + k, to + k), k += 4;
  if (n & 2) add_some<2>(from + k, to + k), k += 2;
  if (n & 1) to[k] += from[k];
}

}  // namespace tallydraw::TALLYDRAW_ISA
