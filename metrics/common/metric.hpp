// Metrics: named numbers and small series of a matrix at one stage of a run.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/registries.hpp"
#include "core/series.hpp"
#include "metrics/common/statistics.hpp"

namespace olab {

struct OnlineStage;  // core/online.hpp

/// Where a number was taken. The weight stages are the same three places on the weight's side.
enum class Stage {
  original,
  transformed,
  quantized,
  output,
  weight_original,
  weight_transformed,
  weight_quantized,
  online  ///< the transform in front of the quantized layer, at inference
};

/// "original", …, "weight_quantized": the prefix of every stored name.
std::string_view stage_name(Stage stage);
bool is_weight_stage(Stage stage);

/// The online part of a run's transform, for metrics that measure it.
struct OnlinePart {
  const std::vector<OnlineStage>* stages = nullptr;  ///< null: unknown, or it has no online form
  Index out_features = 0;                            ///< of all layers that read the transformed input
};

/// One matrix of one run. Statistics are computed on first use and shared by all metrics of the observation;
/// not to be used from two threads at once.
class Observation {
 public:
  /// `reference`: what the matrix should have been (quantized: the transformed matrix; output: X Wᵀ), of the
  /// same shape; absent at the stages where there is nothing to compare. `clipped`: how many values the
  /// quantizer clipped, or < 0.
  Observation(Stage stage, const ConstMatrixRef& x, std::optional<ConstMatrixRef> reference, Index block_size,
              Index clipped);
  /// A matrix that is in memory no more: only stage(), block_size() and errors() may be asked for.
  Observation(Stage stage, const ErrorSums& errors, Index block_size);

  Stage stage() const { return stage_; }
  const ConstMatrixRef& x() const { return x_; }  ///< tokens × channels (outputs: tokens × out_features)
  bool has_reference() const { return reference_.has_value(); }
  const ConstMatrixRef& reference() const { return *reference_; }
  /// The method's own block size, 0 where it has none.
  Index block_size() const { return block_size_; }
  Index clipped() const { return clipped_; }
  const OnlinePart& online() const { return online_; }
  void set_online(const OnlinePart& online) { online_ = online; }

  const Moments& moments() const;        ///< over all entries
  const ErrorSums& errors() const;       ///< against the reference; empty sums where there is none
  const Vector& channel_absmax() const;  ///< 1 × columns
  const Vector& token_absmax() const;    ///< 1 × rows
  const std::vector<double>& channel_abs_mean() const;  ///< mean_t |x_tj| of every column
  double abs_median() const;                            ///< median of |x| over all entries

 private:
  Stage stage_;
  Matrix nothing_;  ///< what x_ refers to where there are only sums
  ConstMatrixRef x_;
  std::optional<ConstMatrixRef> reference_;
  Index block_size_;
  Index clipped_;
  OnlinePart online_;
  const Summary& summary() const;

  mutable std::optional<Summary> summary_;
  mutable std::optional<ErrorSums> errors_;
  mutable std::optional<double> abs_median_;
};

/// Takes what a metric found; names get the stage as a prefix ("output." + "nmse").
class MetricSink {
 public:
  MetricSink() = default;
  MetricSink(const MetricSink&) = delete;
  MetricSink& operator=(const MetricSink&) = delete;
  virtual ~MetricSink();
  virtual void value(std::string_view name, double value) = 0;
  virtual void series(Series series) = 0;  ///< `series.name` without the stage
};

/// A family of numbers. Its Info carries notes: "definition" (the formula, printed beside the number),
/// "unit", "better" (lower | higher | none), and "values" (the names that it emits, blank-separated, where
/// they are not just the metric's own name). A metric that emits series instead of numbers carries the note
/// "series" = "true". Parameters never change the names; who stores them has to tell kurtosis(axis=token)
/// from kurtosis.
class Metric {
 public:
  Metric() = default;
  Metric(const Metric&) = delete;
  Metric& operator=(const Metric&) = delete;
  virtual ~Metric();
  /// The stages at which it is defined.
  virtual std::vector<Stage> stages() const = 0;
  virtual void evaluate(const Observation& observation, MetricSink& sink) const = 0;
  /// True where `evaluate` looks at nothing but errors(): then an output need not be in memory as a whole.
  virtual bool errors_suffice() const;
};

}  // namespace olab
