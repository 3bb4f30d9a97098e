// What this machine can do at best: the pieces every kernel is made of, alone, on T threads at once.
// Prints "name value" lines, ns an operation with all threads together (bandwidths: ns a byte). Driven by limits.py.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "tallydraw/class_lanes.hpp"
#include "tallydraw/philox.hpp"
#include "tallydraw/wide_lookup.hpp"

namespace tallydraw {
namespace {

namespace kernels = TALLYDRAW_ISA;

volatile std::uint64_t keep;  // results end here, so that no work is optimised away

/// Least seconds of a few runs in which every thread calls body(thread) once.
double seconds(int threads, const std::function<void(int)>& body) {
  double best = 1e30;
  for (int run = 0; run < 7; ++run) {
    std::atomic<int> ready{0};
    std::vector<std::thread> team;
    std::vector<double> begin(static_cast<std::size_t>(threads)), end(begin);
    const auto now = [] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    };
    for (int t = 0; t < threads; ++t)
      team.emplace_back([&, t] {
        ++ready;
        while (ready < threads) {
        }
        begin[t] = now();
        body(t);
        end[t] = now();
      });
    for (auto& thread : team) thread.join();
    best = std::min(best, *std::max_element(end.begin(), end.end()) - *std::min_element(begin.begin(), begin.end()));
  }
  return best;
}

void show(const char* name, double ns) { std::printf("%s %.6f\n", name, ns); }

std::uint32_t scramble(std::uint32_t x) {  // a cheap bijection: indices in no order
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

void measure(int threads) {
  const index bytes = index{128} << 20;  // a thread, past any cache
  std::vector<std::vector<std::uint64_t>> from(threads, std::vector<std::uint64_t>(bytes / 8, 1));
  std::vector<std::vector<std::uint64_t>> to(threads, std::vector<std::uint64_t>(bytes / 8, 2));
  const double all = 1e9 / (static_cast<double>(bytes) * threads);

  show("read", all * seconds(threads, [&](int t) {
                 std::uint64_t sum = 0;
                 for (const std::uint64_t x : from[t]) sum += x;
                 keep = sum;
               }));
  show("write", all * seconds(threads, [&](int t) { std::memset(to[t].data(), t, bytes); }));
  show("copy", all * seconds(threads, [&](int t) { std::memcpy(to[t].data(), from[t].data(), bytes); }));

  {
    constexpr index rows = 2048;  // 8,192 words, 32 KiB
    constexpr index repeats = 2000;
    const double s = seconds(threads, [&](int t) {
      std::vector<std::uint32_t> words(4 * rows);
      std::uint32_t sum = 0;
      for (index i = 0; i < repeats; ++i) {
        kernels::fill_flat(7, 2, static_cast<std::uint64_t>(t) << 40 | static_cast<std::uint64_t>(i * rows), rows,
                           words.data());
        sum += words[static_cast<std::size_t>(i)];
      }
      keep = sum;
    });
    show("philox_word", s * 1e9 / (4.0 * rows * repeats * threads));
  }

  constexpr index n = 1 << 14;
  for (const index kib : {16, 512, 8192, 131072}) {  // a table in L1, L2, L3, memory: ns an independent lookup
    const std::uint32_t mask = static_cast<std::uint32_t>(kib * 1024 / 8 - 1);
    const double s = seconds(threads, [&](int t) {
      std::uint64_t sum = 0;
      const std::uint64_t* table = from[t].data();
      for (std::uint32_t round = 0; round < 64; ++round)
        for (std::uint32_t i = 0; i < n; ++i) sum += table[scramble(i + round * n) & mask];
      keep = sum;
    });
    char name[32];
    std::snprintf(name, sizeof name, "lookup_%d_kib", static_cast<int>(kib));
    show(name, s * 1e9 / (64.0 * n * threads));
  }

  {
    // Counting: one increment of a small histogram a code, neighbours in different histograms.
    std::vector<std::uint8_t> codes(n);
    for (std::uint32_t i = 0; i < n; ++i) codes[i] = static_cast<std::uint8_t>(scramble(i));
    const double s = seconds(threads, [&](int) {
      std::vector<std::uint32_t> counts(4 * 256);
      std::uint32_t* c = counts.data();
      for (int round = 0; round < 256; ++round) {
        for (index i = 0; i < n; i += 4) {
          ++c[codes[i]];
          ++c[256 + codes[i + 1]];
          ++c[512 + codes[i + 2]];
          ++c[768 + codes[i + 3]];
        }
        std::atomic_signal_fence(std::memory_order_seq_cst);
      }
      keep = c[1];
    });
    show("increment", s * 1e9 / (256.0 * n * threads));
  }

  for (const index kib : {16, 128}) {
    // Scoring: rows of 16 float64 logs, found by codes in a table in L1 or L2, added to sums in registers.
    constexpr index width = 16, together = 4;
    const std::uint32_t mask = static_cast<std::uint32_t>(kib * 1024 / 8 / width - 1);
    const double s = seconds(threads, [&](int) {
      std::vector<double> room(static_cast<std::size_t>(kib * 1024 / 8 + 8), 1.0);
      const double* const table = room.data() + (64 - reinterpret_cast<std::uintptr_t>(room.data()) % 64) / 8;
      const double* const parts[2] = {table, table + (mask + 1) * 8};
      std::vector<std::uint16_t> codes(n);
      for (std::uint32_t i = 0; i < n; ++i) codes[i] = static_cast<std::uint16_t>(scramble(i) & mask);
      const std::vector<double> zeros(width, 0.0);
      kernels::lane_sums<2, 0> sum[together];
      for (auto& x : sum) x.load(zeros.data(), width);
      for (int round = 0; round < 64; ++round)
        for (index i = 0; i < n; i += together)
          for (index g = 0; g < together; ++g) sum[g].add(parts, codes[static_cast<std::size_t>(i + g)]);
      double out[width];
      for (const auto& x : sum) {
        x.store(out, width);
        keep = static_cast<std::uint64_t>(out[3]);
      }
    });
    char name[32];
    std::snprintf(name, sizeof name, "gather_add_%d_kib", static_cast<int>(kib));
    show(name, s * 1e9 / (64.0 * n * width * threads));
  }

#if defined(TALLYDRAW_WIDE_LOOKUP)
  {
    // Scoring few codes: logs looked up in a register by eight codes at once, added to running sums.
    constexpr int sums = 16;
    const double s = seconds(threads, [&](int) {
      std::vector<std::uint8_t> codes(n);
      for (std::uint32_t i = 0; i < n; ++i) codes[i] = static_cast<std::uint8_t>(scramble(i) & 7);
      const std::vector<double> logs(8 * sums, 1.0);
      kernels::wide_double sum[sums];
      for (auto& x : sum) x = kernels::wide_double_set(0.0);
      for (int round = 0; round < 64; ++round)
        for (index i = 0; i < n; i += 8) {
          const kernels::wide z = kernels::wide_bytes(codes.data() + i);
          for (int k = 0; k < sums; ++k)
            sum[k] = kernels::wide_double_add(sum[k],
                                              kernels::wide_lookup(kernels::wide_double_load(logs.data() + 8 * k), z));
        }
      double out[8 * sums];
      for (int k = 0; k < sums; ++k) kernels::wide_double_store(sum[k], out + 8 * k);
      keep = static_cast<std::uint64_t>(out[3]);
    });
    show("register_add", s * 1e9 / (64.0 * n * sums * threads));
  }
#endif

  {
    // Counting few codes: bytes compared with one category, the hits added up in as many bytes.
    constexpr index lanes = 64;
    const double s = seconds(threads, [&](int) {
      std::vector<std::uint8_t> codes(n);
      for (std::uint32_t i = 0; i < n; ++i) codes[i] = static_cast<std::uint8_t>(scramble(i) & 7);
      std::uint8_t hits[4][lanes] = {};
      for (int round = 0; round < 256; ++round) {
        for (index i = 0; i < n; i += lanes)
          for (std::uint8_t c = 0; c < 4; ++c)
            for (index l = 0; l < lanes; ++l)
              hits[c][l] = static_cast<std::uint8_t>(hits[c][l] + (codes[static_cast<std::size_t>(i + l)] == c));
        std::atomic_signal_fence(std::memory_order_seq_cst);
      }
      keep = hits[1][3];
    });
    show("lane_compare", s * 1e9 / (256.0 * n * 4 * threads));
  }
}

}  // namespace
}  // namespace tallydraw

int main(int argc, char** argv) { tallydraw::measure(argc > 1 ? std::atoi(argv[1]) : 1); }
