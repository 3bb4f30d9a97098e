// The first stage of every kernel that reads rows of codes: any integer dtype and layout in, a contiguous
// row-major tile of combined codes out. The combined code of a cell is
// z = (code of its context) * C_j + x_j in [0, Z_j), Z_j = n_contexts[j] * C_j, or the slot z = Z_j where the cell or a
// cell of its context is missing. So the kernels behind know neither dtypes, strides, missing codes nor parents: a
// table of Z_j + 1 entries serves all.
//
//   const encoder e = make_encoder(x, rules, s, scratch);             // once a call; scratch of encoder_bytes(d)
//   visit_unsigned(e.tile, [&](auto u) {                              // the type of the combined codes
//     using U = decltype(u);
//     const unsigned met = encode(e, row0, row1, j0, j1, tile, plain);  // U* tile, plain
//     if (met & met_bad) bad.report(first_bad(e, row0, row1));
//   });
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tallydraw/prefetch.hpp"
#include "tallydraw/transpose.hpp"
#include "tallydraw/views.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Bytes of scratch that make_encoder fills; aligned to 8.
constexpr index encoder_bytes(index d) { return 6 * 8 * (d + 512); }

/// What encode() met: some missing cell (a slot was written); a code that is no category and not missing.
enum : unsigned { met_missing = 1, met_bad = 2 };

struct encoder {
  codes_view x;
  structure_view s;
  code_type tile;  // u8 … u64: the smallest that holds every combined code, slots included where they can occur
  bool contexts;   // some feature has a context
  bool slots;      // some code may be missing: otherwise no cell is, and slots may not fit into the tile's type
  bool chain;      // the context of every feature j > 0 is feature j - 1
  bool unseen_is_missing;
  bool named;  // one non-negative code, `missing`, is missing too
  std::uint64_t missing;
  std::uint64_t top;  // largest code of the dtype: as unsigned numbers, negative codes are above
  index period;       // a multiple of d, so that narrow rows are encoded several at once
  const void* last;   // [period] unsigned of the dtype's width: the largest valid code, at most `top`
  const void* slot;   // [period] of the tile's type: C_j
  const void* whole;  // [period] of the tile's type: Z_j
  // Where no context has several features: one, or the feature itself times 0. [d] each.
  const index* parent;      // null otherwise
  const void* factor;       // of the tile's type: C_j, or 0 without a parent
  const void* parent_slot;  // of the tile's type: C of the parent
};

/// f(std::uint8_t{}) … f(std::uint64_t{}): the unsigned type of this width.
template <class F>
inline auto visit_unsigned(code_type type, F&& f) {
  switch (type) {
    case code_type::u8:
    case code_type::i8: return f(std::uint8_t{});
    case code_type::u16:
    case code_type::i16: return f(std::uint16_t{});
    case code_type::u32:
    case code_type::i32: return f(std::uint32_t{});
    default: return f(std::uint64_t{});
  }
}

/// f(std::uint8_t{}) … f(std::int64_t{}): the type itself.
template <class F>
inline auto visit_codes(code_type type, F&& f) {
  switch (type) {
    case code_type::u8: return f(std::uint8_t{});
    case code_type::u16: return f(std::uint16_t{});
    case code_type::u32: return f(std::uint32_t{});
    case code_type::u64: return f(std::uint64_t{});
    case code_type::i8: return f(std::int8_t{});
    case code_type::i16: return f(std::int16_t{});
    case code_type::i32: return f(std::int32_t{});
    default: return f(std::int64_t{});
  }
}

