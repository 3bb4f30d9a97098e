// The only file that starts threads: pieces of work, and the first bad index that any piece met.
// Threads split rows, features or cells, never a floating sum that could round: no result depends on their number.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "tallydraw/views.hpp"

#ifdef _OPENMP
#include <omp.h>
#elif defined(TALLYDRAW_STD_THREADS)  // the thread sanitizer does not see into GCC's OpenMP run-time
#include <thread>
#include <vector>
#endif

namespace tallydraw::TALLYDRAW_ISA {

/// How many threads the environment asks for.
inline int max_threads() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

/// Calls body(begin, end, thread) for the pieces [0, grain), [grain, 2 grain), … of [0, n), on at most `threads`
/// threads, in any order; `thread` < threads. body must not throw.
template <class Body>
inline void parallel_blocks(index n, index grain, int threads, Body&& body) {
  const index pieces = (n + grain - 1) / grain;
#ifdef _OPENMP
  if (threads > 1 && pieces > 1) {
    const int team = static_cast<int>(std::min<index>(threads, pieces));
#pragma omp parallel for num_threads(team) schedule(dynamic)
    for (index p = 0; p < pieces; ++p) body(p * grain, std::min(n, (p + 1) * grain), omp_get_thread_num());
    return;
  }
#elif defined(TALLYDRAW_STD_THREADS)
  if (threads > 1 && pieces > 1) {
    std::atomic<index> next{0};
    std::vector<std::thread> team;
    for (int thread = 0; thread < static_cast<int>(std::min<index>(threads, pieces)); ++thread)
      team.emplace_back([&, thread] {
        for (index p = next++; p < pieces; p = next++) body(p * grain, std::min(n, (p + 1) * grain), thread);
      });
    for (std::thread& member : team) member.join();
    return;
  }
#endif
  (void)threads;
  for (index p = 0; p < pieces; ++p) body(p * grain, std::min(n, (p + 1) * grain), 0);
}

/// The least index reported, or -1: the same whichever thread comes first.
class first_index {
 public:
  void report(index i) noexcept {
    index seen = least_.load(std::memory_order_relaxed);
    while (i < seen && !least_.compare_exchange_weak(seen, i, std::memory_order_relaxed)) {
    }
  }
  index get() const noexcept {
    const index least = least_.load(std::memory_order_relaxed);
    return least == none ? -1 : least;
  }

 private:
  static constexpr index none = INT64_MAX;
  std::atomic<index> least_{none};
};

/// For adding a task's integers to a shared result; a floating sum must never pass here, its order would be lost.
class merge_lock {
 public:
  void acquire() noexcept {
    while (busy_.exchange(true, std::memory_order_acquire))
      while (busy_.load(std::memory_order_relaxed)) {
      }
  }
  void release() noexcept { busy_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> busy_{false};
};

}  // namespace tallydraw::TALLYDRAW_ISA
