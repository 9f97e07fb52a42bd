#include "core/library_product.hpp"

#include <fmt/format.h>
#include <oneapi/dnnl/dnnl.h>

#include <algorithm>
#include <cassert>
#include <csignal>
#include <new>

#include "core/error.hpp"
#include "core/parallel.hpp"

#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP
// The OpenMP API, without its header: clang's is a package of its own, which nothing else here needs.
// NOLINTBEGIN(readability-identifier-naming)
extern "C" int omp_get_max_threads();
extern "C" void omp_set_num_threads(int threads);
// NOLINTEND(readability-identifier-naming)
#elif DNNL_CPU_THREADING_RUNTIME != DNNL_RUNTIME_SEQ
#error "oneDNN with threads of oneTBB or of its own cannot be held to one thread; build it with OpenMP"
#endif

namespace olab {
namespace {

// How a product is cut into tiles, one call each. A tile's shape may decide in which order oneDNN sums, so it
// depends on the product's shape and never on the number of threads. Large tiles pack their operands less
// often (512 x 528 is a twentieth slower); many tiles keep many threads busy.
constexpr Index kMostRows = 1024;
constexpr Index kMostColumns = 768;
constexpr Index kTilesWanted = 12;
/// A dimension of less is not halved.
constexpr Index kLeastHalved = 512;
/// Nor is a tile of fewer multiply-adds, some tenths of a millisecond.
constexpr Index kLeastWork = Index{1} << 24;
/// Multiples of what the kernels for AVX2 and AVX-512 compute at once.
constexpr Index kRowStep = 8;
constexpr Index kColumnStep = 48;

Index divided_up(Index n, Index by) {
  return (n + by - 1) / by;
}

struct Tile {
  Index rows = 0;
  Index columns = 0;
};

Tile tile_of(Index m, Index n, Index k) {
  Tile tile{std::min(m, kMostRows), std::min(n, kMostColumns)};
  while (divided_up(m, tile.rows) * divided_up(n, tile.columns) < kTilesWanted &&
         tile.rows * tile.columns * k > kLeastWork && std::max(tile.rows, tile.columns) >= kLeastHalved) {
    if (tile.rows > tile.columns)
      tile.rows = divided_up(tile.rows, 2 * kRowStep) * kRowStep;
    else
      tile.columns = divided_up(tile.columns, 2 * kColumnStep) * kColumnStep;
  }
  return tile;
}

/// While alive, OpenMP gives this thread, which may be one of oneTBB's, no others: ours are enough.
class OneOpenMpThread {
 public:
#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP
  OneOpenMpThread() : before_(omp_get_max_threads()) {
    omp_set_num_threads(1);
  }
  ~OneOpenMpThread() {
    omp_set_num_threads(before_);
  }
#else
  OneOpenMpThread() = default;
  ~OneOpenMpThread() = default;
#endif
  OneOpenMpThread(const OneOpenMpThread&) = delete;
  OneOpenMpThread& operator=(const OneOpenMpThread&) = delete;

 private:
  [[maybe_unused]] int before_ = 1;
};

/// While alive, no signal handler runs on this thread: kernels of oneDNN (2.6.3 at least) point the stack
/// register at a buffer on the heap, and what the system pushes there for a handler would overwrite the heap.
/// A signal that comes meanwhile is delivered behind the product, or on another thread.
class HeldSignals {
 public:
  HeldSignals() {
    sigset_t held{};
    sigfillset(&held);
    // These mean that something has gone wrong here, and must not wait.
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&held, fault);
    pthread_sigmask(SIG_BLOCK, &held, &before_);
  }
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;
  ~HeldSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

/// What BLAS calls the leading dimension; that of a view of one row may be less than its columns.
Index leading(const ConstMatrixRef& m) {
  return std::max({m.outerStride(), m.cols(), Index{1}});
}

void multiply_tiles(const ConstMatrixRef& a, const ConstMatrixRef& b, bool transposed, MatrixRef& y) {
  const Index m = y.rows();
  const Index n = y.cols();
  const Index k = a.cols();
  if (y.size() == 0) return;
  if (k == 0) {
    y.setZero();
    return;
  }
  const Tile tile = tile_of(m, n, k);
  const Index across = divided_up(n, tile.columns);
  const Index lda = leading(a);
  const Index ldb = leading(b);
  const Index ldy = leading(y);
  parallel_for(across * divided_up(m, tile.rows), 1, [&](Index first, Index last) {
    const OneOpenMpThread one;
    const HeldSignals held;
    for (Index t = first; t < last; ++t) {
      const Index i = t / across * tile.rows;
      const Index j = t % across * tile.columns;
      const dnnl_status_t status =
          dnnl_sgemm('N', transposed ? 'T' : 'N', std::min(tile.rows, m - i), std::min(tile.columns, n - j),
                     k, 1.0F, a.data() + i * lda, lda, b.data() + (transposed ? j * ldb : j), ldb, 0.0F,
                     y.data() + i * ldy + j, ldy);
      if (status == dnnl_out_of_memory) throw std::bad_alloc();
      if (status != dnnl_success)
        throw Error(fmt::format("{}: a product of {} x {} by {} x {} failed with status {}",
                                library_product_name(), m, k, k, n, static_cast<int>(status)));
    }
  });
}

const char* instruction_set() {
  const auto have = static_cast<unsigned>(dnnl_get_effective_cpu_isa());
  const auto includes = [&](dnnl_cpu_isa_t isa) { return (have & static_cast<unsigned>(isa)) == isa; };
  // Floats are multiplied with no more than these.
  if (includes(dnnl_cpu_isa_avx512_core)) return "AVX-512";
  if (includes(dnnl_cpu_isa_avx2)) return "AVX2";
  if (includes(dnnl_cpu_isa_avx)) return "AVX";
  if (includes(dnnl_cpu_isa_sse41)) return "SSE4.1";
  return "portable";
}

}  // namespace

void library_multiply_transposed(const ConstMatrixRef& a, const ConstMatrixRef& b, MatrixRef y) {
  assert(a.cols() == b.cols() && y.rows() == a.rows() && y.cols() == b.rows());
  multiply_tiles(a, b, true, y);
}

void library_multiply(const ConstMatrixRef& a, const ConstMatrixRef& b, MatrixRef y) {
  assert(a.cols() == b.rows() && y.rows() == a.rows() && y.cols() == b.cols());
  multiply_tiles(a, b, false, y);
}

const std::string& library_product_name() {
  static const std::string name = [] {
    const dnnl_version_t& version = *dnnl_version();
    return fmt::format("oneDNN {}.{}.{} {}", version.major, version.minor, version.patch, instruction_set());
  }();
  return name;
}

}  // namespace olab