/// Of plain codes alone where not `combines`: then the tile's type need not hold others, and there is no `whole`.
inline encoder make_encoder(const codes_view& x, const code_rules& rules, const structure_view& s, void* scratch,
                            bool combines = true) {
  encoder e{};
  e.x = x;
  e.s = s;
  e.unseen_is_missing = rules.unseen_is_missing;
  const bool is_signed = x.type >= code_type::i8;
  e.top = visit_unsigned(
      x.type, [&](auto v) { return static_cast<std::uint64_t>(static_cast<decltype(v)>(~v)) >> (is_signed ? 1 : 0); });
  e.named = rules.has_missing && rules.missing >= 0 && static_cast<std::uint64_t>(rules.missing) <= e.top;
  e.missing = e.named ? static_cast<std::uint64_t>(rules.missing) : 0;
  e.contexts = s.context_begin[s.d] > 0;
  e.chain = e.contexts && s.context_begin[1] == 0;
  for (index j = 1; j < s.d && e.chain; ++j) e.chain = s.context_begin[j + 1] == j && s.context[j - 1] == j - 1;

  // Where no cell can be missing, slots need no room: uint8 data of 256 categories has uint8 tiles.
  std::uint64_t most = 0;
  bool slots = is_signed || e.named || e.contexts;
  for (index j = 0; j < s.d; ++j) {
    const auto z = static_cast<std::uint64_t>((combines ? s.n_contexts[j] : 1) * s.n_categories[j]);
    most = z > most ? z : most;
    slots = slots || (rules.unseen_is_missing && z <= e.top);
  }
  if (!slots && most > 0) --most;
  e.slots = slots;
  e.tile = most <= UINT8_MAX    ? code_type::u8
           : most <= UINT16_MAX ? code_type::u16
           : most <= UINT32_MAX ? code_type::u32
                                : code_type::u64;

  e.period = s.d < 1 || s.d >= 512 ? s.d : (511 / s.d + 1) * s.d;
  char* part = static_cast<char*>(scratch);
  e.last = part;
  visit_unsigned(x.type, [&](auto v) {
    auto* last = reinterpret_cast<decltype(v)*>(part);
    for (index i = 0; i < e.period; ++i) {
      const auto most_valid = static_cast<std::uint64_t>(s.n_categories[i % s.d] - 1);
      last[i] = static_cast<decltype(v)>(most_valid < e.top ? most_valid : e.top);
    }
  });
  e.slot = part + 8 * (s.d + 512);
  e.whole = part + 16 * (s.d + 512);
  visit_unsigned(e.tile, [&](auto u) {
    using U = decltype(u);
    auto* slot = reinterpret_cast<U*>(part + 8 * (s.d + 512));
    auto* whole = reinterpret_cast<U*>(part + 16 * (s.d + 512));
    for (index i = 0; i < e.period; ++i) {
      const index j = i % s.d;
      slot[i] = static_cast<U>(s.n_categories[j]);
      whole[i] = static_cast<U>(s.n_contexts[j] * s.n_categories[j]);
    }
    if (!e.contexts) return;
    auto* parent = reinterpret_cast<index*>(part + 24 * (s.d + 512));
    auto* factor = reinterpret_cast<U*>(part + 32 * (s.d + 512));
    auto* parent_slot = reinterpret_cast<U*>(part + 40 * (s.d + 512));
    e.parent = parent;
    e.factor = factor;
    e.parent_slot = parent_slot;
    for (index j = 0; j < s.d; ++j) {
      const index begin = s.context_begin[j], end = s.context_begin[j + 1];
      if (end - begin > 1) e.parent = nullptr;
      parent[j] = end > begin ? s.context[begin] : j;
      factor[j] = static_cast<U>(end > begin ? s.n_categories[j] : 0);
      parent_slot[j] = static_cast<U>(s.n_categories[parent[j]]);
    }
  });
  if (!combines) e.whole = nullptr;
  return e;
}

template <class V>
inline V load(const char* p) {  // users' arrays need not be aligned
  V v;
  std::memcpy(&v, p, sizeof(V));
  return v;
}

template <class V>
inline V all_if(bool condition) {  // every bit, or none
  return condition ? static_cast<V>(~V{0}) : V{0};
}

/// f(begin, n) for pieces of [0, n): whole vectors, and a last one that overlaps them, as what is left over would be done
/// one by one.
template <class F>
inline void for_whole_vectors(index n, F&& f) {
  constexpr index whole = 64;
  for (index begin = 0; begin < n;) {
    index some = n - begin;
    if (some >= whole) {
      some -= some % whole;
    } else if (n > whole) {
      begin = n - whole;
      some = whole;
    }
    f(begin, some);
    begin += some;
  }
}

