// information: bindings of pair_information.hpp, spanning_forest.hpp, information_forest.hpp, tree_tables.hpp and
// row_probabilities.hpp.
#include "arrays.hpp"

#include <utility>

namespace tallydraw {
namespace {

/// Counts as float64, or else as int64; the other one is null.
std::pair<const double*, const index*> as_counts(const py::array& counts) {
  if (py::isinstance<array<double>>(counts)) return {static_cast<const double*>(counts.data()), nullptr};
  if (py::isinstance<array<index>>(counts)) return {nullptr, static_cast<const index*>(counts.data())};
  throw py::type_error("counts must be a C-contiguous array of float64 or int64");
}

void pair_information(const py::tuple& structure, const array<index>& pair_offsets, const py::array& counts,
                      const array<index>& by_size, const array<double>& pseudocounts, index first, index last,
                      array<double>& information, std::optional<array<double>>& seen, int threads) {
  const auto [f, i] = as_counts(counts);
  const structure_view s = as_structure(structure);
  const index *offsets = pair_offsets.data(), *sorted = by_size.data();
  const double* more = pseudocounts.data();
  double *to = information.mutable_data(), *sums = seen ? seen->mutable_data() : nullptr;
  const information_kernels& kernels = *active_kernels().information;  // once: another thread may choose another
  const scratch_words scratch(kernels.pair_information_scratch(s, threads));
  const without_gil released;  // raw memory only from here on
  kernels.pair_information(s, offsets, f, i, sorted, more, first, last, to, sums, scratch.get(), threads);
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

/// Numbers of 64 bits of any type.
const std::uint64_t* as_words(const py::array& x) {
  if (x.itemsize() != 8 || !(x.flags() & py::array::c_style))
    throw py::type_error("an array of 64-bit numbers, please");
  return static_cast<const std::uint64_t*>(x.data());
}

void tree_tables(const py::tuple& structure, const optional_array<index>& pair_offsets, const py::array& pairs,
                 const py::array& marginals, const array<index>& parents, array<index>& layout, py::array& tables) {
  const structure_view s = as_structure(structure);
  const index *offsets = data_or_null(pair_offsets), *above = parents.data();
  const std::uint64_t *cells = as_words(pairs), *single = as_words(marginals);
  index* const part = layout.mutable_data();
  const tree_view tree{part, part + 2 * s.d, part + 3 * s.d + 1, part + 4 * s.d + 2, part + s.d};
  auto* const to = const_cast<std::uint64_t*>(as_words(tables));
  const information_kernels& kernels = *active_kernels().information;
  const scratch_words scratch(kernels.tree_tables_scratch(s.d));
  const without_gil released;  // raw memory only from here on
  kernels.tree_tables(s, offsets, cells, single, above, tree, to, scratch.get());
}

bool row_probabilities(const py::tuple& structure, py::array& weights, double more, array<double>& theta) {
  const auto [f, i] = as_counts(weights);
  const structure_view s = as_structure(structure);
  double* to = theta.mutable_data();
  const without_gil released;  // raw memory only from here on
  return active_kernels().information->row_probabilities(s, const_cast<double*>(f), const_cast<index*>(i), more, to);
}

}  // namespace

void bind_information(py::module_& m) {
  m.def("pair_information", pair_information, py::arg("structure"), py::arg("pair_offsets").noconvert(),
        py::arg("counts"), py::arg("by_size").noconvert(), py::arg("pseudocounts").noconvert(), py::arg("first"),
        py::arg("last"), py::arg("information").noconvert(), py::arg("seen").noconvert(), py::arg("threads"));
  m.def("spanning_forest", spanning_forest, py::arg("gain").noconvert(), py::arg("root"),
        py::arg("parents").noconvert());
  m.def("information_forest", information_forest, py::arg("structure"), py::arg("counts"),
        py::arg("pseudocounts").noconvert(), py::arg("root"), py::arg("parents").noconvert(), py::arg("threads"));
  m.def("tree_tables", tree_tables, py::arg("structure"), py::arg("pair_offsets").noconvert(), py::arg("pairs"),
        py::arg("marginals"), py::arg("parents").noconvert(), py::arg("layout").noconvert(), py::arg("tables"));
  m.def("row_probabilities", row_probabilities, py::arg("structure"), py::arg("weights"), py::arg("more"),
        py::arg("theta").noconvert());
}

}  // namespace tallydraw
