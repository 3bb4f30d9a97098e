// N doubles side by side, computed with lane by lane: in vector registers, as many as they take.
#pragma once

#include <cstdint>
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
  typedef std::int64_t words __attribute__((vector_size(width * sizeof(double))));
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
  void fill(double other) noexcept {
    for (int i = 0; i < parts; ++i) (value[i] = lanes{}) += other;
  }
  /// The smaller ones.
  void lower(const doubles& other) noexcept {
#if defined(__GNUC__)
    for (int i = 0; i < parts; ++i) value[i] = other.value[i] < value[i] ? other.value[i] : value[i];
#else
    for (int i = 0; i < parts; ++i)
      for (int l = 0; l < width; ++l)
        if (other.value[i].lane[l] < value[i].lane[l]) value[i].lane[l] = other.value[i].lane[l];
#endif
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
  /// `other` where the bits of `set` are set, lane 0 the lowest.
  void take(std::uint32_t set, const doubles& other) noexcept {
    for (int i = 0; i < parts; ++i) {
      const std::uint32_t own_set = set >> (i * width);
#if defined(TALLYDRAW_MASKED_DOUBLES)
      if constexpr (width == 8) {
        value[i] = reinterpret_cast<lanes>(_mm512_mask_mov_pd(reinterpret_cast<__m512d>(value[i]),
                                                              static_cast<__mmask8>(own_set),
                                                              reinterpret_cast<__m512d>(other.value[i])));
        continue;
      }
#endif
#if defined(__GNUC__)
      std::int64_t one[width];
      for (int l = 0; l < width; ++l) one[l] = std::int64_t{1} << l;
      words bit, met{};
      std::memcpy(&bit, one, sizeof bit);
      met += own_set;
      met = reinterpret_cast<words>((met & bit) == bit);  // all bits, or none
      const words own = reinterpret_cast<words>(value[i]), others = reinterpret_cast<words>(other.value[i]);
      value[i] = reinterpret_cast<lanes>((own & ~met) | (others & met));
#else
      for (int l = 0; l < width; ++l)
        if (own_set >> l & 1) value[i].lane[l] = other.value[i].lane[l];
#endif
    }
  }
  void multiply(const doubles& by) noexcept {
    for (int i = 0; i < parts; ++i) value[i] *= by.value[i];
  }
  /// Over `by`; zeros where that is zero, as these then are.
  void divide_or_zero(const doubles& by) noexcept {
    for (int i = 0; i < parts; ++i) {
      double own[width], others[width];
      std::memcpy(own, &value[i], sizeof own);
      std::memcpy(others, &by.value[i], sizeof others);
      for (int l = 0; l < width; ++l) own[l] = own[l] / (others[l] == 0.0 ? 1.0 : others[l]);
      std::memcpy(&value[i], own, sizeof own);
    }
  }
  /// Zeros where the bits of `set` are not set.
  void keep(std::uint32_t set) noexcept {
    const doubles own = *this;
    *this = {};
    take(set, own);
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
  void multiply(const doubles& by) noexcept { value *= by.value; }
  void divide_or_zero(const doubles& by) noexcept { value /= by.value == 0.0 ? 1.0 : by.value; }
  void add_to_all(double other) noexcept { value += other; }
  void keep_above(double least) noexcept { value = value > least ? value : 0.0; }
  void add_to(double* to) const noexcept { *to += value; }
};

/// The doubles of eight whose bits in `set` are set, one after the other; `to` has room for eight.
inline void pack(const double* from, std::uint8_t set, double* to) noexcept {
#if defined(TALLYDRAW_MASKED_DOUBLES)
  _mm512_storeu_pd(to, _mm512_maskz_compress_pd(set, _mm512_loadu_pd(from)));
#else
  for (int i = 0; i < 8; ++i)
    if (set >> i & 1) *to++ = from[i];
#endif
}

/// to[i] += the next of `from`, for the bits i < 8 of `set` that are set; `from` has eight.
inline void add_packed(const double* from, std::uint8_t set, double* to) noexcept {
#if defined(TALLYDRAW_MASKED_DOUBLES)
  _mm512_storeu_pd(to, _mm512_add_pd(_mm512_loadu_pd(to), _mm512_maskz_expand_pd(set, _mm512_loadu_pd(from))));
#else
  for (int i = 0; i < 8; ++i)
    if (set >> i & 1) to[i] += *from++;
#endif
}

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
