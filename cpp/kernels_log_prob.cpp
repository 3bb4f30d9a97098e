// The kernels that score, compiled once an instruction set: TALLYDRAW_ISA names the namespace of this object.
#include "tallydraw/kernels.hpp"

#include "tallydraw/class_lanes.hpp"
#include "tallydraw/log_prob_features.hpp"
#include "tallydraw/log_prob_messages.hpp"
#include "tallydraw/log_prob_paths.hpp"
#include "tallydraw/marginals_features.hpp"

namespace tallydraw::TALLYDRAW_ISA {

extern const log_prob_kernels scoring = {
    /*marginals_features_scratch=*/marginals_features_scratch,
    /*marginals_features=*/marginals_features,
    /*lay_out_logs=*/lay_out_logs,
    /*log_prob_features_scratch=*/log_prob_features_scratch,
    /*log_prob_features=*/log_prob_features,
    /*log_prob_messages_scratch=*/log_prob_messages_scratch,
    /*log_prob_messages=*/log_prob_messages,
    /*log_prob_paths_scratch=*/log_prob_paths_scratch,
    /*log_prob_paths=*/log_prob_paths,
};

}  // namespace tallydraw::TALLYDRAW_ISA
