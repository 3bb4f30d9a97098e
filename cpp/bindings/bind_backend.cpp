// Which kernels run: the instruction sets compiled in, those processor and operating system support, the one in use.
#include "arrays.hpp"

#include <atomic>
#include <cstring>
#include <vector>

#if defined(_MSC_VER) && defined(_M_X64)
#include <immintrin.h>
#include <intrin.h>
#endif

namespace tallydraw {
namespace {

#if defined(__x86_64__) || defined(_M_X64)
#if defined(_MSC_VER)
bool has_bits(int leaf, int reg, int mask) {
  int r[4];
  __cpuidex(r, leaf, 0);
  return (r[reg] & mask) == mask;
}
bool supports_v2() { return has_bits(1, 2, (1 << 20) | (1 << 23)); }  // SSE4.2, POPCNT
bool supports_v3() {
  return supports_v2() && has_bits(1, 2, (1 << 12) | (1 << 27) | (1 << 28)) && (_xgetbv(0) & 0x6) == 0x6 &&
         has_bits(7, 1, (1 << 3) | (1 << 5) | (1 << 8));  // FMA; the OS saves YMM; BMI1, AVX2, BMI2
}
bool supports_v4() {
  return supports_v3() && (_xgetbv(0) & 0xE6) == 0xE6 &&
         has_bits(7, 1, (1 << 16) | (1 << 17) | (1 << 28) | (1 << 30) | static_cast<int>(1u << 31));  // F DQ CD BW VL
}
#else
// The compiler's run-time library asks both the processor and the operating system (XGETBV).
bool supports_v2() {
  return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("ssse3");
}
bool supports_v3() {
  return supports_v2() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
}
bool supports_v4() {
  return supports_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif
const std::vector<const kernel_table*>& supported() {
  static const std::vector<const kernel_table*> tables = [] {
    std::vector<const kernel_table*> t;
    if (supports_v2()) t.push_back(&x86_64_v2::kernels);
    if (supports_v3()) t.push_back(&x86_64_v3::kernels);
    if (supports_v4()) t.push_back(&x86_64_v4::kernels);
    return t;
  }();
  return tables;
}
#else
const std::vector<const kernel_table*>& supported() {
  static const std::vector<const kernel_table*> tables{&generic::kernels};
  return tables;
}
#endif

std::atomic<const kernel_table*> active{nullptr};

}  // namespace

const kernel_table& active_kernels() { return *active.load(std::memory_order_acquire); }

void bind_backend(py::module_& m) {
  if (supported().empty()) throw py::import_error("tallydraw's compiled kernels need an x86-64-v2 processor");
  active.store(supported().back(), std::memory_order_release);

  m.def("instruction_sets", [] {
    std::vector<std::string> names;
    for (const auto* t : supported()) names.emplace_back(t->instruction_set);
    return names;
  });
  m.def("instruction_set", [] { return std::string(active_kernels().instruction_set); });
  m.def(
      "use_instruction_set",
      [](const std::string& name) {
        for (const auto* t : supported())
          if (name == t->instruction_set) {
            active.store(t, std::memory_order_release);
            return;
          }
        throw py::value_error("unknown or unsupported instruction set");
      },
      py::arg("name"));
  m.def("max_threads", [] { return active_kernels().max_threads(); });
  m.def(
      "philox",
      [](const array<std::uint32_t>& counters, std::uint64_t key) {
        array<std::uint32_t> words({counters.shape(0), py::ssize_t{4}});
        active_kernels().philox(counters.data(), counters.shape(0), key, words.mutable_data());
        return words;
      },
      py::arg("counters").noconvert(), py::arg("key"));
}

}  // namespace tallydraw
