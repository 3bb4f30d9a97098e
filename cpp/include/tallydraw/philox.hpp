// Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"):
// a bijection of a 128-bit counter under a 64-bit key. Every draw of the library is a pure function of
// (key, row, feature): counter = (row low, row high, feature div 4, attempt * 256 + 2 * purpose + part), word = feature
// mod 4; part 0 gives the high, part 1 the low 32 bits of the uniform u.
#pragma once

#include <cstdint>

#include "tallydraw/views.hpp"
#include "tallydraw/wide.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// What a draw is for; part of the counter, so that no two uses share a word.
enum class purpose : std::uint32_t {
  cells = 0,
  flat = 1,
  labels = 2,
  component = 3,
  counts = 4,
  normals = 5,
  start = 6
};

/// The last counter word.
constexpr std::uint32_t counter_tag(purpose p, std::uint32_t part, std::uint32_t attempt = 0) {
  return attempt * 256 + 2 * static_cast<std::uint32_t>(p) + part;
}

/// Ten rounds on `L` counters x[word][lane], in place.
template <index L>
inline void philox(std::uint32_t (&x)[4][L], std::uint64_t key) {
  std::uint32_t k0 = static_cast<std::uint32_t>(key);
  std::uint32_t k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    for (index l = 0; l < L; ++l) {
      const std::uint64_t a = std::uint64_t{0xD2511F53} * x[0][l];
      const std::uint64_t b = std::uint64_t{0xCD9E8D57} * x[2][l];
      x[0][l] = static_cast<std::uint32_t>(b >> 32) ^ x[1][l] ^ k0;
      x[1][l] = static_cast<std::uint32_t>(b);
      x[2][l] = static_cast<std::uint32_t>(a >> 32) ^ x[3][l] ^ k1;
      x[3][l] = static_cast<std::uint32_t>(a);
    }
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
}

/// Vectors worked on side by side, which hides the latency of a product, and the counters they hold together.
constexpr index groups = 4;
constexpr index lanes = groups * wide_lanes;

/// Counter words x[word][group] in 64-bit lanes, whose upper halves are ignored and end as garbage.
struct wide_counters {
  wide x[4][groups];
};

inline void philox_round(wide_counters& c, wide m0, wide m1, std::uint64_t k0, std::uint64_t k1) {
  const wide w0 = wide_set(k0);
  const wide w1 = wide_set(k1);
  for (index g = 0; g < groups; ++g) {
    const wide a = wide_product(m0, c.x[0][g]);
    const wide b = wide_product(m1, c.x[2][g]);
    c.x[0][g] = wide_xor(wide_upper(b), wide_xor(c.x[1][g], w0));
    c.x[1][g] = b;
    c.x[2][g] = wide_xor(wide_upper(a), wide_xor(c.x[3][g], w1));
    c.x[3][g] = a;
  }
}

inline void philox(wide_counters& c, std::uint64_t key) {
  std::uint64_t k0 = static_cast<std::uint32_t>(key);
  std::uint64_t k1 = key >> 32;
  const wide m0 = wide_set(0xD2511F53);
  const wide m1 = wide_set(0xCD9E8D57);
  for (int round = 0; round < 10; round += 2) {  // by two: the words change places without moves
    philox_round(c, m0, m1, k0, k1);
    philox_round(c, m0, m1, k0 + 0x9E3779B9, k1 + 0xBB67AE85);
    k0 += 2 * std::uint64_t{0x9E3779B9};
    k1 += 2 * std::uint64_t{0xBB67AE85};
  }
}

