// One draw from each row of a matrix of weights, by the contract of levels without making a level.
//
// The outcome of a uniform u is the first c with u < L_c (see levels.hpp). Two stages a row: running sums, left to
// right, that leave a mark every few columns; then the one stretch between two marks that holds the crossing. Several
// rows are summed side by side, since one running sum is a chain of additions that each wait for the last.
// Integers cross exactly where cum_c >= ceil((u + 1) N / 2^64). For floats, no S_c below u 2^-64 S lowered by 2^-50 can
// have u < L_c, whatever was rounded; from the first one that is not below, the contract's division decides.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tallydraw/elementary.hpp"
#include "tallydraw/outcomes.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/philox.hpp"
#include "tallydraw/prefetch.hpp"
#include "tallydraw/views.hpp"
#include "tallydraw/wide.hpp"

namespace tallydraw::TALLYDRAW_ISA {

namespace rows {

constexpr index together = 8;      // rows summed side by side
constexpr index block = 8;         // columns turned at once
constexpr index most_marks = 256;  // of a row
constexpr index most_narrow = 64;  // columns of a row whose running sums are all kept
constexpr index far_row = 4096;    // columns of a row in which what comes next is fetched ahead, not the next rows,
constexpr index far_ahead = 256;   // and so many columns ahead
constexpr index chunk = 128;       // draws whose words are made at once
constexpr index grain = 1 << 19;   // weights a thread takes at once

/// The high half of a * b.
inline std::uint64_t product_high(std::uint64_t a, std::uint64_t b, std::uint64_t* low) noexcept {
  const std::uint64_t a0 = a & 0xFFFFFFFF, a1 = a >> 32, b0 = b & 0xFFFFFFFF, b1 = b >> 32;
  const std::uint64_t p00 = a0 * b0, p01 = a0 * b1, p10 = a1 * b0, p11 = a1 * b1;
  const std::uint64_t middle = (p00 >> 32) + (p01 & 0xFFFFFFFF) + (p10 & 0xFFFFFFFF);
  *low = (middle << 32) | (p00 & 0xFFFFFFFF);
  return p11 + (p01 >> 32) + (p10 >> 32) + (middle >> 32);
}

/// A careful_row's answer: an outcome, or the place of what forbids one (column C: the sum).
struct answer {
  index column;
  bool bad;
};

/// int64 weights: exact sums.
struct integers {
  using weight = index;
  using sum = std::uint64_t;

  static sum widen(weight w) noexcept { return static_cast<sum>(w); }

  /// No negative weight, a positive sum, and no overflow, from the total (mod 2^64) and the or of the weights' bits
  /// alone; false where these do not tell. Each of C weights is at most `any`, so their sum is below 2^63 where any * C
  /// is.
  static bool plain(sum total, std::uint64_t any, index C) noexcept {
    int log2 = 0;
    while ((std::uint64_t{1} << log2) < static_cast<std::uint64_t>(C)) ++log2;
    return ((any >> (63 - log2)) == 0) & (total > 0);
  }

  /// The outcome is the first c whose running sum is not below this.
  static sum threshold(std::uint64_t u, sum total) noexcept {
    std::uint64_t low;
    const std::uint64_t high = product_high(u + 1, total, &low);
    return high + (low != 0);
  }

  static std::uint64_t level(sum, sum) noexcept { return UINT64_MAX; }
  static index decide(const weight*, index c, sum, sum, std::uint64_t) noexcept { return c; }

  static answer careful_row(const weight* w, index C, std::uint64_t u) noexcept {
    for (index c = 0; c < C; ++c)
      if (w[c] < 0) return {c, true};
    sum total = 0;
    for (index c = 0; c < C; ++c) {
      total += widen(w[c]);
      if (total >> 63) return {C, true};
    }
    if (total == 0) return {C, true};
    const sum t = threshold(u, total);
    index c = 0;
    for (sum s = widen(w[0]); s < t; s += widen(w[c])) ++c;
    return {c, false};
  }
};

/// float64 weights: running sums left to right.
struct floats {
  using weight = double;
  using sum = double;

  static sum widen(weight w) noexcept { return w; }

  /// Finite, non-negative, a sum that neither overflows nor comes near the subnormals; false where this is not certain.
  static bool plain(sum total, std::uint64_t any, index) noexcept {
    return ((any >> 63) == 0) & (total > 0x1p-900) & (total <= 0x1.fffffffffffffp1023);
  }

  /// No c whose running sum is below this is the outcome: three roundings of 2^-53 cannot make up for 2^-50.
  static sum threshold(std::uint64_t u, sum total) noexcept {
    return static_cast<double>(static_cast<std::int64_t>(u >> 1)) * ((1.0 - 0x1p-50) * 0x1p-63) * total;
  }

