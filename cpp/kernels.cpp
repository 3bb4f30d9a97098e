// The table of all kernels, compiled once an instruction set: TALLYDRAW_ISA names the namespace of this object.
#include "tallydraw/kernels.hpp"

#include "tallydraw/elementary.hpp"
#include "tallydraw/parallel.hpp"
#include "tallydraw/philox.hpp"
#include "tallydraw/posterior.hpp"
#include "tallydraw/row_probabilities.hpp"
#include "tallydraw/row_sums.hpp"

#define TALLYDRAW_STRING_(x) #x
#define TALLYDRAW_STRING(x) TALLYDRAW_STRING_(x)

namespace tallydraw::TALLYDRAW_ISA {

extern const count_kernels counting;         // kernels_count.cpp
extern const sample_kernels sampling;        // kernels_sample.cpp
extern const log_prob_kernels scoring;       // kernels_log_prob.cpp
extern const information_kernels informing;  // kernels_information.cpp

static void philox_words(const std::uint32_t* counters, index n, std::uint64_t key, std::uint32_t* words) {
  for (index i = 0; i < n; ++i) {
    std::uint32_t x[4][1];
    for (int w = 0; w < 4; ++w) x[w][0] = counters[4 * i + w];
    philox(x, key);
    for (int w = 0; w < 4; ++w) words[4 * i + w] = x[w][0];
  }
}

extern const kernel_table kernels = {
    /*instruction_set=*/TALLYDRAW_STRING(TALLYDRAW_ISA),
    /*max_threads=*/max_threads,
    /*philox=*/philox_words,
    /*log=*/log,
    /*exp=*/exp,
    /*divergence_terms=*/divergence_terms,
    /*log_scaled=*/log_scaled,
    /*row_probabilities=*/row_probabilities,
    /*row_sums=*/row_sums,
    /*log_sum_exp=*/log_sum_exp,
    /*posterior=*/posterior,
    /*log_posterior=*/log_posterior,
    /*count=*/&counting,
    /*sample=*/&sampling,
    /*log_prob=*/&scoring,
    /*information=*/&informing,
};

}  // namespace tallydraw::TALLYDRAW_ISA
