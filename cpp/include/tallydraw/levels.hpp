// Cumulative levels: the outcome of a uniform u in [0, 2^64) is the first c with u < L_c.
// 2^64 is stored as 2^64 - 1, which no other level can equal, and u is at most 2^64 - 2: an outcome of zero weight is
// never met, and no search here guards an edge.
//
// Searches look at the upper 32 bits of u and of the levels. Only where these are equal does the low word of u decide;
// it is then computed, and the outcome is exact. Strategies (and see direct_table in
// sample_categories.hpp):
//   few      a draw is compared with all levels of its table row, where they are at most four;
//   groups   a block of draws from one table row, with at most sixteen levels, is compared side by side;
//   search   the same with at most 512, and draws from few table rows, by halving in registers, where the processor can;
//   guide    a guide table (Chen & Asau 1974, "On generating random variates from an empirical distribution") names
//            the first candidate, a short scan the outcome; far: the lines of large guides are asked for ahead;
//   bisect   both words of u and a binary search, for tables past 2^32 cells.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

#include "tallydraw/attributes.hpp"
#include "tallydraw/philox.hpp"
#include "tallydraw/prefetch.hpp"
#include "tallydraw/views.hpp"
#include "tallydraw/wide_search.hpp"

namespace tallydraw::TALLYDRAW_ISA {

/// Tables of at most this many categories have no guide and are compared with all their levels.
constexpr index few_categories = 4;

/// What stays in the nearer caches.
constexpr index near_bytes = index{1} << 19;

/// Draws that are compared side by side.
constexpr index group_size = 64;

/// The least power of two that is not below n.
inline index power_of_two(index n) {
  index p = 1;
  while (p < n) p *= 2;
  return p;
}

/// The entries of guides: bytes where outcomes are.
template <class T>
using guide_type = std::conditional_t<sizeof(T) == 1, std::uint8_t, std::uint32_t>;

/// The table rows of one feature with outcomes of type T. Passed by value: outcomes are bytes, which may alias whatever
/// is behind a reference.
template <class T>
struct feature_levels {
  const std::uint64_t* level;
  const std::uint32_t* high;
  const guide_type<T>* guide;
  index n;     // categories
  index bits;  // log2 of the guide's length, negative: none
  index rows;

