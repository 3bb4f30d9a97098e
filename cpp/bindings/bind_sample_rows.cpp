// Sampling: one draw from each row of a matrix, multinomial counts.
#include "arrays.hpp"

namespace tallydraw {

void bind_sample_rows(py::module_& m) {
  m.def(
      "sample_rows",
      [](const py::array& weights, const optional_array<index>& rows, std::uint64_t key, std::uint64_t start,
         py::array out, int threads) {
        const bool floats = py::isinstance<array<double>>(weights);
        if (!floats && !py::isinstance<array<index>>(weights))
          throw py::type_error("weights must be a C-contiguous array of float64 or int64");
        const auto* f = floats ? static_cast<const double*>(weights.data()) : nullptr;
        const auto* i = floats ? nullptr : static_cast<const index*>(weights.data());
        const index columns = weights.shape(1);
        const index* chosen = data_or_null(rows);
        const outcomes_view view = as_outcomes(out);
        const index n = out.shape(0);
        py::gil_scoped_release release;  // a long pass over memory; other Python threads may run
        return active_kernels().sample_rows(f, i, columns, chosen, n, key, start, view, threads);
      },
      py::arg("weights"), py::arg("rows").noconvert(), py::arg("key"), py::arg("start"), py::arg("out"),
      py::arg("threads"));
  m.def(
      "sample_counts",
      [](const array<std::uint64_t>& level, const array<index>& rows, const array<index>& totals, std::uint64_t key,
         std::uint64_t start, array<index>& out, int threads) {
        const index columns = level.shape(1);
        const index n = out.shape(0);
        const auto* l = level.data();
        const auto* r = rows.data();
        const auto* t = totals.data();
        auto* to = out.mutable_data();
        py::gil_scoped_release release;  // arithmetic alone; other Python threads may run
        active_kernels().sample_counts(l, columns, r, t, n, key, start, to, threads);
      },
      py::arg("level").noconvert(), py::arg("rows").noconvert(), py::arg("totals").noconvert(), py::arg("key"),
      py::arg("start"), py::arg("out").noconvert(), py::arg("threads"));
}

}  // namespace tallydraw
