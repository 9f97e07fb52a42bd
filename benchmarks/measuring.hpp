// What benchmarks of products share: the machine's peak, memory, time on one thread.
#pragma once

#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <cstdint>
#include <functional>

#include "core/cpu.hpp"
#include "core/matrix.hpp"
#include "core/parallel.hpp"
#include "core/random.hpp"

namespace olab {

#if OLAB_X86_KERNELS
using Wide = float __attribute__((vector_size(64)));
#define OLAB_EIGHT(op, from) \
  op(from##0) op(from##1) op(from##2) op(from##3) op(from##4) op(from##5) op(from##6) op(from##7)
#define OLAB_DECLARE(v) Wide v = one;
#define OLAB_STEP(v) __asm__ volatile("vfmadd213ps %2, %1, %0" : "+v"(v) : "v"(factor), "v"(term));

/// Sixteen chains of multiply-adds in registers; more than latency times width of any CPU.
OLAB_TARGET_AVX512 inline double multiply_adds_avx512(Index rounds) {
  const Wide one = Wide{} + 1.0F;
  const Wide factor = Wide{} + 0.999F;
  const Wide term = Wide{} + 0.001F;
  OLAB_EIGHT(OLAB_DECLARE, a)
  OLAB_EIGHT(OLAB_DECLARE, b)
  for (Index i = 0; i < rounds; ++i) {
    OLAB_EIGHT(OLAB_STEP, a)
    OLAB_EIGHT(OLAB_STEP, b)
  }
  return static_cast<double>(rounds) * 16 * 16;
}
#undef OLAB_EIGHT
#undef OLAB_DECLARE
#undef OLAB_STEP
#endif

/// What so many multiply-adds take where nothing has to be loaded. With AVX-512 only.
inline void peak([[maybe_unused]] benchmark::State& state, [[maybe_unused]] double multiply_adds) {
#if OLAB_X86_KERNELS
  const auto rounds = static_cast<Index>(multiply_adds / 256);
  double done = 0;
  for (auto _ : state) done += multiply_adds_avx512(rounds);
  state.counters["multiply_adds"] = benchmark::Counter(done, benchmark::Counter::kIsRate);
#endif
}

inline bool has_peak() {
  return OLAB_X86_KERNELS != 0 && cpu_level() >= CpuLevel::avx512;
}

/// Matrices on huge pages, as a long-running program has them: the comparison is not one of page tables.
inline Matrix on_huge_pages(Index rows, Index columns) {
  Matrix out(rows, columns);
  const auto begin = reinterpret_cast<std::uintptr_t>(out.data()) & ~std::uintptr_t{4095};
  madvise(reinterpret_cast<void*>(begin), static_cast<std::size_t>(out.size()) * sizeof(float),
          MADV_HUGEPAGE);
  RandomStream random(1);
  random.fill_normal(out);
  for (Index j = 0; j < 6 && j < columns; ++j) out.col(j * columns / 6) *= 20.0F;
  return out;
}

inline bool close(const ConstMatrixRef& a, const ConstMatrixRef& b) {
  return (a - b).norm() <= 1e-4F * b.norm();
}

inline void set_rate(benchmark::State& state, double multiply_adds) {
  state.counters["multiply_adds"] =
      benchmark::Counter(multiply_adds, benchmark::Counter::kIsIterationInvariantRate);
}

/// Runs `body` on so many threads, as often as the library asks for; once before, for new pages cost more
/// than the work on them.
inline void time(benchmark::State& state, const std::function<void()>& body, int threads = 1) {
  with_threads(threads, body);
  for (auto _ : state) {
    with_threads(threads, body);
    benchmark::ClobberMemory();
  }
}

}  // namespace olab
