// Logs, exps, sums of rows and what turns log joint probabilities into posteriors.
#include "arrays.hpp"

namespace tallydraw {

void bind_elementary(py::module_& m) {
  // Every function below works on checked buffers and touches no Python object: the GIL is released for other threads.
  m.def(
      "log",
      [](const array<double>& x, array<double>& out) {
        const double* from = x.data();
        double* to = out.mutable_data();
        const index n = x.size();
        const without_gil release;
        active_kernels().log(from, n, to);
      },
      py::arg("x").noconvert(), py::arg("out").noconvert());
  m.def(
      "exp",
      [](const array<double>& x, array<double>& out) {
        const double* from = x.data();
        double* to = out.mutable_data();
        const index n = x.size();
        const without_gil release;
        active_kernels().exp(from, n, to);
      },
      py::arg("x").noconvert(), py::arg("out").noconvert());
  m.def(
      "divergence_terms",
      [](const array<double>& p, const array<double>& q, const array<double>& log_q, array<double>& out) {
        const double *a = p.data(), *b = q.data(), *log_b = log_q.data();
        double* to = out.mutable_data();
        const index n = p.size();
        const without_gil release;
        active_kernels().divergence_terms(a, b, log_b, n, to);
      },
      py::arg("p").noconvert(), py::arg("q").noconvert(), py::arg("log_q").noconvert(), py::arg("out").noconvert());
  m.def(
      "log_scaled",
      [](const array<double>& x, const array<index>& exponent, array<double>& out) {
        const double* from = x.data();
        const index* e = exponent.data();
        double* to = out.mutable_data();
        const index n = x.size();
        const without_gil release;
        active_kernels().log_scaled(from, e, n, to);
      },
      py::arg("x").noconvert(), py::arg("exponent").noconvert(), py::arg("out").noconvert());
  m.def(
      "row_probabilities",
      [](const py::tuple& structure, py::array& weights, double more, array<double>& theta) {
        const bool whole = as_counts(weights).second != nullptr;
        void* in_place = weights.mutable_data();
        const structure_view s = as_structure(structure);
        double* to = theta.mutable_data();
        const without_gil release;
        return active_kernels().row_probabilities(s, whole ? nullptr : static_cast<double*>(in_place),
                                                  whole ? static_cast<index*>(in_place) : nullptr, more, to);
      },
      py::arg("structure"), py::arg("weights"), py::arg("more"), py::arg("theta").noconvert());
  m.def(
      "row_sums",
      [](const array<double>& x, array<double>& out) {
        const double* from = x.data();
        double* to = out.mutable_data();
        const index n = x.shape(0);
        const index c = x.shape(1);
        const without_gil release;
        return active_kernels().row_sums(from, n, c, to);
      },
      py::arg("x").noconvert(), py::arg("out").noconvert());
  m.def(
      "log_sum_exp",
      [](const array<double>& x, array<double>& out, int threads) {
        const double* from = x.data();
        double* to = out.mutable_data();
        const index n = x.shape(0);
        const index k = x.shape(1);
        const without_gil release;
        active_kernels().log_sum_exp(from, n, k, to, threads);
      },
      py::arg("x").noconvert(), py::arg("out").noconvert(), py::arg("threads"));
  m.def(
      "posterior",
      [](const array<double>& x, const array<double>& prior, optional_array<double>& evidence, array<double>& out,
         int threads) {
        const double* from = x.data();
        const double* otherwise = prior.data();
        double* logs = evidence ? evidence->mutable_data() : nullptr;
        double* to = out.mutable_data();
        const index n = x.shape(0);
        const index k = x.shape(1);
        const without_gil release;
        active_kernels().posterior(from, n, k, otherwise, logs, to, threads);
      },
      py::arg("x").noconvert(), py::arg("prior").noconvert(), py::arg("evidence").noconvert(),
      py::arg("out").noconvert(), py::arg("threads"));
  m.def(
      "log_posterior",
      [](const array<double>& x, const array<double>& log_prior, array<double>& out, int threads) {
        const double* from = x.data();
        const double* otherwise = log_prior.data();
        double* to = out.mutable_data();
        const index n = x.shape(0);
        const index k = x.shape(1);
        const without_gil release;
        active_kernels().log_posterior(from, n, k, otherwise, to, threads);
      },
      py::arg("x").noconvert(), py::arg("log_prior").noconvert(), py::arg("out").noconvert(), py::arg("threads"));
}

}  // namespace tallydraw
