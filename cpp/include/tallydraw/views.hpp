// Raw views: what a kernel is given. No ownership, no Python; the caller has checked lengths and types.
#pragma once

#include <cstdint>

namespace tallydraw {

using index = std::int64_t;

/// The integer types that codes may have.
enum class code_type { u8, u16, u32, u64, i8, i16, i32, i64 };

/// An (n, d) matrix of codes of any integer type and layout; strides in bytes, of any sign.
struct codes_view {
  const void* data;
  code_type type;
  index n;
  index d;
  index row_stride;
  index column_stride;
};

/// Pieces x[offsets[i] .. offsets[i + 1]), i < n_pieces, of class y[i] (all of class 0 where y is null).
struct pieces_view {
  const void* x;
  code_type type;
  const index* offsets;
  index n_pieces;
  const index* y;
};

/// Which codes are not categories: every negative one, `missing` where has_missing, and, with
/// unseen_is_missing, every code >= C_j (otherwise such a code is the caller's error).
struct code_rules {
  index missing;
  bool has_missing;
  bool unseen_is_missing;
};

/// The shape shared by a stack of tables. Feature j holds n_classes blocks (one where there is no class)
/// of n_contexts[j] table rows of n_categories[j] cells, from offsets[j] on. The context of feature j are the
/// features context[context_begin[j] .. context_begin[j+1]), outermost first: the table row of codes a, b, …
/// is (a * C_b + b) …; n_contexts[j] is the product of their numbers of categories, 1 for a root.
struct structure_view {
  index d;
  index n_classes;
  const index* n_categories;
  const index* n_contexts;
  const index* offsets;
  const index* context_begin;
  const index* context;
  const index* order;  // features, every context before its child
};

/// Groups of features whose codes are combined to one, the first feature's changing fastest: features begin[g] …
/// begin[g + 1] - 1, of n_codes[j] codes each, which are C_j, or one more where cells are missing.
struct groups_view {
  index n;
  const index* begin;
  const index* n_codes;
};

/// Words up to where a cache line ends: what follows does not lie across two of them.
inline index whole_lines(index words) noexcept { return (words + 7) / 8 * 8; }

/// The parts of the structure of a tree that a kernel writes; `context` has room for one a feature that has a parent.
struct tree_view {
  index* n_contexts;
  index* offsets;
  index* context_begin;
  index* context;
  index* order;
};

/// Cumulative levels of table rows, ready to draw from (see levels.hpp). `high` holds the upper halves of `level`.
/// Feature j has, for each of its table rows, 2^guide_bits[j] guide entries from guide_offsets[j] on
/// (none where guide_bits[j] < 0), of type uint8 where outcomes are, else uint32.
struct levels_view {
  const std::uint64_t* level;
  const std::uint32_t* high;
  const void* guide;
  const index* guide_offsets;
  const index* guide_bits;
};

/// Logs of observed cells and of totals of missing ones, where contexts are at most one feature (tallydraw._totals):
/// feature j has, from offsets[j] on, K logs for each code of its parent and each of width[j] numbers of its cells
/// (tree_columns.hpp), those observed first, then silence, then totals, if it has them; and last K zeros. radix[j]: how
/// many numbers of j its parent's totals know. All null without totals.
struct totals_view {
  const double* logs;
  const index* offsets;
  const index* width;
  const index* radix;
};

/// Outcomes are written in the smallest unsigned type that holds them; row-major.
enum class outcome_type { u8, u16, u32, u64 };
struct outcomes_view {
  void* data;
  outcome_type type;
};

}  // namespace tallydraw