  /// Bytes that searches of one table row may touch.
  index row_bytes() const { return 4 * n + (bits < 0 ? 0 : static_cast<index>(sizeof(guide_type<T>)) << bits); }
  /// Whether the table rows are too many for the nearer caches, so that draws wait for memory unless it is asked ahead.
  bool far() const { return rows * row_bytes() > near_bytes; }
};

template <class T>
inline feature_levels<T> feature_of(const levels_view& levels, index n_categories, index first_cell, index j,
                                    index rows) {
  return {levels.level + first_cell,
          levels.high + first_cell,
          static_cast<const guide_type<T>*>(levels.guide) + levels.guide_offsets[j],
          n_categories,
          levels.guide_bits[j],
          rows};
}

template <class T>
inline feature_levels<T> feature_of(const structure_view& s, const levels_view& levels, index j) {
  return feature_of<T>(levels, s.n_categories[j], s.offsets[j], j, s.n_classes * s.n_contexts[j]);
}

/// Asks for the lines of table row `row`, where they are few.
template <class T>
inline void prefetch_row(const feature_levels<T>& f, index row) {
  constexpr index line = 64;
  if (f.row_bytes() > index{1} << 13) return;
  for (index c = 0; c < f.n; c += line / 4) prefetch(f.high + row * f.n + c);
  if (f.bits >= 0)
    for (index i = 0; i < index{1} << f.bits; i += line / static_cast<index>(sizeof(guide_type<T>)))
      prefetch(f.guide + (row << f.bits) + i);
}

/// The uniform of high word `word` and low word low(i): met once in millions of draws, and kept out of their way.
template <class Low>
TALLYDRAW_RARE std::uint64_t uniform_of(std::uint32_t word, const Low& low, index i) {
  return clamped((std::uint64_t{word} << 32) | low(i));
}

/// The outcome from the levels of one table row with C cells by comparison with every level; low(i) gives the low word.
template <index C, class Low>
inline index outcome_few(const std::uint32_t* high, const std::uint64_t* level, std::uint32_t word, const Low& low,
                         index i) {
  index c = 0;
  for (index k = 0; k < C - 1; ++k) c += word >= high[k];
  if (word == high[c - (c > 0)]) {  // the largest level that is reached
    const std::uint64_t u = uniform_of(word, low, i);
    for (c = 0; u >= level[c];) ++c;
  }
  return c;
}

/// The guide's entry for a draw from table row `row`.
template <class T>
inline const guide_type<T>* guide_entry(feature_levels<T> f, index row, std::uint32_t word) {
  return f.guide + (row << f.bits) + static_cast<index>(std::uint64_t{word} >> (32 - f.bits));
}

/// The outcome from table row `row`, where the guide names candidate `c`, by a scan.
template <class T, class Low>
inline index outcome_from(feature_levels<T> f, index row, index c, std::uint32_t word, const Low& low, index i) {
  const std::uint32_t* high = f.high + row * f.n;
  c += word > high[c];  // nearly always enough; the upper half of the last level is 2^32 - 1
  if (word >= high[c]) {
    while (word > high[c]) ++c;
    if (word == high[c]) {
      const std::uint64_t u = uniform_of(word, low, i);
      const std::uint64_t* level = f.level + row * f.n;
      while (u >= level[c]) ++c;
    }
  }
  return c;
}

/// The outcome from table row `row` by its guide and a scan.
template <class T, class Low>
inline index outcome_guide(feature_levels<T> f, index row, std::uint32_t word, const Low& low, index i) {
  return outcome_from(f, row, static_cast<index>(*guide_entry(f, row, word)), word, low, i);
}

/// The outcome from table row `row` by binary search.
template <class T, class Low>
inline index outcome_bisect(feature_levels<T> f, index row, std::uint32_t word, const Low& low, index i) {
  const std::uint64_t u = uniform_of(word, low, i);
  const std::uint64_t* level = f.level + row * f.n;
  index least = 0;
  index most = f.n - 1;
  while (least < most) {
    const index middle = least + (most - least) / 2;
    if (u < level[middle])
      most = middle;
    else
      least = middle + 1;
  }
  return least;
}

/// Counts the levels that each of group_size words has reached, by the upper 15 bits of both, and says whether any word
/// is so close to a level that these do not decide. Differences of 15 bits have a sign and fit into 16-bit lanes; the
/// levels are spelled out one by one, which keeps them in registers.
template <std::size_t... Level>
inline bool compare_group(std::index_sequence<Level...>, const std::uint32_t* high, const std::uint32_t* words,
                          std::uint8_t* out) {
  const std::int16_t h[sizeof...(Level)] = {static_cast<std::int16_t>(high[Level] >> 17)...};
  std::int16_t word[group_size];
  std::int16_t below[group_size];      // minus the levels not reached
  std::uint16_t distance[group_size];  // zero where a level is too close
  for (index i = 0; i < group_size; ++i) word[i] = static_cast<std::int16_t>(words[i] >> 17);
  for (index i = 0; i < group_size; ++i) {
    std::int16_t c = 0;
    std::uint16_t least = UINT16_MAX;
    const auto step = [&](std::int16_t level) {
      const std::int16_t difference = static_cast<std::int16_t>(word[i] - level);
      const std::uint16_t unsigned_difference = static_cast<std::uint16_t>(difference);
      c = static_cast<std::int16_t>(c + (difference >> 15));
      least = unsigned_difference < least ? unsigned_difference : least;
    };
    (step(h[Level]), ...);
    below[i] = c;
    distance[i] = least;
  }
  std::uint16_t least = UINT16_MAX;
  for (index i = 0; i < group_size; ++i) least = distance[i] < least ? distance[i] : least;
  for (index i = 0; i < group_size; ++i)
    out[i] = static_cast<std::uint8_t>(below[i] + static_cast<int>(sizeof...(Level)));
  return least == 0;
}

template <std::size_t Levels>
inline bool compare_group(const std::uint32_t* high, const std::uint32_t* words, std::uint8_t* out) {
  return compare_group(std::make_index_sequence<Levels>{}, high, words, out);
}

using group_comparison = bool (*)(const std::uint32_t*, const std::uint32_t*, std::uint8_t*);

/// Draws from one table row of at most this many categories are compared in groups, whether there is a guide or not.
constexpr index most_compared = 16;

inline group_comparison comparison_of(index n_categories) {
  static constexpr group_comparison of[most_compared] = {
      nullptr,           compare_group<1>,  compare_group<2>,  compare_group<3>, compare_group<4>,  compare_group<5>,
      compare_group<6>,  compare_group<7>,  compare_group<8>,  compare_group<9>, compare_group<10>, compare_group<11>,
      compare_group<12>, compare_group<13>, compare_group<14>, compare_group<15>};
  return of[n_categories - 1];
}

/// Outcomes by guides that are far away: their lines are asked for a group ahead of the draws that wait for them.
template <class T, class Row, class Low>
inline void outcomes_far(feature_levels<T> f, Row&& row, const std::uint32_t* words, index n, T* out, const Low& low) {
  constexpr index group = 256;
  guide_type<T> candidate[group];
  for (index begin = 0; begin < n; begin += group) {
    const index end = n - begin < group ? n : begin + group;
    for (index i = begin; i < end; ++i) prefetch(guide_entry(f, row(i), words[i]));
    for (index i = begin; i < end; ++i) {
      candidate[i - begin] = *guide_entry(f, row(i), words[i]);
      prefetch(f.high + row(i) * f.n + candidate[i - begin]);
    }
    for (index i = begin; i < end; ++i)
      out[i] = static_cast<T>(outcome_from(f, row(i), static_cast<index>(candidate[i - begin]), words[i], low, i));
  }
}

/// Whether outcomes of type T are searched for.
template <class T>
constexpr bool has_search = most_searched > 0 && sizeof(T) <= 2;

/// Draws from few categories that pay for a search (measured).
constexpr index least_searched = 512;

/// Whether outcomes_from_row is a search: of many levels, too, where draws pay for it (measured).
template <class T>
inline bool is_searched(feature_levels<T> f, index n) {
  const index least = f.n <= few_categories ? least_searched : f.n <= 64 ? 1 : f.n / 4;
  return has_search<T> && f.n <= most_searched && n >= least;
}

/// The search of all table rows of a feature, prepared for many draws: where there is one.
template <class T>
struct row_search {
  static constexpr bool pays(feature_levels<T>, index) { return false; }
  explicit row_search(feature_levels<T>) {}
};

#if defined(TALLYDRAW_WIDE_SEARCH)

/// From so few table rows that all their levels are in registers.
template <>
struct row_search<std::uint8_t> {
  /// Whether so many draws pay for it, those of a group at least (measured).
  static bool pays(feature_levels<std::uint8_t> f, index draws) {
    if (draws < group_size || f.n < 2 || f.n > index{1} << most_steps || f.rows < 2 || f.rows > index{1} << 8)
      return false;
    const index levels = f.rows * power_of_two(f.n);
    return levels <= index{1} << most_bits && levels <= 8 * draws;
  }

