// The only file that starts threads: pieces of work, and the first bad index that any piece met.
// Threads split rows, features or cells, never a floating sum that could round: no result depends on their number.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>

#include "tallydraw/views.hpp"

#ifdef _OPENMP
#include <omp.h>
#elif defined(TALLYDRAW_STD_THREADS)  // the thread sanitizer does not see into GCC's OpenMP run-time
#include <vector>
#endif
#ifdef __linux__
#include <sched.h>
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

/// Where the calling thread runs; -1 where nobody says.
inline int current_processor() noexcept {
#ifdef __linux__
  return sched_getcpu();
#else
  return -1;
#endif
}

/// Moves the calling thread to another of the processors it may use, where there is one; it may use the same afterwards.
inline void leave_processor(int processor) noexcept {
#ifdef __linux__
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;  // more processors than a cpu_set_t can name
  cpu_set_t others = allowed;
  CPU_CLR(processor, &others);
  if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others) != 0) return;
  cpu_set_t now;  // somebody else may have said otherwise
  if (sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&now, &others))
    sched_setaffinity(0, sizeof allowed, &allowed);
#else
  (void)processor;
#endif
}

/// What the threads of one parallel region share. A thread that slept may be woken on the processor of the one that
/// opens the region, and then does not begin while that one works, or waits: a scheduler can take milliseconds to part
/// them. So while somebody has not begun, the opening thread makes way once after its first piece, and again after its
/// last; and who finds itself on its processor leaves it.
class team {
 public:
  team() noexcept : processor_{current_processor()} {}  // of the opening thread

  /// Calls body(p) for p < n, each p on one of the threads 0 … size - 1, all of which call this, 0 the opening one.
  template <class Body>
  void share(index n, int thread, int size, Body&& body) noexcept {
    const bool opens = thread == 0;
    if (!opens) {
      ++begun_;
      if (processor_ >= 0 && current_processor() == processor_) leave_processor(processor_);
    }
    const auto all_begun = [&] { return begun_.load(std::memory_order_relaxed) == size - 1; };
    bool first = opens;
    for (index p = next_++; p < n; p = next_++, first = false) {
      body(p);
      if (first && !all_begun()) std::this_thread::yield();
    }
    while (opens && !all_begun()) std::this_thread::yield();
  }

 private:
  const int processor_;
  std::atomic<index> next_{0};
  std::atomic<int> begun_{0};  // without the opening thread
};

/// Calls body(begin, end, thread) for the pieces [0, grain), [grain, 2 grain), … of [0, n), on at most `threads`
/// threads, in any order; `thread` < threads. body must not throw.
template <class Body>
inline void parallel_blocks(index n, index grain, int threads, Body&& body) {
  const index pieces = (n + grain - 1) / grain;
  const auto piece = [&](index p, int thread) { body(p * grain, std::min(n, (p + 1) * grain), thread); };
#if defined(_OPENMP) || defined(TALLYDRAW_STD_THREADS)
  if (threads > 1 && pieces > 1) {
    const int wanted = static_cast<int>(std::min<index>(threads, pieces));
    team shared;
    const auto share = [&](int thread, int size) {
      shared.share(pieces, thread, size, [&](index p) { piece(p, thread); });
    };
#ifdef _OPENMP
#pragma omp parallel num_threads(wanted)
    share(omp_get_thread_num(), omp_get_num_threads());  // of which there may be fewer than wanted
#else
    std::vector<std::thread> others;
    for (int thread = 1; thread < wanted; ++thread) others.emplace_back(share, thread, wanted);
    share(0, wanted);
    for (std::thread& other : others) other.join();
#endif
    return;
  }
#endif
  (void)threads;
  for (index p = 0; p < pieces; ++p) piece(p, 0);
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
  static constexpr int patience = 1 << 14;  // looks before it makes way: some ten microseconds

 public:
  void acquire() noexcept {
    while (busy_.exchange(true, std::memory_order_acquire))
      for (int turn = 0; busy_.load(std::memory_order_relaxed); ++turn)
        if (turn >= patience) std::this_thread::yield();
  }
  void release() noexcept { busy_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> busy_{false};
};

}  // namespace tallydraw::TALLYDRAW_ISA
