// The kernels that count, compiled once an instruction set: TALLYDRAW_ISA names the namespace of this object.
#include "tallydraw/kernels.hpp"

#include "tallydraw/class_lanes.hpp"
#include "tallydraw/count_expected.hpp"
#include "tallydraw/count_features.hpp"
#include "tallydraw/count_pairs.hpp"
#include "tallydraw/count_pairs_weighted.hpp"
#include "tallydraw/count_posterior.hpp"
#include "tallydraw/count_transitions.hpp"
#include "tallydraw/group_codes.hpp"
#include "tallydraw/tree_tables.hpp"

namespace tallydraw::TALLYDRAW_ISA {

extern const count_kernels counting = {
    /*count_features_scratch=*/count_features_scratch,
    /*count_features=*/count_features,
    /*count_features_weighted=*/count_features_weighted,
    /*count_features_soft=*/count_features_soft,
    /*collect_lanes=*/collect_lanes,
    /*count_transitions_scratch=*/count_transitions_scratch,
    /*count_transitions=*/count_transitions,
    /*count_pairs_scratch=*/count_pairs_scratch,
    /*count_pairs=*/count_pairs,
    /*count_pairs_weighted_scratch=*/count_pairs_weighted_scratch,
    /*count_pairs_weighted=*/count_pairs_weighted,
    /*tree_tables_scratch=*/tree_tables_scratch,
    /*tree_tables=*/tree_tables,
    /*count_expected_scratch=*/count_expected_scratch,
    /*count_expected=*/count_expected,
    /*group_codes_scratch=*/group_codes_scratch,
    /*group_codes=*/group_codes,
    /*count_posterior_scratch=*/count_posterior_scratch,
    /*count_posterior=*/count_posterior,
    /*count_shares=*/count_shares,
};

}  // namespace tallydraw::TALLYDRAW_ISA
