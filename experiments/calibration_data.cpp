#include "experiments/calibration_data.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/error.hpp"
#include "core/text.hpp"

namespace olab {
namespace {

const std::vector<std::string>& source_names() {
  static const std::vector<std::string> names{std::string(kOwnTokens), std::string(kGaussianTokens),
                                              std::string(kChannelGaussianTokens)};
  return names;
}

/// Root mean square of every channel, or of all entries in every channel.
std::vector<double> root_mean_squares(const ConstMatrixRef& x, bool each_channel) {
  std::vector<double> out(static_cast<std::size_t>(x.cols()));
  double all = 0;
  for (Index t = 0; t < x.rows(); ++t)
    for (Index j = 0; j < x.cols(); ++j) {
      const double square = static_cast<double>(x(t, j)) * static_cast<double>(x(t, j));
      out[static_cast<std::size_t>(j)] += square;
      all += square;
    }
  for (double& v : out)
    v = each_channel ? std::sqrt(v / static_cast<double>(std::max<Index>(1, x.rows())))
                     : std::sqrt(all / static_cast<double>(std::max<Index>(1, x.size())));
  return out;
}

}  // namespace

CalibrationSource open_calibration(const std::string& text, const Registries& registries) {
  CalibrationSource out;
  out.text = text;
  if (std::ranges::find(source_names(), text) != source_names().end()) return out;
  std::error_code ignored;
  if (text.find('/') == std::string::npos && !std::filesystem::exists(text, ignored))
    throw Error(fmt::format("data.calibrate_on: '{}' is neither a recording nor one of {}, {}, {}{}", text,
                            kOwnTokens, kGaussianTokens, kChannelGaussianTokens,
                            suggestion(text, source_names())));
  out.recording = open_recording(text, registries);
  return out;
}

std::size_t calibration_layer(const CalibrationSource& source, const std::string& layer, Index channels,
                              Index tokens) {
  const std::vector<LayerInfo>& layers = source.recording->layers();
  const auto found = std::ranges::find(layers, layer, &LayerInfo::name);
  if (found == layers.end()) {
    std::vector<std::string> names;
    for (const LayerInfo& l : layers) names.push_back(l.name);
    throw Error(fmt::format("data.calibrate_on: {} has no layer '{}'{}; record the same layers of both texts",
                            source.text, layer, suggestion(layer, names)));
  }
  if (found->in_features != channels)
    throw Error(fmt::format("data.calibrate_on: {}: layer '{}' has {} channels, and {} are evaluated",
                            source.text, layer, found->in_features, channels));
  if (found->tokens < tokens)
    throw Error(fmt::format(
        "data.calibrate_on: {}: layer '{}' has {} tokens, but data.calibration_tokens is {}; lower it, or "
        "record more",
        source.text, layer, found->tokens, tokens));
  return static_cast<std::size_t>(found - layers.begin());
}

std::string calibration_hash(const CalibrationSource& source, const LayerInfo& layer, Index tokens) {
  if (source.is_own()) return {};
  if (!source.recording) return source.text;
  return source.recording->input_hash(calibration_layer(source, layer.name, layer.in_features, tokens));
}

Matrix calibration_tokens(const CalibrationSource& source, const std::string& layer,
                          const ConstMatrixRef& own, RandomStream random) {
  if (source.is_own()) return own;
  if (source.recording)
    return source.recording->load_input(calibration_layer(source, layer, own.cols(), own.rows()), own.rows());
  const std::vector<double> rms = root_mean_squares(own, source.text == kChannelGaussianTokens);
  Matrix out(own.rows(), own.cols());
  for (Index t = 0; t < out.rows(); ++t)
    for (Index j = 0; j < out.cols(); ++j)
      out(t, j) = static_cast<float>(random.normal() * rms[static_cast<std::size_t>(j)]);
  return out;
}

}  // namespace olab
