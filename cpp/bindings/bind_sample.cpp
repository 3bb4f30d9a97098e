// Sampling: categories, features, paths.
#include "arrays.hpp"

namespace tallydraw {

void bind_sample(py::module_& m) {
  m.def(
      "build_guides",
      [](const py::tuple& structure, const array<std::uint64_t>& level, const array<index>& guide_offsets,
         const array<index>& guide_bits, array<std::uint32_t>& guide) {
        active_kernels().build_guides(as_structure(structure), level.data(), guide_offsets.data(), guide_bits.data(),
                                      guide.mutable_data());
      },
      py::arg("structure"), py::arg("level").noconvert(), py::arg("guide_offsets").noconvert(),
      py::arg("guide_bits").noconvert(), py::arg("guide").noconvert());
  m.def(
      "sample_categories",
      [](const py::tuple& levels, index n_categories, const optional_array<index>& rows, index purpose,
         std::uint64_t key, std::uint64_t start, py::array& out, int threads) {
        const levels_view l = as_levels(levels);
        const outcomes_view view = as_outcomes(out);
        const index n = out.size();
        const index n_rows = py::cast<py::array>(levels[0]).size() / n_categories;
        const index* const r = data_or_null(rows);
        // The loop touches no Python object.
        const py::gil_scoped_release release;
        active_kernels().sample_categories(l, n_categories, n_rows, r, purpose, key, start, view, n, threads);
      },
      py::arg("levels"), py::arg("n_categories"), py::arg("rows").noconvert(), py::arg("purpose"), py::arg("key"),
      py::arg("start"), py::arg("out").noconvert(), py::arg("threads"));
  m.def(
      "sample_features",
      [](const py::tuple& structure, const py::tuple& levels, const optional_array<index>& y, std::uint64_t key,
         std::uint64_t start, py::array& out, int threads) {
        const structure_view s = as_structure(structure);
        const levels_view l = as_levels(levels);
        const outcomes_view view = as_outcomes(out);
        const index n = out.shape(0);
        const index* const classes = data_or_null(y);
        // The loop touches no Python object.
        const py::gil_scoped_release release;
        active_kernels().sample_features(s, l, classes, key, start, view, n, threads);
      },
      py::arg("structure"), py::arg("levels"), py::arg("y").noconvert(), py::arg("key"), py::arg("start"),
      py::arg("out").noconvert(), py::arg("threads"));
  m.def(
      "sample_paths",
      [](const py::tuple& structure, const py::tuple& levels, const optional_array<index>& y,
         const optional_array<index>& initial, std::uint64_t key, std::uint64_t start, index step, py::array& out,
         int threads) {
        const structure_view s = as_structure(structure);
        const levels_view l = as_levels(levels);
        const outcomes_view view = as_outcomes(out);
        const index n = out.shape(0);
        const index length = out.shape(1);
        const index* const classes = data_or_null(y);
        const index* const states = data_or_null(initial);
        // The loop touches no Python object.
        const py::gil_scoped_release release;
        active_kernels().sample_paths(s, l, classes, states, key, start, step, view, n, length, threads);
      },
      py::arg("structure"), py::arg("levels"), py::arg("y").noconvert(), py::arg("initial").noconvert(), py::arg("key"),
      py::arg("start"), py::arg("step"), py::arg("out").noconvert(), py::arg("threads"));
}

}  // namespace tallydraw
