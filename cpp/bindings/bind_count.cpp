// count: bindings of count_features.hpp, class_lanes.hpp, count_pairs.hpp, count_pairs_weighted.hpp, tree_tables.hpp,
// count_transitions.hpp, count_expected.hpp, group_codes.hpp and count_posterior.hpp.
#include "arrays.hpp"

#include <string>

namespace tallydraw {
namespace {

index count_features(const py::array& X, const optional_array<index>& y, std::optional<index> missing,
                     bool unseen_is_missing, const py::tuple& structure, array<index>& counts, int threads) {
  const codes_view x = as_codes(X);
  const code_rules rules = as_rules(missing, unseen_is_missing);
  const structure_view shape = as_structure(structure);
  const index* classes = data_or_null(y);
  index* out = counts.mutable_data();
  const count_kernels& kernels = *active_kernels().count;
  const scratch_words scratch(kernels.count_features_scratch(x, shape, threads));
  const without_gil released;  // raw memory only from here on
  return kernels.count_features(x, classes, rules, shape, out, scratch.get(), threads);
}

index count_features_weighted(const py::array& X, const optional_array<index>& y, std::optional<index> missing,
                              bool unseen_is_missing, const py::tuple& structure, const array<double>& weights,
                              array<double>& counts, int threads) {
  const codes_view x = as_codes(X);
  const code_rules rules = as_rules(missing, unseen_is_missing);
  const structure_view shape = as_structure(structure);
  const index* classes = data_or_null(y);
  const double* w = weights.data();
  double* out = counts.mutable_data();
  const count_kernels& kernels = *active_kernels().count;
  const scratch_words scratch(kernels.count_features_scratch(x, shape, threads));
  const without_gil released;  // raw memory only from here on
  return kernels.count_features_weighted(x, classes, rules, shape, w, out, scratch.get(), threads);
}

index count_features_soft(const py::array& X, std::optional<index> missing, bool unseen_is_missing,
                          const py::tuple& structure, const array<index>& lane_offsets, const array<double>& weights,
                          array<double>& counts, int threads) {
  const codes_view x = as_codes(X);
  const code_rules rules = as_rules(missing, unseen_is_missing);
  const structure_view shape = as_structure(structure);
  const index* offsets = lane_offsets.data();
  const double* w = weights.data();
  double* out = counts.mutable_data();
  const count_kernels& kernels = *active_kernels().count;
  const scratch_words scratch(kernels.count_features_scratch(x, shape, threads));
  const without_gil released;  // raw memory only from here on
  return kernels.count_features_soft(x, rules, shape, offsets, w, out, scratch.get(), threads);
}

void collect_lanes(const py::tuple& structure, const array<double>& lanes, const array<index>& lane_offsets,
                   array<double>& tables) {
  const structure_view s = as_structure(structure);
  const double* from = lanes.data();
  const index* offsets = lane_offsets.data();
  double* to = tables.mutable_data();
  const without_gil released;  // raw memory only from here on
  active_kernels().count->collect_lanes(s, from, offsets, to);
}

index count_pairs(const py::array& X, const optional_array<index>& y, std::optional<index> missing,
                  bool unseen_is_missing, const py::tuple& structure, const optional_array<index>& pair_begins,
                  array<index>& marginals, array<index>& counts, bool fresh, int threads) {
  const codes_view x = as_codes(X);
  const code_rules rules = as_rules(missing, unseen_is_missing);
  const structure_view shape = as_structure(structure);
  const index* classes = data_or_null(y);
  const index* begins = data_or_null(pair_begins);
  index* single = marginals.mutable_data();
  index* out = counts.mutable_data();
  const count_kernels& kernels = *active_kernels().count;
  const scratch_words scratch(kernels.count_pairs_scratch(x, shape, threads));
  const without_gil released;  // raw memory only from here on
  return kernels.count_pairs(x, classes, rules, shape, begins, single, out, fresh, scratch.get(), threads);
}

index count_pairs_weighted(const py::array& X, const optional_array<index>& y, std::optional<index> missing,
                           bool unseen_is_missing, const py::tuple& structure, const optional_array<index>& pair_begins,
                           const array<double>& weights, array<double>& marginals, array<double>& counts, int threads) {
  const codes_view x = as_codes(X);
  const code_rules rules = as_rules(missing, unseen_is_missing);
  const structure_view shape = as_structure(structure);
  const index* classes = data_or_null(y);
  const index* begins = data_or_null(pair_begins);
  const double* w = weights.data();
  double* single = marginals.mutable_data();
  double* out = counts.mutable_data();
  const count_kernels& kernels = *active_kernels().count;
  const scratch_words scratch(kernels.count_pairs_weighted_scratch(shape, threads));
  const without_gil released;  // raw memory only from here on
  return kernels.count_pairs_weighted(x, classes, rules, shape, begins, w, single, out, scratch.get(), threads);
}

/// Numbers of 64 bits of any type.
const std::uint64_t* as_words(const py::array& x) {
  if (x.itemsize() != 8 || !(x.flags() & py::array::c_style))
    throw py::type_error("counts must be contiguous and of 64 bits, got dtype " + std::string(py::str(x.dtype())));
  return static_cast<const std::uint64_t*>(x.data());
}

void tree_tables(const py::tuple& structure, const optional_array<index>& pair_begins, const py::array& pairs,
                 const py::array& marginals, const array<index>& parents, array<index>& layout, py::array& tables) {
  const structure_view s = as_structure(structure);
  const index *begins = data_or_null(pair_begins), *above = parents.data();
  const std::uint64_t *cells = as_words(pairs), *single = as_words(marginals);
  index* const part = layout.mutable_data();
  const tree_view tree{part, part + 2 * s.d, part + 3 * s.d + 1, part + 4 * s.d + 2, part + s.d};
  as_words(tables);
  auto* const to = static_cast<std::uint64_t*>(tables.mutable_data());
  const count_kernels& kernels = *active_kernels().count;
  const scratch_words scratch(kernels.tree_tables_scratch(s.d));
  const without_gil released;  // raw memory only from here on
  kernels.tree_tables(s, begins, cells, single, above, tree, to, scratch.get());
}

index count_transitions(const py::array& x, const array<index>& offsets, const optional_array<index>& y, index n_states,
                        index order, array<index>& counts, int threads) {
  const codes_view codes = as_codes(x);
  const index cells = counts.size();
  index block = n_states;
  for (index i = 0; i < order; ++i) block *= n_states;
  const pieces_view pieces{codes.data, codes.type, offsets.data(), offsets.shape(0) - 1, data_or_null(y)};
  index* out = counts.mutable_data();
  const count_kernels& kernels = *active_kernels().count;
  const scratch_words scratch(kernels.count_transitions_scratch(cells, threads));
  const without_gil released;  // raw memory only from here on
  return kernels.count_transitions(pieces, cells / block, n_states, order, out, scratch.get(), threads);
}

void count_expected(const py::array& X, std::optional<index> missing, bool unseen_is_missing,
                    const py::tuple& structure, const array<double>& probabilities, bool plain,
                    const array<double>& weights, index block_rows, array<double>& counts, int threads) {
  const codes_view x = as_codes(X);
  const code_rules rules = as_rules(missing, unseen_is_missing);
  const structure_view s = as_structure(structure);
  const double* theta = probabilities.data();
  const double* weight = weights.data();
  double* to = counts.mutable_data();
  const count_kernels& kernels = *active_kernels().count;  // once: another thread may choose another
  const scratch_words scratch(kernels.count_expected_scratch(s, x.n, threads));
  const without_gil released;  // raw memory only from here on
  kernels.count_expected(x, rules, s, theta, plain, weight, block_rows, to, scratch.get(), threads);
}

groups_view as_groups(const array<index>& begin, const array<index>& n_codes) {
  return {begin.size() - 1, begin.data(), n_codes.data()};
}

void group_codes(const py::array& X, std::optional<index> missing, bool unseen_is_missing, const py::tuple& structure,
                 const array<index>& groups, const array<index>& n_codes, array<std::uint8_t>& out, int threads) {
  const codes_view x = as_codes(X);
  const code_rules rules = as_rules(missing, unseen_is_missing);
  const structure_view s = as_structure(structure);
  const groups_view grouped = as_groups(groups, n_codes);
  std::uint8_t* to = out.mutable_data();
  const count_kernels& kernels = *active_kernels().count;  // once: another thread may choose another
  const scratch_words scratch(kernels.group_codes_scratch(s, threads));
  const without_gil released;  // raw memory only from here on
  kernels.group_codes(x, rules, s, grouped, to, scratch.get(), threads);
}

void count_posterior(const array<std::uint8_t>& codes, const py::tuple& structure, const array<index>& groups,
                     const array<index>& n_codes, const array<double>& theta, const array<double>& prior,
                     index halvings, const optional_array<double>& weights, double grid, array<double>& evidence,
                     array<double>& mass, std::optional<array<double>>& counts, int threads) {
  const structure_view s = as_structure(structure);
  const groups_view grouped = as_groups(groups, n_codes);
  const std::uint8_t* rows = codes.data();
  const index n = codes.shape(0);
  const double *from = theta.data(), *begin = prior.data(), *weight = data_or_null(weights);
  double* log_sums = evidence.mutable_data();
  double* all = mass.mutable_data();
  double* to = counts ? counts->mutable_data() : nullptr;
  const count_kernels& kernels = *active_kernels().count;  // once: another thread may choose another
  const scratch_words scratch(kernels.count_posterior_scratch(s, grouped, threads));
  const without_gil released;  // raw memory only from here on
  kernels.count_posterior(rows, n, s, grouped, from, begin, halvings, weight, grid, log_sums, all, to, scratch.get(),
                          threads);
}

void count_shares(const array<std::uint8_t>& codes, const py::tuple& structure, const array<index>& groups,
                  const array<index>& n_codes, const array<double>& shares, const optional_array<double>& weights,
                  double grid, array<double>& mass, array<double>& counts, int threads) {
  const structure_view s = as_structure(structure);
  const groups_view grouped = as_groups(groups, n_codes);
  const std::uint8_t* rows = codes.data();
  const index n = codes.shape(0);
  const double *given = shares.data(), *weight = data_or_null(weights);
  double* all = mass.mutable_data();
  double* to = counts.mutable_data();
  const count_kernels& kernels = *active_kernels().count;  // once: another thread may choose another
  const scratch_words scratch(kernels.count_posterior_scratch(s, grouped, threads));
  const without_gil released;  // raw memory only from here on
  kernels.count_shares(rows, n, s, grouped, given, weight, grid, all, to, scratch.get(), threads);
}

}  // namespace

void bind_count(py::module_& m) {
  m.def("count_features", count_features, py::arg("X"), py::arg("y").noconvert(), py::arg("missing"),
        py::arg("unseen_is_missing"), py::arg("structure"), py::arg("counts").noconvert(), py::arg("threads"));
  m.def("count_features_weighted", count_features_weighted, py::arg("X"), py::arg("y").noconvert(), py::arg("missing"),
        py::arg("unseen_is_missing"), py::arg("structure"), py::arg("weights").noconvert(),
        py::arg("counts").noconvert(), py::arg("threads"));
  m.def("count_features_soft", count_features_soft, py::arg("X"), py::arg("missing"), py::arg("unseen_is_missing"),
        py::arg("structure"), py::arg("lane_offsets").noconvert(), py::arg("weights").noconvert(),
        py::arg("lanes").noconvert(), py::arg("threads"));
  m.def("collect_lanes", collect_lanes, py::arg("structure"), py::arg("lanes").noconvert(),
        py::arg("lane_offsets").noconvert(), py::arg("tables").noconvert());
  m.def("count_pairs", count_pairs, py::arg("X"), py::arg("y").noconvert(), py::arg("missing"),
        py::arg("unseen_is_missing"), py::arg("structure"), py::arg("pair_begins").noconvert(),
        py::arg("marginals").noconvert(), py::arg("counts").noconvert(), py::arg("fresh"), py::arg("threads"));
  m.def("count_pairs_weighted", count_pairs_weighted, py::arg("X"), py::arg("y").noconvert(), py::arg("missing"),
        py::arg("unseen_is_missing"), py::arg("structure"), py::arg("pair_begins").noconvert(),
        py::arg("weights").noconvert(), py::arg("marginals").noconvert(), py::arg("counts").noconvert(),
        py::arg("threads"));
  m.def("tree_tables", tree_tables, py::arg("structure"), py::arg("pair_begins").noconvert(), py::arg("pairs"),
        py::arg("marginals"), py::arg("parents").noconvert(), py::arg("layout").noconvert(), py::arg("tables"));
  m.def("count_expected", count_expected, py::arg("X"), py::arg("missing"), py::arg("unseen_is_missing"),
        py::arg("structure"), py::arg("probabilities").noconvert(), py::arg("plain"), py::arg("weights").noconvert(),
        py::arg("block_rows"), py::arg("counts").noconvert(), py::arg("threads"));
  m.def("group_codes", group_codes, py::arg("X"), py::arg("missing"), py::arg("unseen_is_missing"),
        py::arg("structure"), py::arg("groups").noconvert(), py::arg("n_codes").noconvert(), py::arg("out").noconvert(),
        py::arg("threads"));
  m.def("count_posterior", count_posterior, py::arg("codes").noconvert(), py::arg("structure"),
        py::arg("groups").noconvert(), py::arg("n_codes").noconvert(), py::arg("theta").noconvert(),
        py::arg("prior").noconvert(), py::arg("halvings"), py::arg("weights").noconvert(), py::arg("grid"),
        py::arg("evidence").noconvert(), py::arg("mass").noconvert(), py::arg("counts").noconvert(),
        py::arg("threads"));
  m.def("count_shares", count_shares, py::arg("codes").noconvert(), py::arg("structure"), py::arg("groups").noconvert(),
        py::arg("n_codes").noconvert(), py::arg("shares").noconvert(), py::arg("weights").noconvert(), py::arg("grid"),
        py::arg("mass").noconvert(), py::arg("counts").noconvert(), py::arg("threads"));
  m.def("count_transitions", count_transitions, py::arg("x"), py::arg("offsets").noconvert(), py::arg("y").noconvert(),
        py::arg("n_states"), py::arg("order"), py::arg("counts").noconvert(), py::arg("threads"));
}

}  // namespace tallydraw
