// What this machine can do at best: the pieces that kernels are made of, each alone, on T threads at once. A piece that
// is a part of the library is called as it stands, on data in the first cache, or where its name says.
// Prints "name value" lines, ns an operation with all threads together (of memory: ns a byte). Driven by limits.py.
// GCC and Clang only.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "tallydraw/bit_columns.hpp"
#include "tallydraw/class_lanes.hpp"
#include "tallydraw/count_pairs_columns.hpp"
#include "tallydraw/count_pairs_weighted.hpp"
#include "tallydraw/count_posterior.hpp"
#include "tallydraw/count_soft.hpp"
#include "tallydraw/count_tiles.hpp"
#include "tallydraw/information_forest.hpp"
#include "tallydraw/levels.hpp"
#include "tallydraw/log_prob_columns.hpp"
#include "tallydraw/log_prob_features.hpp"
#include "tallydraw/log_prob_lookup.hpp"
#include "tallydraw/messages_by_class.hpp"
#include "tallydraw/pair_information.hpp"
#include "tallydraw/philox.hpp"
#include "tallydraw/sample_counts.hpp"
#include "tallydraw/transpose.hpp"

namespace tallydraw {
namespace {

namespace k = TALLYDRAW_ISA;

constexpr int runs = 9;  // the fastest of which counts
constexpr std::size_t page = 2 << 20;

/// Whatever is behind `result` may be read and written here: so no work is left out, or done once for several times.
inline void use(const void* result) { asm volatile("" : : "g"(result) : "memory"); }

std::uint32_t scramble(std::uint32_t x) {  // a bijection: indices in no order
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

template <class T>
using room = std::shared_ptr<T[]>;

/// n elements that begin a cache line; many of them on large pages, where the system has them, as NumPy asks for.
template <class T>
room<T> lend(index n, T value) {
  const auto bytes = static_cast<std::size_t>(n) * sizeof(T);
  const std::size_t whole = bytes < page ? 64 : page, size = (bytes + whole - 1) / whole * whole;
  room<T> lent(static_cast<T*>(std::aligned_alloc(whole, size)), &std::free);
#if defined(__linux__)
  if (whole == page) madvise(lent.get(), size, MADV_HUGEPAGE);
#endif
  std::fill_n(lent.get(), n, value);
  return lent;
}

/// n numbers below `end`, in no order.
template <class T>
room<T> some_codes(index n, std::uint32_t end) {
  auto codes = lend<T>(n, T{});
  for (index i = 0; i < n; ++i) codes[i] = static_cast<T>(scramble(static_cast<std::uint32_t>(i)) % end);
  return codes;
}

class pieces {
 public:
  explicit pieces(int threads) : threads_(threads) {}

  /// Each thread calls what make(thread) returns `calls` times, all threads at once: `operations` a call.
  template <class Make>
  void show(const std::string& name, index operations, index calls, const Make& make) const {
    std::atomic<int> ready{0};
    std::vector<std::array<std::pair<double, double>, runs>> times(static_cast<std::size_t>(threads_));
    const auto now = [] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    };
    std::vector<std::thread> team;
    for (int t = 0; t < threads_; ++t)
      team.emplace_back([&, t] {
        auto body = make(t);
        body();
        for (int run = 0; run < runs; ++run) {
          ++ready;
          while (ready < (run + 1) * threads_) {
          }
          const double begin = now();
          for (index call = 0; call < calls; ++call) body();
          times[static_cast<std::size_t>(t)][run] = {begin, now()};
        }
      });
    for (auto& thread : team) thread.join();
    double best = 1e30;
    for (int run = 0; run < runs; ++run) {
      double begin = 1e30, end = 0.0;
      for (const auto& own : times) {
        begin = std::min(begin, own[run].first);
        end = std::max(end, own[run].second);
      }
      best = std::min(best, end - begin);
    }
    std::printf("%s %.6f\n", name.c_str(), best * 1e9 / (static_cast<double>(operations * calls) * threads_));
  }

  void memory() const;
  void lookups() const;
  void words() const;
  void outcomes() const;
  void binomials() const;
  void counts() const;
  void bits() const;
  void weights() const;
  void scores() const;
  void functions() const;
  void information() const;
  template <int Full, int Rest>
  void rows(index kib) const;
  template <int W>
  void messages(index categories) const;

 private:
  int threads_;
};

std::string sized(const std::string& name, index size) { return name + "_" + std::to_string(size); }
std::string kib_of(const std::string& name, index kib) { return sized(name, kib) + "_kib"; }

/// Bytes read, from eight places that are far apart, each asked for ahead; bytes written by memset, as fast as the C
/// library knows. Each thread has so many KiB of its own.
void pieces::memory() const {
  for (const index kib : {256, 4096, 131072}) {
    const index n = kib * 1024 / 8, calls = std::max<index>(1, 65536 / kib);
    show(kib_of("read", kib), 8 * n, calls, [&](int) {
      return [=, x = lend(n, 1.0)] {
        constexpr index streams = 8, ahead = 64;
        k::doubles<8> sum[streams] = {};
        for (index i = 0; i < n / streams; i += 8)
          for (index s = 0; s < streams; ++s) {
            const double* const from = x.get() + s * (n / streams) + i;
            k::prefetch(from + ahead);
            sum[s].add(from);
          }
        use(sum);
      };
    });
    show(kib_of("write", kib), 8 * n, calls, [&](int) {
      return [=, x = lend(n, 1.0)] {
        std::memset(x.get(), 1, static_cast<std::size_t>(8 * n));
        use(x.get());
      };
    });
  }
}

/// Independent look-ups in tables of eight bytes: 4,096 places in no order are loaded, begun elsewhere each time: of
/// a table that is larger than the caches these are not the same few lines again.
void pieces::lookups() const {
  constexpr index n = 4096, together = 8;
  for (const index kib : {1, 8, 32, 128, 512, 1024, 4096, 16384, 131072}) {
    const auto half = static_cast<std::uint32_t>(kib * 1024 / 16);
    show(kib_of("lookup", kib), n, 64, [&](int t) {
      return [=, table = lend<std::uint64_t>(2 * half, 1), places = some_codes<std::uint16_t>(n, half),
              far = some_codes<std::uint32_t>(n, half), turn = static_cast<std::uint32_t>(t)]() mutable {
        const std::uint64_t* const begin = table.get() + scramble(turn += 2) % half;
        std::uint64_t sum[together] = {};
        const auto add = [&](const auto* place) {
          for (index i = 0; i < n; i += together)
            for (index l = 0; l < together; ++l) {
              std::uint64_t found = begin[place[i + l]];
              asm("" : "+r"(found));  // one by one: vectors that gather are slower here
              sum[l] += found;
            }
        };
        if (half <= 1 << 16)
          add(places.get());
        else
          add(far.get());
        std::uint64_t all = 0;  // of sums that are in registers until now
        for (const std::uint64_t part : sum) all += part;
        use(&all);
      };
    });
  }
}

void pieces::words() const {
  constexpr index rows = 1024;  // 4,096 words, 16 KiB
  show("philox_word", 4 * rows, 200, [&](int t) {
    return [=, words = lend<std::uint32_t>(4 * rows, 0), at = static_cast<std::uint64_t>(t) << 40]() mutable {
      k::fill_flat(7, 2, at += rows, rows, words.get());
      use(words.get());
    };
  });
}

/// Outcomes of words that lie in the first cache, from one table row whose levels are evenly spaced, by a search in
/// registers or by comparisons; and from as many table rows as categories, by a search.
void pieces::outcomes() const {
  constexpr index n = 2048;
  const auto make = [](index C, index rows, auto type) {
    return [=](int) {
      using T = decltype(type);
      auto words = lend<std::uint32_t>(n + k::group_size, 0);
      auto level = lend<std::uint64_t>(rows * C, UINT64_MAX);
      auto high = lend<std::uint32_t>(rows * C, UINT32_MAX);
      k::fill_flat(7, 2, 0, n / 4, words.get());
      for (index r = 0; r < rows; ++r)
        for (index c = 1; c < C; ++c)
          level[r * C + c - 1] = UINT64_MAX / static_cast<std::uint64_t>(C) * static_cast<std::uint64_t>(c) + 12345;
      for (index c = 0; c < rows * C; ++c) high[c] = static_cast<std::uint32_t>(level[c] >> 32);
      const k::feature_levels<T> f{level.get(), high.get(), nullptr, C, -1, rows};
      const auto low = [](index) { return std::uint32_t{1}; };
      return [=, row = some_codes<std::uint8_t>(n, static_cast<std::uint32_t>(rows)), out = lend<T>(n, T{0})] {
        if (rows == 1)
          k::outcomes_from_row(f, 0, words.get(), n, out.get(), low);
        else
          k::outcomes_from_rows(f, row.get(), words.get(), n, out.get(), low);
        use(out.get());
      };
    };
  };
  for (const index C : {2, 8, 16, 32, 64, 128, 256})
    if (C <= std::max(k::most_compared, k::most_searched))
      show(sized("outcome", C), n, 200, make(C, 1, std::uint8_t{}));
  if (k::most_searched >= 512) show(sized("outcome", 512), n, 200, make(512, 1, std::uint16_t{}));
  for (const index C : {2, 4, 8, 16, 32})
    if (k::row_search<std::uint8_t>::pays({nullptr, nullptr, nullptr, C, -1, C}, n))
      show(sized("row_outcome", C), n, 200, make(C, C, std::uint8_t{}));
}

/// Conditional binomials, rows of one table row side by side: both probabilities and what comparisons alone decide; and
/// the last comparison, which the others need.
void pieces::binomials() const {
  using k::counts::together;
  const auto make = [](auto curve) {
    return [curve](int) {
      auto rows = std::make_shared<k::counts::lanes_of_rows>();
      for (index l = 0; l < together; ++l) {
        rows->level[l] = UINT64_MAX >> 3;
        rows->here[l] = UINT64_MAX >> 2;
        rows->first.trials[l] = 1e5 + static_cast<double>(l);
        rows->first.u[l] = (static_cast<double>(l) + 0.5) / together;
        rows->first.v[l] = 0.9;
      }
      k::counts::share_alike(*rows, together);
      k::counts::try_once(rows->first, together);
      return [rows] {
        if constexpr (decltype(curve)::value) {
          k::counts::try_curve<true>(rows->first, together);
        } else {
          k::counts::share_alike(*rows, together);
          k::counts::try_once(rows->first, together);
        }
        use(rows.get());
      };
    };
  };
  show("binomial_try", together, 1000, make(std::false_type{}));
  show("binomial_curve", together, 1000, make(std::true_type{}));
}

void pieces::counts() const {
  constexpr index n = 4096;
  for (const index kib : {16, 256}) {
    // Increments in a table of 32 bits a cell, in no order.
    const auto half = static_cast<std::uint32_t>(kib * 1024 / 8);
    show(kib_of("increment", kib), n, 64, [&](int) {
      return [=, table = lend<std::uint32_t>(2 * half, 0), codes = some_codes<std::uint32_t>(n, half),
              turn = std::uint32_t{0}]() mutable {
        std::uint32_t* const begin = table.get() + scramble(++turn) % half;
        for (index i = 0; i < n; ++i) ++begin[codes[i]];
        use(begin);
      };
    });
  }
  {
    // 255 rows of 64 bytes compared with eight categories, the hits added up in bytes.
    constexpr index m = 255, categories = 8;
    show("lane_compare", m * k::tile_width * categories, 200, [&](int) {
      auto rows = lend<k::row_number>(m, 0);
      for (index r = 0; r < m; ++r) rows[r] = static_cast<k::row_number>(r);
      return [=, tile = some_codes<std::uint8_t>(m * k::tile_width, categories)] {
        std::uint8_t counted[categories * k::tile_width];
        k::ahead next(nullptr, nullptr, 1);
        k::count_lanes<categories, false>(tile.get(), k::tile_width, rows.get(), m, 0, next, counted);
        use(counted);
      };
    });
  }
  {
    // Bits of 64 bytes that are a category, counted in each class: a word of either is one operation.
    constexpr index m = k::rows_at_once, C = 2, K = 2;
    show("column_bits", m / 64 * C * (K + 1), 400, [&](int) {
      auto classes = lend<std::uint64_t>(K * m / 64, 0);
      for (index w = 0; w < K * m / 64; ++w) classes[w] = 0x5555555555555555 << (w * 64 / m);
      return [=, column = some_codes<std::uint8_t>(m, C)] {
        k::small_count table[K * C] = {};
        k::count_by_bits(column.get(), m, classes.get(), K, C, C, table);
        use(table);
      };
    });
  }
}

void pieces::bits() const {
  {
    // 64 x 64 bytes turned into columns.
    constexpr index side = 64;
    show("turn", side * side, 1000, [&](int) {
      return [=, from = some_codes<std::uint8_t>(side * side, 2), to = lend<std::uint8_t>(side * side, 0)] {
        use(k::transpose(from.get(), to.get(), side, side));
      };
    });
  }
  {
    // Rows of 64 bytes that are 0 or 1 made columns of bits; bytes of eight rows that are one of several categories.
    constexpr index rows = 256, d = 64;
    show("pack_zeros", rows * d, 400, [&](int) {
      return [=, codes = some_codes<std::uint8_t>(rows * d, 2), words = lend<std::uint64_t>(rows / 64 * d, 0)] {
        k::pack_binary_rows(codes.get(), d, rows, d, codes.get() + rows * d, words.get(), rows / 64 * k::bit_lanes);
        use(words.get());
      };
    });
    show("pack_equal", rows * d, 100, [&](int) {
      return [=, codes = some_codes<std::uint8_t>(rows * d, 4), bytes = lend<std::uint8_t>(rows * d / 8, 0)] {
        for (index r = 0; r < rows; r += 8) {
          const std::uint8_t* eight[8];
          for (index l = 0; l < 8; ++l) eight[l] = codes.get() + (r + l) * d;
          k::equal_bits(eight, std::uint8_t{1}, bytes.get() + r * d / 8);
        }
        use(bytes.get());
      };
    });
  }
  {
    // Bits that four columns share with eight others: a word of 64 rows of two columns is one operation. The processor
    // is asked for the instruction that counts them as in the library.
    constexpr index n = 64;
    show("shared_bits", n * k::column_block * k::bit_lanes, 2000, [&](int) {
      return [=, words = lend<std::uint64_t>(2 * n * k::bit_lanes, 0x5A3C)] {
        const std::uint64_t* a[k::column_block];
        std::uint32_t some[k::column_block][k::bit_lanes];
        for (index i = 0; i < k::column_block; ++i) a[i] = words.get() + n * k::bit_lanes + i;
        k::shared_bits<k::column_block>(a, words.get(), n, {some[0], some[1], some[2], some[3]});
        use(some);
      };
    });
  }
}

/// Additions of a row's weight to the sums of eight features and a category, which stay in registers: of one column of
/// weights, of several, and of the classes of soft counts. A vector of eight is one operation.
void pieces::weights() const {
#if defined(__AVX512F__)
  constexpr index rows = 512;
  const auto make = [](index codes, index sides, bool either) {
    return [=](int) {
      auto chosen = lend<std::int32_t>(rows, 0);
      for (index r = 0; r < rows; ++r) chosen[r] = static_cast<std::int32_t>(r);
      return [=, masks = some_codes<std::uint8_t>(rows * codes * k::mask_bytes + 8, 256), weight = lend(rows, 0.5),
              sums = lend(4 * k::tile_width, 0.0)] {
        k::add_side_by_side(codes, sides, either, chosen.get(), rows, masks.get(), codes * k::mask_bytes, weight.get(),
                            sums.get());
        use(sums.get());
      };
    };
  };
  show("masked_add", rows * 4 * 7, 100, make(4, 7, false));
  show("masked_either", rows * 2 * 8, 100, make(2, 8, true));
  constexpr int codes = 2, columns = 7;
  show("masked_columns", rows / 2 * codes * columns, 200, [&](int) {
    return [=, masks = some_codes<std::uint8_t>(codes * k::together_rows, 256), sums = lend(codes * columns * 8, 0.0),
            chosen = lend<std::uint64_t>(rows / 64, 0x5A5A5A5A5A5A5A5A),  // half, as of two categories as likely
            weight = lend(rows * k::soft_classes, 0.5)] {
      k::add_masked_rows<codes, columns>(chosen.get(), rows / 64, masks.get(), weight.get(), sums.get());
      use(sums.get());
    };
  });
  constexpr int soft = 4, classes = 6;
  show("soft_add", rows * soft * classes, 100, [&](int) {
    return [=, masks = some_codes<std::uint8_t>(soft * k::rows_at_once * 8, 256), weight = lend(rows * classes, 0.5),
            sums = lend(soft * classes * 8, 0.0)] {
      k::add_masked<soft, classes>(masks.get(), rows, weight.get(), classes, sums.get());
      use(sums.get());
    };
  });
#else
  // Weights laid out, zeros where a feature has another category, of the rows that have a category: half of them.
  show("masked_add", k::word_rows / 2 * 2 * k::group_lanes / 8, 400, [&](int) {
    return [=, laid = lend(2 * k::word_rows * k::group_lanes, 0.5), sums = lend(2 * k::group_lanes, 0.0)] {
      k::add_rows_of<2>(0x5A5A5A5A5A5A5A5A, laid.get(), sums.get());
      use(sums.get());
    };
  });
#endif
}

/// Rows of so many classes that lie in tables of so many KiB, found by the codes of 64 rows of 16 features: added to
/// sums in registers, multiplied into them, and added to where they are. A row of classes is one operation.
template <int Full, int Rest>
void pieces::rows(index kib) const {
  constexpr index width = 8 * Full + Rest, d = 16, n = 64, parts = Full + (Rest > 0), apart = (width + 7) / 8 * 8;
  constexpr index stride = k::posterior_counts::row_words(Full, Rest);
  const index codes = kib * 1024 / 8 / stride / d, table = codes * stride + 5 * k::widest_part;  // of a feature
  const auto name = [&](const char* what) { return kib_of(sized(what, width), kib); };
  const auto z = some_codes<std::uint8_t>(n * d, static_cast<std::uint32_t>(std::min<index>(codes, 256)));
  auto begins = lend<index>(d, 0);
  for (index j = 0; j < d; ++j) begins[j] = j * table;
  show(name("add_row"), n * d, 100, [&](int) {
    auto lanes = lend(d * table, 1.0);
    auto places = lend<const double*>(d * parts, nullptr);
    for (index j = 0; j < d; ++j)
      for (index f = 0; f < parts; ++f) places[j * parts + f] = lanes.get() + begins[j] + 8 * codes * f;
    return [=, first = lend(width, 0.0), out = lend(n * width, 0.0)] {
      k::add_logs<Full, Rest>(z.get(), d, n, d, places.get(), width, first.get(), 0, out.get(), width,
                              k::ahead(nullptr, nullptr, 1));
      use(out.get());
    };
  });
  show(name("multiply_row"), n * d, 100, [&](int) {
    return [=, products = lend(d * table, 1.0), first = lend(apart, 1.0), out = lend(n * apart, 0.0),
            ends = lend<index>(d, 0)] {
      k::posterior_counts::multiply_rows<Full, Rest>(z.get(), n, d, products.get(), begins.get(), ends.get(),
                                                     first.get(), out.get(), apart);
      use(out.get());
    };
  });
  show(name("add_to_row"), n * d, 100, [&](int) {
    return [=, sums = lend(d * table, 1.0), shares = lend(n * apart, 0.5)] {
      k::posterior_counts::count_rows<Full, Rest>(z.get(), n, d, shares.get(), apart, begins.get(), sums.get());
      use(sums.get());
    };
  });
}

void pieces::scores() const {
#if defined(TALLYDRAW_WIDE_LOOKUP)
  {
    // Logs of two classes looked up in registers, of 64 rows whose codes are columns.
    constexpr index d = 64, W = 2;
    show("register_add", 64 * d * W, 200, [&](int) {
      return [=, columns = some_codes<std::uint8_t>(64 * d, 8), tables = lend(d * W * k::lookup_size, 1.0),
              out = lend(64 * W, 0.0)] {
        const double first[W] = {};
        k::look_up<W>(columns.get(), d, tables.get(), first, out.get());
        use(out.get());
      };
    });
  }
#endif
  for (const index classes : {1, 8}) {
    // A column of codes: its logs are added to the sums of 1,024 or 256 rows, which lie in the first cache.
    const index rows = classes == 1 ? 1024 : 256, codes = classes == 1 ? 5 : 26;
    show(sized("add_column", classes), rows, 1000, [&](int) {
      return [=, column = some_codes<std::uint8_t>(rows, 5), table = lend(codes * classes, 1.0),
              sums = lend(rows * classes, 0.0)] {
        k::add_column(column.get(), rows, table.get(), codes, classes, sums.get());
        use(sums.get());
      };
    });
  }
}

/// Sums of products of a table's rows and a message, of W classes: a product of all of them is one operation.
template <int W>
void pieces::messages(index categories) const {
  show(sized("message_term", W), categories * categories, 20000, [&](int) {
    return [=, theta = lend(categories * categories * W, 0.3), below = lend(categories * W, 0.3)] {
      double sent[8 * W];
      k::sums_by_class<W>(theta.get(), categories * W, W, below.get(), categories, categories, sent);
      use(sent);
    };
  });
}

/// Functions of numbers in the first cache, in vectors.
void pieces::functions() const {
  constexpr index n = 1024;
  const auto function = [&](const char* name, auto&& body) {
    show(name, n, 100, [=](int) {
      return [=, x = lend(n, 0.3), out = lend(n, 0.0)] {
        body(x.get(), out.get());
        use(out.get());
      };
    });
  };
  function("log", [=](const double* x, double* out) { k::log(x, n, out); });
  function("exp", [=](const double* x, double* out) { k::exp(x, n, out); });
  function("divide", [=](const double* x, double* out) {
    for (index i = 0; i < n; ++i) out[i] = 1.0 / x[i];
  });
  // Rows of 16 numbers, each summed from left to right, eight at a time.
  function("sum_left", [=](const double* x, double* out) {
    for (index r = 0; r < n / 16; r += 8) k::posterior_counts::sum_rows<8>(x + 16 * r, 16, 16, out + r);
  });
}

void pieces::information() const {
  constexpr index n = 1024;
  // Cells of tables of pairs that are nearly independent: a division and a series; of others logarithms too.
  for (const bool near : {true, false})
    show(near ? "near_divergence" : "divergence", n, 100, [=](int) {
      return [=, p = lend(n, near ? 0.251 : 0.4), q = lend(n, 0.25), logs = lend(n, -1.386), out = lend(n, 0.0)] {
        if (near)
          k::near_divergence_terms(p.get(), q.get(), n, out.get());
        else
          k::divergence_terms(p.get(), q.get(), logs.get(), n, out.get());
        use(out.get());
      };
    });
  // Bounds of pairs of two categories; and the better of two gains.
  show("bound", n, 100, [=](int) {
    return [=, tables = lend<index>(4 * n, 100), more = lend(n, 0.1), out = lend<k::bound_bits>(n, 0)] {
      k::bound_row(tables.get(), 0.1, more.get(), n, out.get());
      use(out.get());
    };
  });
  show("better_arc", n, 100, [=](int) {
    return [=, gain = some_codes<index>(n, 1000), best = lend<index>(n, 0), arc = lend<index>(n, 0),
            i = index{0}]() mutable {
      const index* const g = gain.get();
      index *const b = best.get(), *const a = arc.get();
      ++i;
      for (index j = 0; j < n; ++j) {
        const index least = b[j] + i;
        a[j] = g[j] > least ? i : a[j];
        b[j] = g[j] > least ? g[j] : b[j];
      }
      use(b);
    };
  });
}

}  // namespace
}  // namespace tallydraw

int main(int argc, char** argv) {
  const tallydraw::pieces pieces(argc > 1 ? std::atoi(argv[1]) : 1);
  std::printf("lane_categories %d\nfew_bits %d\n", static_cast<int>(tallydraw::k::lane_categories),
              static_cast<int>(tallydraw::k::few_bits));
  pieces.memory();
  pieces.lookups();
  pieces.words();
  pieces.outcomes();
  pieces.binomials();
  pieces.counts();
  pieces.bits();
  pieces.weights();
  pieces.scores();
  for (const tallydraw::index kib : {16, 128, 256}) {
    pieces.rows<0, 2>(kib);  // 2, 8, 10 and 20 classes
    pieces.rows<1, 0>(kib);
    pieces.rows<1, 2>(kib);
    pieces.rows<2, 4>(kib);
  }
  pieces.messages<8>(5);
  pieces.functions();
  pieces.information();
}