/// Plain codes of n cells side by side in memory; Step 1: cell i is of feature i, 0: all are of one feature. A cell is the
/// low part of a word W.
template <int Step, class V, class W = V, class U>
inline unsigned encode_run(const encoder& e, const char* x, index n, const V* last, const U* slot, U* out) {
  if (!e.slots) {  // no code is missing; a bad one is written as the last category: tables are never left
    V any_over = 0;
    for_whole_vectors(n, [&](index begin, index some) {
      V over = 0;
      for (index i = begin; i < begin + some; ++i) {
        const V v = static_cast<V>(load<W>(x + i * static_cast<index>(sizeof(W))));
        const V most = Step ? last[i] : last[0];
        out[i] = static_cast<U>(v > most ? most : v);
        over = static_cast<V>(over | all_if<V>(v > most));
      }
      any_over = static_cast<V>(any_over | over);
    });
    return any_over ? met_bad : 0u;
  }
  const V missing = static_cast<V>(e.missing);
  const V named = static_cast<V>(e.named ? ~V{0} : V{0});
  const V top = static_cast<V>(e.top);
  const V last0 = last[0];
  const U slot0 = slot[0];
  V any_slot = 0;
  V any_bad = 0;
  for_whole_vectors(n, [&](index begin, index some) {
    V slots = 0, bad = 0;
    for (index i = begin; i < begin + some; ++i) {
      const V v = static_cast<V>(load<W>(x + i * static_cast<index>(sizeof(W))));
      const V is_missing = static_cast<V>(all_if<V>(v == missing) & named);
      const V over = all_if<V>(v > (Step ? last[i] : last0));
      const V slotted = static_cast<V>(over | is_missing);
      const U mask = static_cast<U>(static_cast<std::make_signed_t<V>>(slotted));
      out[i] = static_cast<U>((static_cast<U>(v) & ~mask) | ((Step ? slot[i] : slot0) & mask));
      slots = static_cast<V>(slots | slotted);
      bad = static_cast<V>(bad | (over & ~is_missing & all_if<V>(v <= top)));
    }
    any_slot = static_cast<V>(any_slot | slots);
    any_bad = static_cast<V>(any_bad | bad);
  });
  return (any_slot ? met_missing : 0u) | (any_bad && !e.unseen_is_missing ? met_bad : 0u);
}

/// The unsigned type of twice as many bits, where there is one.
template <class V>
using twice_as_wide =
    std::conditional_t<sizeof(V) == 1, std::uint16_t, std::conditional_t<sizeof(V) == 2, std::uint32_t, std::uint64_t>>;

/// n > 0 cells that lie `stride` bytes apart, side by side.
template <class V>
inline void gather(const char* from, index stride, index n, V* to) {
  using W = twice_as_wide<V>;
  if (stride == 2 * sizeof(V) && sizeof(W) > sizeof(V)) {  // every other column: a cell and what follows as one number
    for (index i = 0; i + 1 < n; ++i) to[i] = static_cast<V>(load<W>(from + i * static_cast<index>(sizeof(W))));
    to[n - 1] = load<V>(from + (n - 1) * stride);
  } else {
    for (index i = 0; i < n; ++i) to[i] = load<V>(from + i * stride);
  }
}

