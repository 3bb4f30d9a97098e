// Log-probabilities of rows and of paths.
#include "arrays.hpp"

#include <memory>

namespace tallydraw {
void bind_log_prob(py::module_& m) {
  // Every kernel below works on checked buffers and touches no Python object: the GIL is released for other threads.
  m.def(
      "lay_out_logs",
      [](const py::tuple& structure, const array<double>& probabilities, const array<index>& lane_offsets,
         array<double>& lanes, int threads) {
        const structure_view s = as_structure(structure);
        const double* from = probabilities.data();
        const index* offsets = lane_offsets.data();
        double* to = lanes.mutable_data();
        const without_gil release;
        active_kernels().log_prob->lay_out_logs(s, from, offsets, to, threads);
      },
      py::arg("structure"), py::arg("probabilities").noconvert(), py::arg("lane_offsets").noconvert(),
      py::arg("lanes").noconvert(), py::arg("threads"));
  m.def(
      "log_prob_features",
      [](const py::array& X, std::optional<index> missing, bool unseen_is_missing, const py::tuple& structure,
         const array<double>& lanes, const array<index>& lane_offsets, const array<double>& first,
         array<std::uint8_t>& incomplete, array<double>& out, int threads) {
        const codes_view x = as_codes(X);
        const code_rules rules = as_rules(missing, unseen_is_missing);
        const structure_view s = as_structure(structure);
        const double* from = lanes.data();
        const index* offsets = lane_offsets.data();
        const double* begin = first.data();
        std::uint8_t* marks = incomplete.mutable_data();
        double* to = out.mutable_data();
        const log_prob_kernels& kernels = *active_kernels().log_prob;  // once: another thread may choose another
        const without_gil release;
        const scratch_words scratch(kernels.log_prob_features_scratch(s, x.n, threads));
        return kernels.log_prob_features(x, rules, s, from, offsets, begin, marks, to, scratch.get(), threads);
      },
      py::arg("X"), py::arg("missing"), py::arg("unseen_is_missing"), py::arg("structure"),
      py::arg("lanes").noconvert(), py::arg("lane_offsets").noconvert(), py::arg("first").noconvert(),
      py::arg("incomplete").noconvert(), py::arg("out").noconvert(), py::arg("threads"));
  m.def(
      "log_prob_messages",
      [](const py::array& X, std::optional<index> missing, bool unseen_is_missing, const py::tuple& structure,
         const array<double>& probabilities, bool plain, const array<double>& cells, const array<double>& logs,
         const array<index>& log_offsets, const std::optional<py::tuple>& totals, const array<double>& first,
         bool maximize, const array<index>& rows, array<double>& out, int threads) {
        const codes_view x = as_codes(X);
        const code_rules rules = as_rules(missing, unseen_is_missing);
        const structure_view s = as_structure(structure);
        const double* theta = probabilities.data();
        const double* inner = cells.data();
        const double* from = logs.data();
        const index* offsets = log_offsets.data();
        const double* begin = first.data();
        const totals_view known = as_totals(totals);
        const index* which = rows.data();
        const index n = rows.size();
        double* to = out.mutable_data();
        const log_prob_kernels& kernels = *active_kernels().log_prob;  // once: another thread may choose another
        const without_gil release;
        const scratch_words scratch(kernels.log_prob_messages_scratch(s, n, threads));
        return kernels.log_prob_messages(x, rules, s, theta, plain, inner, from, offsets, known, begin, maximize, which,
                                         n, to, scratch.get(), threads);
      },
      py::arg("X"), py::arg("missing"), py::arg("unseen_is_missing"), py::arg("structure"),
      py::arg("probabilities").noconvert(), py::arg("plain"), py::arg("cells").noconvert(), py::arg("logs").noconvert(),
      py::arg("log_offsets").noconvert(), py::arg("totals"), py::arg("first").noconvert(), py::arg("maximize"),
      py::arg("rows").noconvert(), py::arg("out").noconvert(), py::arg("threads"));
  m.def(
      "marginals_features",
      [](const py::array& X, std::optional<index> missing, bool unseen_is_missing, const py::tuple& structure,
         const array<double>& probabilities, bool plain, const array<double>& weights, array<double>& out,
         int threads) {
        const codes_view x = as_codes(X);
        const code_rules rules = as_rules(missing, unseen_is_missing);
        const structure_view s = as_structure(structure);
        const double* theta = probabilities.data();
        const double* weight = weights.data();
        double* to = out.mutable_data();
        const log_prob_kernels& kernels = *active_kernels().log_prob;  // once: another thread may choose another
        const without_gil release;
        const scratch_words scratch(kernels.marginals_features_scratch(s, threads));
        kernels.marginals_features(x, rules, s, theta, plain, weight, to, scratch.get(), threads);
      },
      py::arg("X"), py::arg("missing"), py::arg("unseen_is_missing"), py::arg("structure"),
      py::arg("probabilities").noconvert(), py::arg("plain"), py::arg("weights").noconvert(),
      py::arg("out").noconvert(), py::arg("threads"));
  m.def(
      "log_prob_paths",
      [](const py::array& x, const array<index>& offsets, const py::tuple& structure,
         const array<double>& probabilities, const array<double>& logs, const array<index>& log_offsets, bool use_start,
         const array<double>& first, array<double>& out, int threads) {
        const codes_view states = as_codes(x);
        const structure_view s = as_structure(structure);
        const pieces_view paths{states.data, states.type, offsets.data(), offsets.size() - 1, nullptr};
        const double* theta = probabilities.data();
        const double* from = logs.data();
        const index* places = log_offsets.data();
        const double* begin = first.data();
        double* to = out.mutable_data();
        const log_prob_kernels& kernels = *active_kernels().log_prob;  // once: another thread may choose another
        const without_gil release;
        const scratch_words scratch(kernels.log_prob_paths_scratch(s, threads));
        return kernels.log_prob_paths(paths, s, theta, from, places, use_start, begin, to, scratch.get(), threads);
      },
      py::arg("x"), py::arg("offsets").noconvert(), py::arg("structure"), py::arg("probabilities").noconvert(),
      py::arg("logs").noconvert(), py::arg("log_offsets").noconvert(), py::arg("use_start"),
      py::arg("first").noconvert(), py::arg("out").noconvert(), py::arg("threads"));
}

}  // namespace tallydraw