  explicit row_search(feature_levels<std::uint8_t> f) { prepare<1, 5>(f); }

  /// See wide_search::find.
  void find(const std::uint32_t* words, const std::uint8_t* rows, index n, std::uint8_t* out,
            std::uint32_t* open) const {
    find_(space_, words, rows, n, out, open);
  }

 private:
  static constexpr int most_steps = 5, most_bits = 10;

  template <int Steps, int Bits>
  void prepare(feature_levels<std::uint8_t> f) {
    if constexpr (Steps < most_steps)
      if (f.n > index{1} << Steps) return prepare<Steps + 1, (Bits > Steps + 1 ? Bits : Bits + 1)>(f);
    if constexpr (Bits < most_bits && Bits < Steps + 8)
      if (f.rows << Steps > index{1} << Bits) return prepare<Steps, Bits + 1>(f);
    using search = wide_search<Steps, Bits>;
    static_assert(sizeof(search) <= sizeof space_ && alignof(search) <= alignof(row_search));
    new (space_) search(f.high, f.n, f.rows);
    find_ = [](const void* from, const std::uint32_t* words, const std::uint8_t* rows, index n, std::uint8_t* out,
               std::uint32_t* open) { static_cast<const search*>(from)->find(words, rows, n, out, open); };
  }

  alignas(64) unsigned char space_[64 << (most_bits - 5)];
  void (*find_)(const void*, const std::uint32_t*, const std::uint8_t*, index, std::uint8_t*, std::uint32_t*);
};

/// Draws of one call of a search.
constexpr index searched_piece = 512;

/// wide_search::find for one table row of n_categories.
template <int Steps, class T>
TALLYDRAW_APART inline void search_row(const std::uint32_t* high, index n_categories, const std::uint32_t* words,
                                       index n, T* out, std::uint32_t* open) {
  wide_search<Steps, Steps>(high, n_categories, 1).find(words, nullptr, n, out, open);
}
template <int Steps, class T>
inline void search_by_steps(const std::uint32_t* high, index n_categories, const std::uint32_t* words, index n, T* out,
                            std::uint32_t* open) {
  if constexpr (Steps < (sizeof(T) == 1 ? 8 : 9))
    if (n_categories > index{1} << Steps) return search_by_steps<Steps + 1>(high, n_categories, words, n, out, open);
  search_row<Steps>(high, n_categories, words, n, out, open);
}

/// out[i] = the outcome of words[i] from table row row(i): what search(begin, size, open) finds, piece by piece, and then
/// those that it leaves open, by their low words.
template <class T, class Search, class Row, class Low>
inline void settle_search(feature_levels<T> f, const Search& search, const Row& row, const std::uint32_t* words,
                          index n, T* out, const Low& low) {
  for (index begin = 0; begin < n; begin += searched_piece) {
    const index size = n - begin < searched_piece ? n - begin : searched_piece;
    std::uint32_t open[searched_piece / searched_together];
    search(begin, size, open);
    for (index k = 0; k * searched_together < size; ++k)
      for (; open[k] != 0; open[k] &= open[k] - 1) {
        const index i = begin + k * searched_together + static_cast<index>(_tzcnt_u32(open[k]));
        out[i] = static_cast<T>(outcome_from(f, row(i), static_cast<index>(out[i]), words[i], low, i));
      }
  }
}

/// outcomes_from_row by a search.
template <class T, class Low>
inline void outcomes_by_search(feature_levels<T> f, index row, const std::uint32_t* words, index n, T* out,
                               const Low& low) {
  const auto search = [=](index begin, index size, std::uint32_t* open) {
    search_by_steps<1>(f.high + row * f.n, f.n, words + begin, size, out + begin, open);
  };
  settle_search(f, search, [=](index) { return row; }, words, n, out, low);
}

/// outcomes_from_rows by a search.
template <class Row, class Low>
TALLYDRAW_APART inline void outcomes_by_search(feature_levels<std::uint8_t> f, const row_search<std::uint8_t>& prepared,
                                               const Row* rows, const std::uint32_t* words, index n, std::uint8_t* out,
                                               const Low& low) {
  const auto search = [=, &prepared](index begin, index size, std::uint32_t* open) {
    if constexpr (sizeof(Row) == 1) {
      prepared.find(words + begin, rows + begin, size, out + begin, open);
    } else {
      std::uint8_t of[searched_piece];
      for (index i = 0; i < size; ++i) of[i] = static_cast<std::uint8_t>(rows[begin + i]);
      prepared.find(words + begin, of, size, out + begin, open);
    }
  };
  settle_search(f, search, [=](index i) { return static_cast<index>(rows[i]); }, words, n, out, low);
}

/// The same, prepared for these draws alone.
template <class Row, class Low>
TALLYDRAW_APART inline void outcomes_by_search(feature_levels<std::uint8_t> f, const Row* rows,
                                               const std::uint32_t* words, index n, std::uint8_t* out, const Low& low) {
  const row_search<std::uint8_t> prepared(f);
  outcomes_by_search(f, prepared, rows, words, n, out, low);
}

#endif

/// out[i] = the outcome of words[i] from the one table row `row`, for i < n; low(i) gives the low word of draw i.
/// `words` must be readable up to the next multiple of group_size.
template <class T, class Low>
TALLYDRAW_INTO void outcomes_from_row(feature_levels<T> f, index row, const std::uint32_t* words, index n, T* out,
                                      const Low& low) {
  if (f.n == 1) {
    for (index i = 0; i < n; ++i) out[i] = 0;
  } else if (is_searched(f, n)) {
    if constexpr (has_search<T>) outcomes_by_search(f, row, words, n, out, low);
  } else if (f.n <= most_compared) {
    const std::uint32_t* high = f.high + row * f.n;
    const std::uint64_t* level = f.level + row * f.n;
    const group_comparison compare = comparison_of(f.n);
    for (index begin = 0; begin < n; begin += group_size) {
      const index size = n - begin < group_size ? n - begin : group_size;
      std::uint8_t c[group_size];
      if (compare(high, words + begin, c))
        for (index i = 0; i < size; ++i) {
          const std::uint32_t word = words[begin + i];
          bool close = false;
          for (index k = 0; k < f.n - 1; ++k) close |= word >> 17 == high[k] >> 17;
          if (!close) continue;
          const std::uint64_t u = uniform_of(word, low, begin + i);
          for (c[i] = 0; u >= level[c[i]];) ++c[i];
        }
      if (size == group_size)
        for (index i = 0; i < group_size; ++i) out[begin + i] = c[i];
      else
        for (index i = 0; i < size; ++i) out[begin + i] = c[i];
    }
  } else if (f.bits < 0) {
    for (index i = 0; i < n; ++i) out[i] = static_cast<T>(outcome_bisect(f, row, words[i], low, i));
  } else if (f.row_bytes() > near_bytes) {
    outcomes_far(f, [=](index) { return row; }, words, n, out, low);
  } else {
    for (index i = 0; i < n; ++i) out[i] = static_cast<T>(outcome_guide(f, row, words[i], low, i));
  }
}

/// The same from table row rows[i] for draw i, of f.n <= C categories, which are few.
template <index C, class T, class Row, class Low>
inline void outcomes_few(feature_levels<T> f, const Row* rows, const std::uint32_t* words, index n, T* out,
                         const Low& low) {
  if (f.n == C) {
    for (index i = 0; i < n; ++i) {
      const index first = static_cast<index>(rows[i]) * C;
      out[i] = static_cast<T>(outcome_few<C>(f.high + first, f.level + first, words[i], low, i));
    }
  } else if constexpr (C > 2) {
    outcomes_few<C - 1>(f, rows, words, n, out, low);
  }
}

/// The same of any number of categories, one by one; Row is any type that holds the number of a table row.
template <class T, class Row, class Low>
TALLYDRAW_APART inline void outcomes_one_by_one(feature_levels<T> f, const Row* rows, const std::uint32_t* words,
                                                index n, T* out, const Low& low) {
  const auto row = [=](index i) { return static_cast<index>(rows[i]); };
  if (f.n == 1) {
    for (index i = 0; i < n; ++i) out[i] = 0;
  } else if (f.n <= few_categories) {
    if (f.far())
      for (index i = 0; i < n; ++i) prefetch(f.high + row(i) * f.n);
    outcomes_few<few_categories>(f, rows, words, n, out, low);
  } else if (f.bits < 0) {
    for (index i = 0; i < n; ++i) out[i] = static_cast<T>(outcome_bisect(f, row(i), words[i], low, i));
  } else if (f.far()) {
    outcomes_far(f, row, words, n, out, low);
  } else {
    for (index i = 0; i < n; ++i) out[i] = static_cast<T>(outcome_guide(f, row(i), words[i], low, i));
  }
}

/// out[i] = the outcome of words[i] from table row rows[i], for i < n. `search` is that of f, or null. `words`, and rows
/// of bytes, must be readable up to the next multiple of group_size.
template <class T, class Row, class Low>
inline void outcomes_from_rows(feature_levels<T> f, const Row* rows, const std::uint32_t* words, index n, T* out,
                               const Low& low, const row_search<T>* search = nullptr) {
  if constexpr (has_search<T> && sizeof(T) == 1) {
    if (search) return outcomes_by_search(f, *search, rows, words, n, out, low);
    if (row_search<T>::pays(f, n)) return outcomes_by_search(f, rows, words, n, out, low);
  }
  outcomes_one_by_one(f, rows, words, n, out, low);
}

}  // namespace tallydraw::TALLYDRAW_ISA
