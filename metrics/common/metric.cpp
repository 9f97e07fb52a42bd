#include "metrics/common/metric.hpp"

#include <cassert>
#include <utility>

namespace olab {
namespace {

// `make` runs on the first call only.
template <class T, class Make>
const T& cached(std::optional<T>& slot, const Make& make) {
  if (!slot) slot.emplace(make());
  return *slot;
}

}  // namespace

std::string_view stage_name(Stage stage) {
  switch (stage) {
    case Stage::original:
      return "original";
    case Stage::transformed:
      return "transformed";
    case Stage::quantized:
      return "quantized";
    case Stage::output:
      return "output";
    case Stage::weight_original:
      return "weight_original";
    case Stage::weight_transformed:
      return "weight_transformed";
    case Stage::weight_quantized:
      return "weight_quantized";
    case Stage::online:
      return "online";
  }
  assert(false && "a stage without a name");
  return "";
}

bool is_weight_stage(Stage stage) {
  return stage == Stage::weight_original || stage == Stage::weight_transformed ||
         stage == Stage::weight_quantized;
}

Observation::Observation(Stage stage, const ConstMatrixRef& x, std::optional<ConstMatrixRef> reference,
                         Index block_size, Index clipped)
    : stage_(stage), x_(x), reference_(std::move(reference)), block_size_(block_size), clipped_(clipped) {
  assert(!reference_ || (reference_->rows() == x_.rows() && reference_->cols() == x_.cols()));
}

Observation::Observation(Stage stage, const ErrorSums& errors, Index block_size)
    : stage_(stage), x_(nothing_), block_size_(block_size), clipped_(-1), errors_(errors) {}

// Most metrics need several of these, and together they cost little more than one.
const Summary& Observation::summary() const {
  return cached(summary_, [&] { return summarize(x_); });
}

const Moments& Observation::moments() const {
  return summary().moments;
}

const ErrorSums& Observation::errors() const {
  return cached(errors_, [&] { return reference_ ? compute_errors(x_, *reference_) : ErrorSums{}; });
}

const Vector& Observation::channel_absmax() const {
  return summary().channel_absmax;
}

const Vector& Observation::token_absmax() const {
  return summary().token_absmax;
}

const std::vector<double>& Observation::channel_abs_mean() const {
  return summary().channel_abs_mean;
}

double Observation::abs_median() const {
  return cached(abs_median_, [&] { return median_of_abs(x_); });
}

MetricSink::~MetricSink() = default;
Metric::~Metric() = default;

bool Metric::errors_suffice() const {
  return false;
}

}  // namespace olab
