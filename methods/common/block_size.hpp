// Block sizes by name: what "full" and "auto" mean for a width.
#pragma once

#include "core/matrix.hpp"

namespace olab {

/// One block as wide as the layer.
constexpr Index kFullBlock = 0;
/// The largest power of two that divides the width, at most 128 (the block of the DuQuant paper).
constexpr Index kAutoBlock = -1;

/// The size that `block` (a size, kFullBlock or kAutoBlock) means for `channels` channels. 1 where kAutoBlock
/// finds nothing (an odd width), which check_block_size refuses.
Index resolve_block(Index block, Index channels);

}  // namespace olab
