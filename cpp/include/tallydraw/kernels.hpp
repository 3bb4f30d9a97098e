// The kernels as the bindings see them: one table of functions an instruction set, chosen at run time, and in it one
// a verb, each compiled on its own.
// Every kernel: raw views in, nothing allocated that the caller could own, nothing thrown. An index returned is the
// first bad cell in row-major order, or -1; but sample_one returns its outcome, and *_scratch how much memory to lend.
#pragma once

#include <cstdint>

#include "tallydraw/views.hpp"

#ifdef _MSC_VER
#pragma fp_contract(off)  // what -ffp-contract=off is elsewhere
#endif

namespace tallydraw {

struct count_kernels {
  // count_features.hpp, count_transitions.hpp; scratch in words of 64 bits
  index (*count_features_scratch)(const codes_view& x, const structure_view& s, int threads);
  index (*count_features)(const codes_view& x, const index* y, const code_rules& rules, const structure_view& s,
                          index* counts, void* scratch, int threads);
  index (*count_features_weighted)(const codes_view& x, const index* y, const code_rules& rules,
                                   const structure_view& s, const double* weights, double* sums, void* scratch,
                                   int threads);
  index (*count_features_soft)(const codes_view& x, const code_rules& rules, const structure_view& s,
                               const index* lane_offsets, const double* weights, double* lanes, void* scratch,
                               int threads);
  void (*collect_lanes)(const structure_view& s, const double* lanes, const index* lane_offsets, double* tables);
  index (*count_transitions_scratch)(index cells, int threads);
  index (*count_transitions)(const pieces_view& pieces, index n_classes, index n_states, index order, index* counts,
                             void* scratch, int threads);

  // count_pairs.hpp, count_pairs_weighted.hpp; scratch in words of 64 bits
  index (*count_pairs_scratch)(const codes_view& x, const structure_view& s, int threads);
  index (*count_pairs)(const codes_view& x, const index* y, const code_rules& rules, const structure_view& s,
                       const index* pair_begins, index* marginals, index* counts, bool fresh, void* scratch,
                       int threads);
  index (*count_pairs_weighted_scratch)(const structure_view& s, int threads);
  index (*count_pairs_weighted)(const codes_view& x, const index* y, const code_rules& rules, const structure_view& s,
                                const index* pair_begins, const double* weights, double* marginals, double* counts,
                                void* scratch, int threads);

  // tree_tables.hpp; scratch in words of 64 bits
  index (*tree_tables_scratch)(index d);
  void (*tree_tables)(const structure_view& s, const index* pair_begins, const std::uint64_t* pairs,
                      const std::uint64_t* marginals, const index* parents, const tree_view& tree,
                      std::uint64_t* tables, void* scratch);

  // count_expected.hpp; scratch in words of 64 bits
  index (*count_expected_scratch)(const structure_view& s, index n, int threads);
  void (*count_expected)(const codes_view& x, const code_rules& rules, const structure_view& s,
                         const double* probabilities, bool plain, const double* weights, index block_rows,
                         double* counts, void* scratch, int threads);

  // group_codes.hpp, count_posterior.hpp; scratch in words of 64 bits
  index (*group_codes_scratch)(const structure_view& s, int threads);
  void (*group_codes)(const codes_view& x, const code_rules& rules, const structure_view& s, const groups_view& groups,
                      std::uint8_t* out, void* scratch, int threads);
  index (*count_posterior_scratch)(const structure_view& s, const groups_view& groups, int threads);
  void (*count_posterior)(const std::uint8_t* codes, index n, const structure_view& s, const groups_view& groups,
                          const double* theta, const double* prior, index halvings, const double* weights, double grid,
                          double* evidence, double* mass, double* counts, void* scratch, int threads);
  void (*count_shares)(const std::uint8_t* codes, index n, const structure_view& s, const groups_view& groups,
                       const double* shares, const double* weights, double grid, double* mass, double* counts,
                       void* scratch, int threads);
};

struct sample_kernels {
  // build_levels.hpp
  bool (*row_levels)(const double* floats, const index* integers, index n_rows, index n_columns, std::uint64_t* level);
  void (*build_guides)(const structure_view& structure, const std::uint64_t* level, const index* guide_offsets,
                       const index* guide_bits, std::uint32_t* high, std::uint8_t* bytes, std::uint32_t* words);

  // sample_categories.hpp
  void (*sample_categories)(const levels_view& levels, index n_categories, index n_rows, const index* rows,
                            index purpose, std::uint64_t key, std::uint64_t start, outcomes_view out, index n,
                            int threads);

  index (*sample_one)(const std::uint64_t* level, index n, std::uint64_t key, std::uint64_t draw);

  // sample_features.hpp
  void (*sample_features)(const structure_view& structure, const levels_view& levels, const index* y, index only,
                          std::uint64_t key, std::uint64_t start, outcomes_view out, index n, int threads);

  // sample_paths.hpp
  void (*sample_paths)(const structure_view& structure, const levels_view& levels, const index* y, const index* initial,
                       std::uint64_t key, std::uint64_t start, index step, outcomes_view out, index n, index length,
                       int threads);

