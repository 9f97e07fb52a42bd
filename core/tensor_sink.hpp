// Where transforms write their tensors, without knowing of files.
#pragma once

#include <span>
#include <string>

#include "core/matrix.hpp"

namespace olab {

/// Receives named tensors.
class TensorSink {
 public:
  TensorSink() = default;
  TensorSink(const TensorSink&) = delete;
  TensorSink& operator=(const TensorSink&) = delete;
  virtual ~TensorSink();
  virtual void put(const std::string& name, const ConstMatrixRef& values) = 0;
  virtual void put(const std::string& name, std::span<const Index> values) = 0;
};

}  // namespace olab
