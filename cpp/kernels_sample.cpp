// The kernels that draw, compiled once an instruction set: TALLYDRAW_ISA names the namespace of this object.
#include "tallydraw/kernels.hpp"

#include "tallydraw/build_levels.hpp"
#include "tallydraw/complete_features.hpp"
#include "tallydraw/sample_categories.hpp"
#include "tallydraw/sample_counts.hpp"
#include "tallydraw/sample_features.hpp"
#include "tallydraw/sample_paths.hpp"
#include "tallydraw/sample_rows.hpp"
#include "tallydraw/sample_shares.hpp"

namespace tallydraw::TALLYDRAW_ISA {

extern const sample_kernels sampling = {
    /*row_levels=*/row_levels,
    /*build_guides=*/build_guides,
    /*sample_categories=*/sample_categories,
    /*sample_one=*/sample_one,
    /*sample_features=*/sample_features,
    /*sample_paths=*/sample_paths,
    /*complete_features_scratch=*/complete_features_scratch,
    /*complete_features=*/complete_features,
    /*sample_rows=*/sample_rows,
    /*sample_counts=*/sample_counts,
    /*sample_shares=*/sample_shares,
};

}  // namespace tallydraw::TALLYDRAW_ISA