  // complete_features.hpp; scratch in words of 64 bits
  index (*complete_features_scratch)(const structure_view& s, index n, int threads);
  void (*complete_features)(const codes_view& x, const index* y, const code_rules& rules, const structure_view& s,
                            const double* probabilities, bool plain, const std::uint64_t* level, index only,
                            bool maximize, std::uint64_t key, std::uint64_t start, outcomes_view out, void* scratch,
                            int threads);

  // sample_rows.hpp
  index (*sample_rows)(const double* floats, const index* integers, index n_columns, const index* rows, index n,
                       std::uint64_t key, std::uint64_t start, outcomes_view out, int threads);

  // sample_counts.hpp
  void (*sample_counts)(const std::uint64_t* level, index n_columns, const index* rows, const index* totals, index n,
                        std::uint64_t key, std::uint64_t start, index* out, int threads);

  // sample_shares.hpp
  void (*sample_shares)(std::uint64_t key, std::uint32_t attempt, std::uint64_t start, double* out, index n, index k,
                        int threads);
};

struct log_prob_kernels {
  // marginals_features.hpp; scratch in words of 64 bits
  index (*marginals_features_scratch)(const structure_view& s, int threads);
  void (*marginals_features)(const codes_view& x, const code_rules& rules, const structure_view& s,
                             const double* probabilities, bool plain, const double* weights, double* out, void* scratch,
                             int threads);

  // class_lanes.hpp
  void (*lay_out_logs)(const structure_view& s, const double* probabilities, const index* lane_offsets, double* lanes,
                       int threads);

  // log_prob_features.hpp, log_prob_messages.hpp, log_prob_paths.hpp; scratch in words of 64 bits
  index (*log_prob_features_scratch)(const structure_view& s, index n, int threads);
  index (*log_prob_features)(const codes_view& x, const code_rules& rules, const structure_view& s, const double* lanes,
                             const index* lane_offsets, const double* first, std::uint8_t* incomplete, double* out,
                             void* scratch, int threads);
  index (*log_prob_messages_scratch)(const structure_view& s, index n_rows, int threads);
  index (*log_prob_messages)(const codes_view& x, const code_rules& rules, const structure_view& s,
                             const double* probabilities, bool plain, const double* cells, const double* logs,
                             const index* log_offsets, const totals_view& totals, const double* first, bool maximize,
                             const index* rows, index n_rows, double* out, void* scratch, int threads);
  index (*log_prob_paths_scratch)(const structure_view& s, int threads);
  index (*log_prob_paths)(const pieces_view& paths, const structure_view& s, const double* probabilities,
                          const double* logs, const index* log_offsets, bool use_start, const double* first,
                          double* out, void* scratch, int threads);
};

struct information_kernels {
  // pair_information.hpp, spanning_forest.hpp, information_forest.hpp; scratch in words of 64 bits
  index (*pair_information_scratch)(const structure_view& s, int threads);
  void (*pair_information)(const structure_view& s, const index* pair_begins, const double* floats,
                           const index* integers, const index* by_size, const double* pseudocounts, index first,
                           index last, double* information, double* seen, void* scratch, int threads);
  index (*spanning_forest_scratch)(index d);
  void (*spanning_forest)(const double* gain, index d, index root, index* parents, void* scratch);
  index (*information_forest_scratch)(const structure_view& s);
  void (*information_forest)(const structure_view& s, const double* floats, const index* integers,
                             const double* pseudocounts, index root, index* parents, void* scratch, int threads);
};

struct kernel_table {
  const char* instruction_set;
  int (*max_threads)();

  // philox.hpp
  void (*philox)(const std::uint32_t* counters, index n, std::uint64_t key, std::uint32_t* words);

  // elementary.hpp
  void (*log)(const double* x, index n, double* out);
  void (*exp)(const double* x, index n, double* out);
  void (*divergence_terms)(const double* p, const double* q, const double* log_q, index n, double* out);
  void (*log_scaled)(const double* x, const index* exponent, index n, double* out);

  // row_probabilities.hpp
  bool (*row_probabilities)(const structure_view& s, double* floats, index* integers, double more, double* theta);

  // row_sums.hpp
  bool (*row_sums)(const double* x, index n, index c, double* out);

  // posterior.hpp
  void (*log_sum_exp)(const double* x, index n, index k, double* out, int threads);
  void (*posterior)(const double* x, index n, index k, const double* prior, double* evidence, double* out, int threads);
  void (*log_posterior)(const double* x, index n, index k, const double* log_prior, double* out, int threads);

  const count_kernels* count;
  const sample_kernels* sample;
  const log_prob_kernels* log_prob;
  const information_kernels* information;
};

// One a compiled set, defined in kernels.cpp.
#if defined(__x86_64__) || defined(_M_X64)
namespace x86_64_v2 { extern const kernel_table kernels; }
namespace x86_64_v3 { extern const kernel_table kernels; }
namespace x86_64_v4 { extern const kernel_table kernels; }
#else
namespace generic { extern const kernel_table kernels; }
#endif

/// The table in use; chosen at import, see bindings/bind_backend.cpp.
const kernel_table& active_kernels();

}  // namespace tallydraw