/// Plain codes of rows [row0, row1) x features [j0, j1): x_j, or C_j where the cell is missing.
template <class V, class U>
inline unsigned encode_plain(const encoder& e, index row0, index row1, index j0, index j1, U* tile) {
  const codes_view& x = e.x;
  constexpr index size = sizeof(V);
  const index width = j1 - j0;
  const V* last = static_cast<const V*>(e.last);
  const U* slot = static_cast<const U*>(e.slot);
  const char* data = static_cast<const char*>(x.data) + row0 * x.row_stride + j0 * x.column_stride;
  unsigned met = 0;

  // Rows without gaps: many of them at once.
  if (width == x.d && x.row_stride == x.d * size && (x.d == 1 || x.column_stride == size)) {
    const index cells = (row1 - row0) * x.d;
    for (index i = 0; i < cells; i += e.period)
      met |= encode_run<1>(e, data + i * size, cells - i < e.period ? cells - i : e.period, last, slot, tile + i);
    return met;
  }
  const auto distance = [](index stride) { return stride < 0 ? -stride : stride; };
  // Rows are far apart, and no hardware sees the next one coming.
  const auto ask_for_rows_after = [&](index r) {
    constexpr index rows_ahead = 16;
    if (row1 - r <= rows_ahead) return;
    const index bytes = (width - 1) * distance(x.column_stride);
    const char* const next = data + rows_ahead * x.row_stride + (x.column_stride < 0 ? -bytes : 0);
    for (index at = 0; at < bytes; at += 64) prefetch(next + at);
    prefetch(next + bytes + size - 1);  // a row seldom begins where a line does
  };
  // Each row in one piece.
  if (x.column_stride == size) {
    for (index r = row0; r < row1; ++r, data += x.row_stride, tile += width) {
      ask_for_rows_after(r);
      met |= encode_run<1>(e, data, width, last + j0, slot + j0, tile);
    }
    return met;
  }
  if (distance(x.column_stride) < distance(x.row_stride)) {
    // Rows with gaps: gathered, many of them where they are whole, then encoded.
    constexpr index room = 1024;
    V side_by_side[room];
    const char* const from = reinterpret_cast<const char*>(side_by_side);
    if (width == x.d && e.period <= room) {
      for (index r = row0; r < row1;) {
        index cells = 0;
        for (; cells < e.period && r < row1; ++r, data += x.row_stride, cells += width)
          gather(data, x.column_stride, width, side_by_side + cells);
        met |= encode_run<1>(e, from, cells, last, slot, tile);
        tile += cells;
      }
      return met;
    }
    using W = twice_as_wide<V>;
    const bool every_other = x.column_stride == 2 * size && sizeof(W) > sizeof(V);
    const char* const end = static_cast<const char*>(x.data) + (x.row_stride > 0 ? (x.n - 1) * x.row_stride : 0) +
                            (x.d - 1) * x.column_stride + size;
    for (index r = row0; r < row1; ++r, data += x.row_stride, tile += width) {
      ask_for_rows_after(r);
      if (every_other && data + width * x.column_stride <= end) {
        met |= encode_run<1, V, W>(e, data, width, last + j0, slot + j0, tile);
        continue;
      }
      for (index j = 0; j < width; j += room) {
        const index m = width - j < room ? width - j : room;
        gather(data + j * x.column_stride, x.column_stride, m, side_by_side);
        met |= encode_run<1>(e, from, m, last + j0 + j, slot + j0 + j, tile + j);
      }
    }
    return met;
  }
  // Columns: up to 16 at a time, encoded one by one, then turned into rows. Each is read a few cache lines at a time,
  // more than one of which no hardware sees coming.
  constexpr index most_columns = 16;
  constexpr index piece = 512 / sizeof(U);
  V column[piece];
  U columns[most_columns * piece];
  U rows[most_columns * piece];
  for (index a = 0; a < row1 - row0; a += piece) {
    const index m = row1 - row0 - a < piece ? row1 - row0 - a : piece;
    for (index j = 0, group = most_columns; j < width; j += group) {
      if (group == most_columns && width - j < group && j > 0) j = width - group;  // some columns again
      while (group > width - j) group /= 2;
      for (index i = 0; i < group; ++i) {
        const char* from = data + a * x.row_stride + (j + i) * x.column_stride;
        if (x.row_stride == size && j + i + most_columns < width)
          for (index at = 0; at < m * size; at += 64) prefetch(from + most_columns * x.column_stride + at);
        if (x.row_stride != size) {
          gather(from, x.row_stride, m, column);
          from = reinterpret_cast<const char*>(column);
        }
        met |= encode_run<0>(e, from, m, last + j0 + j + i, slot + j0 + j + i, columns + i * m);
      }
      const U* turned = transpose(columns, rows, group, m);
      U* to = tile + a * width + j;
      if (group == most_columns)
        for (index r = 0; r < m; ++r) std::memcpy(to + r * width, turned + r * most_columns, most_columns * sizeof(U));
      else
        for (index r = 0; r < m; ++r)
          for (index i = 0; i < group; ++i) to[r * width + i] = turned[r * group + i];
    }
  }
  return met;
}

/// above * factor + own, or `whole` where either is missing: in its slot or past it. Arithmetic modulo U is exact where no cell is missing, and otherwise not used.
template <class U>
inline U combine_two(U above, U slot_above, U factor, U own, U slot, U whole) {
  using W = decltype(U{} + 0u);
  const U gone = all_if<U>((above >= slot_above) | (own >= slot));
  return static_cast<U>((static_cast<U>(W{above} * factor + own) & ~gone) | (whole & gone));
}