  /// The level of a running sum: floor(2^64 s / total), and the greatest number for the total itself. No branch: several
  /// are asked at once. From 2^-10 on a level is even.
  static std::uint64_t level(sum s, sum total) noexcept {
    constexpr double below_one = 0x1.fffffffffffffp-1;
    const double q = s / total;
    const double little = elementary::select(q < 0x1p-10, q, 0.0);
    const double most = elementary::select(q < below_one, q, below_one);
    const auto odd = static_cast<std::uint64_t>(static_cast<std::int64_t>(little * 0x1p64));
    const auto half = static_cast<std::uint64_t>(static_cast<std::int64_t>(most * 0x1p63));
    const auto small = 0 - std::uint64_t{q < 0x1p-10}, top = 0 - std::uint64_t{s == total};
    return top | (odd & small) | (2 * half & ~small);
  }

  /// The outcome, from column c on; `before` is the running sum of the columns before c.
  static index decide(const weight* w, index c, sum before, sum total, std::uint64_t u) noexcept {
    for (sum s = before + w[c]; u >= level(s, total); s += w[c]) ++c;
    return c;
  }

  static answer careful_row(const weight* w, index C, std::uint64_t u) noexcept {
    for (index c = 0; c < C; ++c)
      if (!(w[c] >= 0.0 && w[c] <= 0x1.fffffffffffffp1023)) return {c, true};
    double scale = 1.0;
    sum total = 0.0;
    for (index c = 0; c < C; ++c) total += w[c];
    if (total > 0x1.fffffffffffffp1023) {
      scale = 0x1p-64;
      total = 0.0;
      for (index c = 0; c < C; ++c) total += w[c] * scale;
    }
    if (!(total > 0.0)) return {C, true};
    index c = 0;
    for (sum s = w[0] * scale; u >= level(s, total); s += w[c] * scale) ++c;
    return {c, false};
  }
};

/// columns[c][l] = row[l][begin + c] for c < block, in tiles as wide as a vector.
template <class T, class U>
inline void turn_tiles(const T* const* row, index begin, U (*columns)[together]) noexcept {
#if defined(__AVX2__)
  for (index l = 0; l < together; l += 4)
    for (index c = 0; c < block; c += 4) {
      __m256i v[4];
      for (index i = 0; i < 4; ++i) v[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row[l + i] + begin + c));
      const __m256i a = _mm256_unpacklo_epi64(v[0], v[1]), b = _mm256_unpackhi_epi64(v[0], v[1]);
      const __m256i d = _mm256_unpacklo_epi64(v[2], v[3]), e = _mm256_unpackhi_epi64(v[2], v[3]);
      const auto store = [&](index i, __m256i u) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(columns[c + i] + l), u);
      };
      store(0, _mm256_permute2x128_si256(a, d, 0x20));
      store(1, _mm256_permute2x128_si256(b, e, 0x20));
      store(2, _mm256_permute2x128_si256(a, d, 0x31));
      store(3, _mm256_permute2x128_si256(b, e, 0x31));
    }
#elif defined(__x86_64__) || defined(_M_X64)
  for (index l = 0; l < together; l += 2)
    for (index c = 0; c < block; c += 2) {
      const auto load = [&](index i) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(row[l + i] + begin + c));
      };
      const auto store = [&](index i, __m128i u) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(columns[c + i] + l), u);
      };
      const __m128i u = load(0), v = load(1);
      store(0, _mm_unpacklo_epi64(u, v));
      store(1, _mm_unpackhi_epi64(u, v));
    }
#else
  for (index l = 0; l < together; ++l)
    for (index c = 0; c < block; ++c) columns[c][l] = static_cast<U>(row[l][begin + c]);
#endif
}

/// columns[c][l] = row[l][begin + c] for c < block, 0 from c = n on; what is at next[l] + begin comes nearer.
template <class T, class U>
inline void turn_rows(const T* const* row, const T* const* next, index begin, index n,
                      U (*columns)[together]) noexcept {
#if defined(__AVX512F__)
  static_assert(together == 8 && block == 8 && sizeof(T) == 8);
  const __m512i low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), high = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
  const auto asked = static_cast<__mmask8>(n < block ? (1 << n) - 1 : 0xFF);
  __m512i a[block], b[block];
  for (index l = 0; l < together; ++l) {
    prefetch(next[l] + begin);
    a[l] = _mm512_maskz_loadu_epi64(asked, row[l] + begin);
  }
  const auto interleave = [&](const __m512i* x, __m512i* y) {
    for (int i = 0; i < 4; ++i) {
      y[2 * i] = _mm512_permutex2var_epi64(x[i], low, x[i + 4]);
      y[2 * i + 1] = _mm512_permutex2var_epi64(x[i], high, x[i + 4]);
    }
  };
  interleave(a, b);
  interleave(b, a);
  interleave(a, b);
  for (index c = 0; c < block; ++c) _mm512_storeu_si512(columns[c], b[c]);
