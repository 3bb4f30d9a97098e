// The kernels of information, compiled once an instruction set: TALLYDRAW_ISA names the namespace of this object.
#include "tallydraw/kernels.hpp"

#include "tallydraw/information_forest.hpp"
#include "tallydraw/pair_information.hpp"
#include "tallydraw/spanning_forest.hpp"

namespace tallydraw::TALLYDRAW_ISA {

extern const information_kernels informing = {
    /*pair_information_scratch=*/pair_information_scratch,
    /*pair_information=*/pair_information,
    /*spanning_forest_scratch=*/spanning_forest_scratch,
    /*spanning_forest=*/spanning_forest,
    /*information_forest_scratch=*/information_forest_scratch,
    /*information_forest=*/information_forest,
};

}  // namespace tallydraw::TALLYDRAW_ISA