/// Combined codes of features [j0, j1) from the plain codes of all features, both row-major.
template <class U>
inline void combine(const encoder& e, const U* plain, index rows, index j0, index j1, U* tile) {
  const structure_view& s = e.s;
  const index width = j1 - j0;
  if (width < 1) return;
  const U* const slot = static_cast<const U*>(e.slot);
  const U* const whole = static_cast<const U*>(e.whole);
  if (e.chain) {
    const index together = width == s.d ? e.period / s.d : 1;  // rows whose cells are side by side: one long loop
    for (index r = 0; r < rows; r += together) {
      const index n = (rows - r < together ? rows - r : together) * width;
      const U* const x = plain + r * s.d + j0;
      U* const to = tile + r * width;
      for (index i = j0 == 0; i < n; ++i)
        to[i] = combine_two(x[i - 1], slot[j0 + i - 1], slot[j0 + i], x[i], slot[j0 + i], whole[j0 + i]);
      for (index i = 0; j0 == 0 && i < n; i += width) to[i] = x[i];  // has no feature before it
    }
    return;
  }
  const U* const factor = static_cast<const U*>(e.factor);
  const U* const parent_slot = static_cast<const U*>(e.parent_slot);
  const index* const parent = e.parent;
  for (index r = 0; r < rows; ++r, plain += s.d, tile += width) {
    if (parent) {
      for (index j = j0; j < j1; ++j)
        tile[j - j0] = combine_two(plain[parent[j]], parent_slot[j], factor[j], plain[j], slot[j], whole[j]);
    } else {
      for (index j = j0; j < j1; ++j) {
        decltype(U{} + 0u) z = 0;
        bool missing = plain[j] == slot[j];
        for (index i = s.context_begin[j]; i < s.context_begin[j + 1]; ++i) {
          const index f = s.context[i];
          z = z * slot[f] + plain[f];
          missing |= plain[f] == slot[f];
        }
        tile[j - j0] = missing ? whole[j] : static_cast<U>(z * slot[j] + plain[j]);
      }
    }
  }
}

/// Combined codes of rows [row0, row1) x features [j0, j1); returns what was met (met_missing, met_bad) in the rows'
/// cells read. Where e.contexts, `plain` has room for the rows' d plain codes and keeps them, encoded where j0 is 0:
/// the tiles of a block of rows go left to right. Otherwise `plain` is not used.
template <class U>
inline unsigned encode(const encoder& e, index row0, index row1, index j0, index j1, U* tile, U* plain) {
  return visit_unsigned(e.x.type, [&](auto v) {
    using V = decltype(v);
    if (!e.contexts) return encode_plain<V>(e, row0, row1, j0, j1, tile);
    const unsigned met = j0 == 0 ? encode_plain<V>(e, row0, row1, 0, e.x.d, plain) : 0u;
    combine(e, plain, row1 - row0, j0, j1, tile);
    return met;
  });
}

/// incomplete[r] = 1 where row r of (rows, j1 - j0) plain codes of features [j0, j1) has a missing cell.
template <class U>
inline void mark_incomplete(const encoder& e, const U* plain, index rows, index j0, index j1,
                            std::uint8_t* incomplete) {
  const U* slot = static_cast<const U*>(e.slot) + j0;
  const index width = j1 - j0;
  for (index r = 0; r < rows; ++r, plain += width) {
    U gone = 0;
    for (index j = 0; j < width; ++j) gone = static_cast<U>(gone | (plain[j] == slot[j] ? 1 : 0));
    if (gone) incomplete[r] = 1;
  }
}

/// row * d + column of the first code of rows [row0, row1) that is no category and not missing, or -1. Slow.
inline index first_bad(const encoder& e, index row0, index row1) {
  if (e.unseen_is_missing) return -1;
  for (index r = row0; r < row1; ++r)
    for (index j = 0; j < e.x.d; ++j) {
      const char* p = static_cast<const char*>(e.x.data) + r * e.x.row_stride + j * e.x.column_stride;
      const std::uint64_t v =
          visit_unsigned(e.x.type, [&](auto t) { return static_cast<std::uint64_t>(load<decltype(t)>(p)); });
      const bool missing = v > e.top || (e.named && v == e.missing);
      if (!missing && v >= static_cast<std::uint64_t>(e.s.n_categories[j])) return r * e.x.d + j;
    }
  return -1;
}

}  // namespace tallydraw::TALLYDRAW_ISA