#else
  for (index l = 0; l < together; ++l) prefetch(next[l] + begin);
  if (n >= block) return turn_tiles(row, begin, columns);
  for (index l = 0; l < together; ++l)
    for (index c = 0; c < block; ++c) columns[c][l] = c < n ? static_cast<U>(row[l][begin + c]) : U{};
#endif
}

/// Running sums of rows side by side, and the or of the bits of all that was added.
template <class T>
struct running_sums {
#if defined(__GNUC__)
  static constexpr index width = wide_lanes;
  typedef T lanes __attribute__((vector_size(width * sizeof(T))));
  typedef std::uint64_t words __attribute__((vector_size(width * sizeof(T))));
#else
  static constexpr index width = 1;
  using lanes = T;
  using words = std::uint64_t;
#endif
  static constexpr index parts = together / width;
  lanes sum[parts];
  words any[parts];

  /// Adds a column of each, and leaves the sums in its place.
  void add(T* column) noexcept {
    for (index i = 0; i < parts; ++i) {
      lanes v;
      words u;
      std::memcpy(&v, column + i * width, sizeof v);
      std::memcpy(&u, column + i * width, sizeof u);
      sum[i] += v;
      any[i] |= u;
      std::memcpy(column + i * width, &sum[i], sizeof v);
    }
  }
  void store(T* sums, std::uint64_t* bits) const noexcept {
    std::memcpy(sums, sum, sizeof sum);
    std::memcpy(bits, any, sizeof any);
  }
};

/// Draws from rows row[0 … together): the outcomes, or what forbids one. Meanwhile what is at next[…] comes nearer.
template <class Rule>
inline void draw_together(const typename Rule::weight* const* row, const typename Rule::weight* const* next, index C,
                          const std::uint64_t* u, answer* drawn) noexcept {
  using sum = typename Rule::sum;
  const index stretch = C <= 16 * most_marks ? 16 : (C + most_marks - 1) / most_marks;
  const index n_marks = (C + stretch - 1) / stretch;

  // Running sums of all rows, each left to right; mark[k] holds them after the first k + 1 stretches.
  sum mark[most_marks][together];
  std::uint64_t any[together];
  running_sums<sum> running{};
  for (index k = 0; k < n_marks; ++k) {
    const index begin = k * stretch;
    const index end = begin + stretch < C ? begin + stretch : C;
    sum column[block][together];
    for (index c = begin; c < end; c += block) {
      turn_rows(row, next, c, end - c, column);
      for (index i = 0; i < block; ++i) running.add(column[i]);
    }
    running.store(mark[k], any);
  }

  // How many stretches end below the threshold. The last one never does.
  const sum(&total)[together] = mark[n_marks - 1];
  sum threshold[together];
  index passed[together] = {};
  for (index l = 0; l < together; ++l) threshold[l] = Rule::threshold(u[l], total[l]);
  for (index k = 0; k + 1 < n_marks; ++k)
    for (index l = 0; l < together; ++l) passed[l] += mark[k][l] < threshold[l];

  // The same sums again in the one stretch of each row: how many columns are below, and the sum before the first that
  // is not.
  for (index l = 0; l < together; ++l) {
    if (!Rule::plain(total[l], any[l], C)) {
      drawn[l] = Rule::careful_row(row[l], C, u[l]);
      continue;
    }
    const index begin = passed[l] * stretch;
    const index end = begin + stretch < C ? begin + stretch : C;
    const typename Rule::weight* w = row[l];
    sum s = passed[l] > 0 ? mark[passed[l] - 1][l] : sum{};
    sum before = s;
    index c = begin;
    for (index i = begin; i < end; ++i) {
      s += Rule::widen(w[i]);
      const bool below = s < threshold[l];
      before = below ? s : before;
      c += below;
    }
    drawn[l] = {Rule::decide(w, c, before, total[l], u[l]), false};
  }
}

