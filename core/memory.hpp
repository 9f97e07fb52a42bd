// Large blocks of memory.
#pragma once

#include <cstddef>

namespace olab {

/// Asks the system to back fresh memory by huge pages; call it before the first touch. A matrix of 180 MB is
/// otherwise 45,000 page faults, which cost more than the arithmetic on it. Does nothing for small blocks or
/// where the system has no huge pages.
void advise_huge_pages(void* memory, std::size_t bytes);

/// Bytes of the machine's memory.
double machine_memory();

}  // namespace olab
