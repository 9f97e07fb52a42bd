#include "methods/common/block_size.hpp"

#include <algorithm>

namespace olab {

Index resolve_block(Index block, Index channels) {
  constexpr Index kLargestAuto = 128;
  if (block == kFullBlock) return channels;
  if (block == kAutoBlock) return std::min(kLargestAuto, channels & -channels);
  return block;
}

}  // namespace olab