/// words[4 b + w] = word w of counter (first_row + b, 0, tag): the flat draws 4 first_row …
inline void fill_flat(std::uint64_t key, std::uint32_t tag, std::uint64_t first_row, index n_rows,
                      std::uint32_t* words) {
  for (index i = 0; i < n_rows; i += lanes) {
    wide_counters c{};
    for (index g = 0; g < groups; ++g) {
      c.x[0][g] = wide_count(first_row + static_cast<std::uint64_t>(i + g * wide_lanes));
      c.x[1][g] = wide_upper(c.x[0][g]);
      c.x[2][g] = wide_set(0);
      c.x[3][g] = wide_set(tag);
    }
    philox(c, key);
    if (n_rows - i >= lanes) {
      for (index g = 0; g < groups; ++g)
        wide_store_blocks(c.x[0][g], c.x[1][g], c.x[2][g], c.x[3][g], words + 4 * (i + g * wide_lanes));
    } else {
      std::uint32_t rest[4 * lanes];
      for (index g = 0; g < groups; ++g)
        wide_store_blocks(c.x[0][g], c.x[1][g], c.x[2][g], c.x[3][g], rest + 4 * g * wide_lanes);
      for (index k = 0; k < 4 * (n_rows - i); ++k) words[4 * i + k] = rest[k];
    }
  }
}

/// words[4 i + w] for row-major (row, block) pairs i: rows row0 … row0 + n_rows - 1, blocks block0 … block0 + n_blocks
/// - 1.
inline void fill_cells(std::uint64_t key, std::uint32_t tag, std::uint64_t row0, index n_rows, std::uint32_t block0,
                       index n_blocks, std::uint32_t* words) {
  const index total = n_rows * n_blocks;
  index row = 0;
  index block = 0;
  for (index i = 0; i < total; i += lanes) {
    std::uint64_t rows[lanes];
    std::uint64_t blocks[lanes];
    for (index l = 0; l < lanes; ++l) {
      rows[l] = row0 + static_cast<std::uint64_t>(row);
      blocks[l] = block0 + static_cast<std::uint32_t>(block);
      if (++block == n_blocks) {
        block = 0;
        ++row;
      }
    }
    wide_counters c{};
    for (index g = 0; g < groups; ++g) {
      c.x[0][g] = wide_load(rows + g * wide_lanes);
      c.x[1][g] = wide_upper(c.x[0][g]);
      c.x[2][g] = wide_load(blocks + g * wide_lanes);
      c.x[3][g] = wide_set(tag);
    }
    philox(c, key);
    std::uint32_t all[4 * lanes];
    std::uint32_t* to = total - i >= lanes ? words + 4 * i : all;
    for (index g = 0; g < groups; ++g)
      wide_store_blocks(c.x[0][g], c.x[1][g], c.x[2][g], c.x[3][g], to + 4 * g * wide_lanes);
    if (to == all)
      for (index k = 0; k < 4 * (total - i); ++k) words[4 * i + k] = all[k];
  }
}

/// column[w][i] = word w of counter (rows[i], block, tag) for i < n rounded up to a multiple of `lanes`: `rows` must be
/// readable, each column writable up to there.
inline void fill_columns(std::uint64_t key, std::uint32_t tag, const std::uint64_t* rows, index n, std::uint32_t block,
                         std::uint32_t* const (&column)[4]) {
  for (index i = 0; i < n; i += lanes) {
    wide_counters c{};
    for (index g = 0; g < groups; ++g) {
      c.x[0][g] = wide_load(rows + i + g * wide_lanes);
      c.x[1][g] = wide_upper(c.x[0][g]);
      c.x[2][g] = wide_set(block);
      c.x[3][g] = wide_set(tag);
    }
    philox(c, key);
    for (int w = 0; w < 4; ++w)
      for (index g = 0; g < groups; g += 2) wide_store_words(c.x[w][g], c.x[w][g + 1], column[w] + i + g * wide_lanes);
  }
}

/// One word, for the rare exact tie: word `feature mod 4` of counter (row, feature div 4, tag).
inline std::uint32_t one_word(std::uint64_t key, std::uint32_t tag, std::uint64_t row, std::uint64_t feature) {
  std::uint32_t x[4][1] = {{static_cast<std::uint32_t>(row)},
                           {static_cast<std::uint32_t>(row >> 32)},
                           {static_cast<std::uint32_t>(feature / 4)},
                           {tag}};
  philox(x, key);
  return x[feature % 4][0];
}

/// The uniform u, at most 2^64 - 2: the level 2^64, stored as 2^64 - 1, exceeds it (levels.hpp).
inline std::uint64_t clamped(std::uint64_t u) { return u < UINT64_MAX ? u : UINT64_MAX - 1; }

}  // namespace tallydraw::TALLYDRAW_ISA
