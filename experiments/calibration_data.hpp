// Which tokens a method is calibrated on, where they are not the evaluated recording's own.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/matrix.hpp"
#include "core/random.hpp"
#include "core/registries.hpp"
#include "datasets/recording.hpp"

namespace olab {

/// The first tokens of the recording that is evaluated.
inline constexpr std::string_view kOwnTokens = "own";
/// Independent normal entries that know one number of the layer: the root mean square of its own tokens.
inline constexpr std::string_view kGaussianTokens = "gaussian";
/// Independent normal entries that know the root mean square of every channel, and nothing of tokens.
inline constexpr std::string_view kChannelGaussianTokens = "channel-gaussian";

/// One entry of data.calibrate_on, opened.
struct CalibrationSource {
  std::string text = std::string(kOwnTokens);  ///< as in the study
  std::shared_ptr<const Recording> recording;  ///< another recording; null for the names above

  bool is_own() const { return text == kOwnTokens; }
};

/// A name above, or the path of a recording with layers of the same names. Error where it is neither, with
/// the nearest name.
CalibrationSource open_calibration(const std::string& text, const Registries& registries);

/// The layer of that name in the source's recording. Error where it has none, where its width is not
/// `channels`, or where it has fewer than `tokens` tokens.
std::size_t calibration_layer(const CalibrationSource& source, const std::string& layer, Index channels,
                              Index tokens);

/// What a run's identity holds of the source: "" for the recording's own tokens, the name, or the hash of the
/// other recording's X. Errors as for calibration_layer, which up to `tokens` tokens are asked of.
std::string calibration_hash(const CalibrationSource& source, const LayerInfo& layer, Index tokens);

/// tokens × channels to calibrate on. `own`: as many of the recording's own tokens. `random` must differ
/// between layers and seeds.
Matrix calibration_tokens(const CalibrationSource& source, const std::string& layer,
                          const ConstMatrixRef& own, RandomStream random);

}  // namespace olab
