// Codes of groups of features as one byte: the mixed-radix number of the group's codes, where a missing cell is one
// more category, so that what is looked up or counted once a feature is once a group.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tallydraw/codes.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

inline index codes_of_group(const groups_view& groups, index g) noexcept {
  index codes = 1;
  for (index j = groups.begin[g]; j < groups.begin[g + 1]; ++j) codes *= groups.n_codes[j];
  return codes;
}

namespace code_groups {

constexpr index tile_bytes = 1 << 14;

inline index tile_rows(index d) noexcept { return std::max<index>(16, tile_bytes / d); }
inline index tile_words(index d) noexcept { return tile_rows(d) * d + 1; }  // of the widest codes, and what bits reads

inline bool are_binary(const groups_view& groups, index g) noexcept {
  const index j0 = groups.begin[g], j1 = groups.begin[g + 1];
  return j1 - j0 <= 8 && std::all_of(groups.n_codes + j0, groups.n_codes + j1, [](index n) { return n == 2; });
}

/// Bit i of the result is byte i, 0 or 1, of the first n <= 8: the product moves bit 8 i to 56 + i.
inline std::uint8_t bits(const std::uint8_t* bytes, index n) noexcept {
  std::uint64_t word = 0;
  for (int i = 0; i < 8; ++i) word |= static_cast<std::uint64_t>(bytes[i]) << (8 * i);  // one load
  word &= ~std::uint64_t{0} >> (64 - 8 * n);
  return static_cast<std::uint8_t>((word * 0x0102040810204080) >> 56);
}

}  // namespace code_groups

/// Scratch of group_codes in words of 64 bits.
inline index group_codes_scratch(const structure_view& s, int threads) {
  return encoder_bytes(s.d) / 8 + threads * code_groups::tile_words(s.d);
}

/// out[r * n_groups + g] = the combined code of group g in row r, C_j being that of a missing cell. Codes are valid, no
/// group has more than 256 of them, features have no contexts.
inline void group_codes(const codes_view& x, const code_rules& rules, const structure_view& s,
                        const groups_view& groups, std::uint8_t* out, void* scratch, int threads) {
  const encoder e = make_encoder(x, rules, s, scratch);
  std::uint64_t* const lent = reinterpret_cast<std::uint64_t*>(static_cast<char*>(scratch) + encoder_bytes(s.d));
  const index d = s.d;
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    parallel_blocks(x.n, code_groups::tile_rows(d), threads, [&](index begin, index end, int thread) {
      U* const tile = reinterpret_cast<U*>(lent + thread * code_groups::tile_words(d));
      encode(e, begin, end, 0, d, tile, static_cast<U*>(nullptr));
      for (index g = 0; g < groups.n; ++g) {
        const index j0 = groups.begin[g], j1 = groups.begin[g + 1];
        std::uint8_t* to = out + begin * groups.n + g;
        if constexpr (sizeof(U) == 1) {
          if (code_groups::are_binary(groups, g)) {
            const U* row = tile + j0;
            for (index r = begin; r < end; ++r, row += d, to += groups.n) *to = code_groups::bits(row, j1 - j0);
            continue;
          }
        }
        const U* row = tile + j1 - 1;
        for (index r = begin; r < end; ++r, row += d, to += groups.n) {
          auto z = static_cast<std::uint32_t>(row[0]);
          for (index j = j1 - 1; j-- > j0;)
            z = z * static_cast<std::uint32_t>(groups.n_codes[j]) + static_cast<std::uint32_t>(row[j - (j1 - 1)]);
          *to = static_cast<std::uint8_t>(z);
        }
      }
    });
  });
}

}  // namespace tallydraw::TALLYDRAW_ISA
