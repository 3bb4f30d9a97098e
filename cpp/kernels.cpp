// All kernels, compiled once an instruction set: TALLYDRAW_ISA names the namespace of this object.
#include "tallydraw/kernels.hpp"

#ifdef _MSC_VER
#pragma fp_contract(off)  // what -ffp-contract=off is elsewhere
#endif

#include "tallydraw/complete_features.hpp"
#include "tallydraw/count_expected.hpp"
#include "tallydraw/count_features.hpp"
#include "tallydraw/count_pairs.hpp"
#include "tallydraw/count_pairs_weighted.hpp"
#include "tallydraw/count_transitions.hpp"
#include "tallydraw/elementary.hpp"
#include "tallydraw/levels.hpp"
#include "tallydraw/log_prob_features.hpp"
#include "tallydraw/log_prob_messages.hpp"
#include "tallydraw/log_prob_paths.hpp"
#include "tallydraw/marginals_features.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/philox.hpp"
#include "tallydraw/posterior.hpp"
#include "tallydraw/sample_categories.hpp"
#include "tallydraw/sample_counts.hpp"
#include "tallydraw/sample_features.hpp"
#include "tallydraw/sample_paths.hpp"
#include "tallydraw/sample_rows.hpp"

#define TALLYDRAW_STRING_(x) #x
#define TALLYDRAW_STRING(x) TALLYDRAW_STRING_(x)

namespace tallydraw::TALLYDRAW_ISA {

static void philox_words(const std::uint32_t* counters, index n, std::uint64_t key, std::uint32_t* words) {
  for (index i = 0; i < n; ++i) {
    std::uint32_t x[4][1];
    for (int w = 0; w < 4; ++w) x[w][0] = counters[4 * i + w];
    philox(x, key);
    for (int w = 0; w < 4; ++w) words[4 * i + w] = x[w][0];
  }
}

extern const kernel_table kernels = {
    /*instruction_set=*/TALLYDRAW_STRING(TALLYDRAW_ISA),
    /*max_threads=*/max_threads,
    /*philox=*/philox_words,
    /*log=*/log,
    /*exp=*/exp,
    /*divergence_terms=*/divergence_terms,
    /*log_scaled=*/log_scaled,
    /*log_sum_exp=*/log_sum_exp,
    /*posterior=*/posterior,
    /*log_posterior=*/log_posterior,
    /*build_guides=*/build_guides,
    /*sample_categories=*/sample_categories,
    /*sample_one=*/sample_one,
    /*sample_features=*/sample_features,
    /*sample_paths=*/sample_paths,
    /*complete_features_scratch=*/complete_features_scratch,
    /*complete_features=*/complete_features,
    /*sample_rows=*/sample_rows,
    /*count_features_scratch=*/count_features_scratch,
    /*count_features=*/count_features,
    /*count_features_weighted=*/count_features_weighted,
    /*count_features_soft=*/count_features_soft,
    /*count_transitions_scratch=*/count_transitions_scratch,
    /*count_transitions=*/count_transitions,
    /*count_pairs_scratch=*/count_pairs_scratch,
    /*count_pairs=*/count_pairs,
    /*count_pairs_weighted_scratch=*/count_pairs_weighted_scratch,
    /*count_pairs_weighted=*/count_pairs_weighted,
    /*count_expected_scratch=*/count_expected_scratch,
    /*count_expected=*/count_expected,
    /*marginals_features_scratch=*/marginals_features_scratch,
    /*marginals_features=*/marginals_features,
    /*sample_counts=*/sample_counts,
    /*log_prob_features_scratch=*/log_prob_features_scratch,
    /*log_prob_features=*/log_prob_features,
    /*log_prob_messages_scratch=*/log_prob_messages_scratch,
    /*log_prob_messages=*/log_prob_messages,
    /*log_prob_paths_scratch=*/log_prob_paths_scratch,
    /*log_prob_paths=*/log_prob_paths,
};

}  // namespace tallydraw::TALLYDRAW_ISA
