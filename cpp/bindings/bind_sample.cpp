// Sampling: categories, features, paths, one draw a row, multinomial counts.
#include "arrays.hpp"

namespace tallydraw {

void bind_sample(py::module_& m) { (void)m; }

}  // namespace tallydraw