/// The same for rows of at most most_narrow columns, whose running sums are kept, and compared in vectors.
template <class Rule>
inline void draw_narrow(const typename Rule::weight* const* row, const typename Rule::weight* const* next, index C,
                        const std::uint64_t* u, answer* drawn) noexcept {
  using sum = typename Rule::sum;
  sum column[most_narrow][together];
  running_sums<sum> running{};
  for (index c = 0; c < C; c += block) {
    turn_rows(row, next, c, C - c, column + c);
    for (index i = 0; i < block; ++i) running.add(column[c + i]);
  }
  sum total[together], threshold[together];
  std::uint64_t any[together];
  running.store(total, any);
  std::int64_t passed[together] = {};
  for (index l = 0; l < together; ++l) threshold[l] = Rule::threshold(u[l], total[l]);
  for (index c = 0; c < C; ++c)
    for (index l = 0; l < together; ++l) passed[l] += column[c][l] < threshold[l];

  // All at once, where nothing is strange and rounding took nothing from any; else one by one.
  index strange = 0;
  for (index l = 0; l < together; ++l) strange += Rule::plain(total[l], any[l], C) ? 0 : 1;
  if (strange == 0) {
    sum reached[together];
    std::uint64_t level[together];
    for (index l = 0; l < together; ++l) reached[l] = column[passed[l]][l];
    for (index l = 0; l < together; ++l) level[l] = Rule::level(reached[l], total[l]);
    for (index l = 0; l < together; ++l) strange += u[l] < level[l] ? 0 : 1;
    for (index l = 0; l < together; ++l) drawn[l] = {passed[l], false};
    if (strange == 0) return;
  }
  for (index l = 0; l < together; ++l) {
    if (!Rule::plain(total[l], any[l], C)) {
      drawn[l] = Rule::careful_row(row[l], C, u[l]);
      continue;
    }
    const sum before = passed[l] > 0 ? column[passed[l] - 1][l] : sum{};
    drawn[l] = {Rule::decide(row[l], passed[l], before, total[l], u[l]), false};
  }
}

template <class Rule>
inline void sample(const typename Rule::weight* weights, index C, const index* rows, index n, std::uint64_t key,
                   std::uint64_t start, outcomes_view out, int threads, first_index* bad) noexcept {
  // Rows that are fetched ahead lie this many draws on: far enough to hide the memory, near enough to stay in cache.
  const index draws_ahead = C >= 64 ? together : (512 / C + together) / together * together;
  const index share = (grain / (C < grain ? C : grain) + together - 1) / together * together;
  parallel_blocks(n, share, threads, [&](index first, index last, int) {
    for (index a = first; a < last; a += chunk) {
      const index m = last - a < chunk ? last - a : chunk;
      // Draw t is word t mod 4 of row t div 4: the words of the blocks that hold draws start + a … start + a + m - 1.
      const std::uint64_t t = start + static_cast<std::uint64_t>(a);
      const index skip = static_cast<index>(t % 4);
      std::uint32_t high[chunk + 4], low[chunk + 4];
      fill_flat(key, counter_tag(purpose::flat, 0), t / 4, (skip + m + 3) / 4, high);
      fill_flat(key, counter_tag(purpose::flat, 1), t / 4, (skip + m + 3) / 4, low);
      std::uint64_t uniform[chunk + together] = {};  // in vectors: what is stored one by one is read late
      for (index j = 0; j < m; ++j) uniform[j] = clamped(std::uint64_t{high[skip + j]} << 32 | low[skip + j]);
      index outcome[chunk];
      for (index i = 0; i < m; i += together) {
        const typename Rule::weight* row[together];
        const typename Rule::weight* next[together];
        index table[together];
        answer drawn[together];
        for (index l = 0; l < together; ++l) {
          const index j = i + l < m ? i + l : m - 1;
          const index after = a + j + draws_ahead < n ? a + j + draws_ahead : n - 1;
          table[l] = rows ? rows[a + j] : a + j;
          row[l] = weights + table[l] * C;
          next[l] = C >= far_row ? row[l] + far_ahead : weights + (rows ? rows[after] : after) * C;
        }
        if (C <= most_narrow)
          draw_narrow<Rule>(row, next, C, uniform + i, drawn);
        else
          draw_together<Rule>(row, next, C, uniform + i, drawn);
        for (index l = 0; l < together && i + l < m; ++l) {
          outcome[i + l] = drawn[l].column;
          if (drawn[l].bad) bad->report(table[l] * C + drawn[l].column);
        }
      }
      with_outcomes(out, [&](auto* to) {
        for (index i = 0; i < m; ++i) to[a + i] = static_cast<std::remove_pointer_t<decltype(to)>>(outcome[i]);
      });
    }
  });
}

}  // namespace rows

/// A matrix of int64 or float64 weights, C-contiguous; exactly one pointer is not null.
/// out[t] is the outcome of flat draw start + t from row t, or rows[t]. Returns the least b * C + c of a bad weight c
/// of a row b that was drawn from, or of c = C where the row sums to zero (int64: or past 2^63 - 1); -1 if there is
/// none.
inline index sample_rows(const double* floats, const index* integers, index n_columns, const index* rows, index n,
                         std::uint64_t key, std::uint64_t start, outcomes_view out, int threads) {
  first_index bad;
  if (floats)
    rows::sample<rows::floats>(floats, n_columns, rows, n, key, start, out, threads, &bad);
  else
    rows::sample<rows::integers>(integers, n_columns, rows, n, key, start, out, threads, &bad);
  return bad.get();
}

}  // namespace tallydraw::TALLYDRAW_ISA
