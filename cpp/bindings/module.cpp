// The table of contents of tallydraw._core. Its contract is python/tallydraw/_core.pyi.
#include "arrays.hpp"

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  m.doc() = "The compiled backend of tallydraw.";
  tallydraw::bind_backend(m);
  tallydraw::bind_elementary(m);
  tallydraw::bind_sample(m);
  tallydraw::bind_count(m);
  tallydraw::bind_log_prob(m);
  tallydraw::bind_information(m);
}
