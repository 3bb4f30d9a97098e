// Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"):
// a bijection of a 128-bit counter under a 64-bit key. Every draw of the library is a pure function of
// (key, row, feature): counter = (row low, row high, feature div 4, attempt * 256 + 2 * purpose + part), word = feature mod 4;
// part 0 gives the high, part 1 the low 32 bits of the uniform u.
#pragma once

#include <cstdint>

#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// What a draw is for; part of the counter, so that no two uses share a word.
enum class purpose : std::uint32_t { cells = 0, flat = 1, labels = 2, component = 3, counts = 4, normals = 5, start = 6 };

/// The last counter word.
constexpr std::uint32_t counter_tag(purpose p, std::uint32_t part, std::uint32_t attempt = 0) {
  return attempt * 256 + 2 * static_cast<std::uint32_t>(p) + part;
}

/// Blocks computed side by side, so that a compiler keeps them in vector registers.
#if defined(__AVX512F__)
constexpr index lanes = 16;
#else
constexpr index lanes = 8;
#endif

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

/// words[4 b + w] = word w of counter (row, first_block + b, tag), for b < n_blocks: cells 4 first_block… of one row.
/// words[4 i + w] for row-major (row, block) pairs i: rows row0 … row0 + n_rows - 1, blocks block0 … block0 + n_blocks - 1.
inline void fill_cells(std::uint64_t key, std::uint32_t tag, std::uint64_t row0, index n_rows, std::uint32_t block0,
                       index n_blocks, std::uint32_t* words) {
  const index total = n_rows * n_blocks;
  index row = 0;
  index block = 0;
  for (index i = 0; i < total; i += lanes) {
    std::uint32_t x[4][lanes];
    for (index l = 0; l < lanes; ++l) {
      const std::uint64_t r = row0 + static_cast<std::uint64_t>(row);
      x[0][l] = static_cast<std::uint32_t>(r);
      x[1][l] = static_cast<std::uint32_t>(r >> 32);
      x[2][l] = block0 + static_cast<std::uint32_t>(block);
      x[3][l] = tag;
      if (++block == n_blocks) {
        block = 0;
        ++row;
      }
    }
    philox(x, key);
    const index m = total - i < lanes ? total - i : lanes;
    for (index l = 0; l < m; ++l)
      for (int w = 0; w < 4; ++w) words[4 * (i + l) + w] = x[w][l];
  }
}

/// words[4 b + w] = word w of counter (first_row + b, 0, tag): the flat draws 4 first_row …
inline void fill_flat(std::uint64_t key, std::uint32_t tag, std::uint64_t first_row, index n_rows, std::uint32_t* words) {
  fill_cells(key, tag, first_row, n_rows, 0, 1, words);
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

}  // namespace tallydraw::TALLYDRAW_ISA
