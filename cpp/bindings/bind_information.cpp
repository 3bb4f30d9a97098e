// information: bindings of pair_information.hpp, spanning_forest.hpp and information_forest.hpp.
#include "arrays.hpp"

namespace tallydraw {
namespace {

void pair_information(const py::tuple& structure, const optional_array<index>& pair_begins, const py::array& counts,
                      const array<index>& by_size, const array<double>& pseudocounts, index first, index last,
                      array<double>& information, std::optional<array<double>>& seen, int threads) {
  const auto [f, i] = as_counts(counts);
  const structure_view s = as_structure(structure);
  const index *begins = data_or_null(pair_begins), *sorted = by_size.data();
  const double* more = pseudocounts.data();
  double *to = information.mutable_data(), *sums = seen ? seen->mutable_data() : nullptr;
  const information_kernels& kernels = *active_kernels().information;  // once: another thread may choose another
  const scratch_words scratch(kernels.pair_information_scratch(s, threads));
  const without_gil released;  // raw memory only from here on
  kernels.pair_information(s, begins, f, i, sorted, more, first, last, to, sums, scratch.get(), threads);
}

void spanning_forest(const array<double>& gain, index root, array<index>& parents) {
  const double* arcs = gain.data();
  const index d = parents.size();
  index* to = parents.mutable_data();
  const information_kernels& kernels = *active_kernels().information;
  const scratch_words scratch(kernels.spanning_forest_scratch(d));
  const without_gil released;  // raw memory only from here on
  kernels.spanning_forest(arcs, d, root, to, scratch.get());
}

void information_forest(const py::tuple& structure, const py::array& counts, const array<double>& pseudocounts,
                        index root, array<index>& parents, int threads) {
  const auto [f, i] = as_counts(counts);
  const structure_view s = as_structure(structure);
  const double* more = pseudocounts.data();
  index* to = parents.mutable_data();
  const information_kernels& kernels = *active_kernels().information;
  const scratch_words scratch(kernels.information_forest_scratch(s));
  const without_gil released;  // raw memory only from here on
  kernels.information_forest(s, f, i, more, root, to, scratch.get(), threads);
}

}  // namespace

void bind_information(py::module_& m) {
  m.def("pair_information", pair_information, py::arg("structure"), py::arg("pair_begins").noconvert(),
        py::arg("counts"), py::arg("by_size").noconvert(), py::arg("pseudocounts").noconvert(), py::arg("first"),
        py::arg("last"), py::arg("information").noconvert(), py::arg("seen").noconvert(), py::arg("threads"));
  m.def("spanning_forest", spanning_forest, py::arg("gain").noconvert(), py::arg("root"),
        py::arg("parents").noconvert());
  m.def("information_forest", information_forest, py::arg("structure"), py::arg("counts"),
        py::arg("pseudocounts").noconvert(), py::arg("root"), py::arg("parents").noconvert(), py::arg("threads"));
}

}  // namespace tallydraw
