#include "core/memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace olab {

void advise_huge_pages(void* memory, std::size_t bytes) {
#ifdef MADV_HUGEPAGE
  constexpr std::uintptr_t kPage = 4096;
  constexpr std::size_t kWorthwhile = std::size_t{4} << 20;
  if (bytes < kWorthwhile) return;
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  const std::size_t skipped = (kPage - address % kPage) % kPage;
  const std::size_t whole = (bytes - skipped) / kPage * kPage;
  // A refusal (an old kernel, a container) costs speed and nothing else.
  (void)madvise(static_cast<std::byte*>(memory) + skipped, whole, MADV_HUGEPAGE);
#else
  (void)memory;
  (void)bytes;
#endif
}

double machine_memory() {
  return static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
}

}  // namespace olab
