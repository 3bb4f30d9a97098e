// Sampling: categories, features, paths, one draw from each row of a matrix, multinomial counts.
#include "arrays.hpp"

namespace tallydraw {

// Every kernel below works on checked buffers and touches no Python object: the GIL is released for other threads.
void bind_sample(py::module_& m) {
  m.def(
      "row_levels",
      [](const py::array& weights, array<std::uint64_t>& level) {
        const auto [floats, integers] = as_counts(weights);
        std::uint64_t* const to = level.mutable_data();
        const index n = level.shape(0);
        const index c = level.shape(1);
        const without_gil release;
        return active_kernels().sample->row_levels(floats, integers, n, c, to);
      },
      py::arg("weights"), py::arg("level").noconvert());
  m.def(
      "build_guides",
      [](const py::tuple& structure, const array<std::uint64_t>& level, const array<index>& guide_offsets,
         const array<index>& guide_bits, array<std::uint32_t>& high, py::array& guide) {
        const structure_view s = as_structure(structure);
        const std::uint64_t* const l = level.data();
        const index* const offsets = guide_offsets.data();
        const index* const bits = guide_bits.data();
        std::uint32_t* const upper = high.mutable_data();
        const bool narrow = py::isinstance<array<std::uint8_t>>(guide);
        if (!narrow && !py::isinstance<array<std::uint32_t>>(guide))
          throw py::type_error("guide must be a C-contiguous array of uint8 or uint32");
        auto* const bytes = narrow ? static_cast<std::uint8_t*>(guide.mutable_data()) : nullptr;
        auto* const words = narrow ? nullptr : static_cast<std::uint32_t*>(guide.mutable_data());
        const without_gil release;
        active_kernels().sample->build_guides(s, l, offsets, bits, upper, bytes, words);
      },
      py::arg("structure"), py::arg("level").noconvert(), py::arg("guide_offsets").noconvert(),
      py::arg("guide_bits").noconvert(), py::arg("high").noconvert(), py::arg("guide").noconvert());
  m.def(
      "sample_categories",
      [](const py::tuple& levels, index n_categories, const optional_array<index>& rows, index purpose,
         std::uint64_t key, std::uint64_t start, py::array& out, int threads) {
        const outcomes_view view = as_outcomes(out);
        const levels_view l = as_levels(levels, view);
        const index n = out.size();
        const index n_rows = py::cast<py::array>(levels[0]).size() / n_categories;
        const index* const r = data_or_null(rows);
        const without_gil release;
        active_kernels().sample->sample_categories(l, n_categories, n_rows, r, purpose, key, start, view, n, threads);
      },
      py::arg("levels"), py::arg("n_categories"), py::arg("rows").noconvert(), py::arg("purpose"), py::arg("key"),
      py::arg("start"), py::arg("out").noconvert(), py::arg("threads"));
  m.def(
      "sample_one",
      [](const array<std::uint64_t>& level, std::uint64_t key, std::uint64_t draw) {
        return active_kernels().sample->sample_one(level.data(), level.size(), key,
                                                   draw);  // shorter than releasing the GIL
      },
      py::arg("level").noconvert(), py::arg("key"), py::arg("draw"));
  m.def(
      "sample_features",
      [](const py::tuple& structure, const py::tuple& levels, const optional_array<index>& y, index only,
         std::uint64_t key, std::uint64_t start, py::array& out, int threads) {
        const structure_view s = as_structure(structure);
        const outcomes_view view = as_outcomes(out);
        const levels_view l = as_levels(levels, view);
        const index n = out.shape(0);
        const index* const classes = data_or_null(y);
        const without_gil release;
        active_kernels().sample->sample_features(s, l, classes, only, key, start, view, n, threads);
      },
      py::arg("structure"), py::arg("levels"), py::arg("y").noconvert(), py::arg("only"), py::arg("key"),
      py::arg("start"), py::arg("out").noconvert(), py::arg("threads"));
  m.def(
      "complete_features",
      [](const py::array& X, const optional_array<index>& y, std::optional<index> missing, bool unseen_is_missing,
         const py::tuple& structure, const array<double>& probabilities, bool plain, const array<std::uint64_t>& level,
         index only, bool maximize, std::uint64_t key, std::uint64_t start, py::array& out, int threads) {
        const codes_view x = as_codes(X);
        const code_rules rules = as_rules(missing, unseen_is_missing);
        const structure_view s = as_structure(structure);
        const index* const classes = data_or_null(y);
        const double* theta = probabilities.data();
        const std::uint64_t* levels = level.data();
        const outcomes_view view = as_outcomes(out);
        const sample_kernels& kernels = *active_kernels().sample;  // once: another thread may choose another
        const without_gil release;
        const scratch_words scratch(kernels.complete_features_scratch(s, x.n, threads));
        kernels.complete_features(x, classes, rules, s, theta, plain, levels, only, maximize, key, start, view,
                                  scratch.get(), threads);
      },
      py::arg("X"), py::arg("y").noconvert(), py::arg("missing"), py::arg("unseen_is_missing"), py::arg("structure"),
      py::arg("probabilities").noconvert(), py::arg("plain"), py::arg("level").noconvert(), py::arg("only"),
      py::arg("maximize"), py::arg("key"), py::arg("start"), py::arg("out").noconvert(), py::arg("threads"));
  m.def(
      "sample_paths",
      [](const py::tuple& structure, const py::tuple& levels, const optional_array<index>& y,
         const optional_array<index>& initial, std::uint64_t key, std::uint64_t start, index step, py::array& out,
         int threads) {
        const structure_view s = as_structure(structure);
        const outcomes_view view = as_outcomes(out);
        const levels_view l = as_levels(levels, view);
        const index n = out.shape(0);
        const index length = out.shape(1);
        const index* const classes = data_or_null(y);
        const index* const states = data_or_null(initial);
        const without_gil release;
        active_kernels().sample->sample_paths(s, l, classes, states, key, start, step, view, n, length, threads);
      },
      py::arg("structure"), py::arg("levels"), py::arg("y").noconvert(), py::arg("initial").noconvert(), py::arg("key"),
      py::arg("start"), py::arg("step"), py::arg("out").noconvert(), py::arg("threads"));
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
        const without_gil release;
        return active_kernels().sample->sample_rows(f, i, columns, chosen, n, key, start, view, threads);
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
        const without_gil release;
        active_kernels().sample->sample_counts(l, columns, r, t, n, key, start, to, threads);
      },
      py::arg("level").noconvert(), py::arg("rows").noconvert(), py::arg("totals").noconvert(), py::arg("key"),
      py::arg("start"), py::arg("out").noconvert(), py::arg("threads"));
  m.def(
      "sample_shares",
      [](std::uint64_t key, std::uint32_t attempt, std::uint64_t start, array<double>& out, int threads) {
        double* const to = out.mutable_data();
        const index n = out.shape(0), k = out.shape(1);
        const without_gil released;
        active_kernels().sample->sample_shares(key, attempt, start, to, n, k, threads);
      },
      py::arg("key"), py::arg("attempt"), py::arg("start"), py::arg("out").noconvert(), py::arg("threads"));
}

}  // namespace tallydraw
