#include "core/error.hpp"

#include "core/tensor_sink.hpp"
#include "core/tensor_source.hpp"

namespace olab {

// Key functions: each vtable and typeinfo exists once, so an Error from a plug-in is caught by the program.
Error::~Error() = default;
SpecError::~SpecError() = default;
Interrupted::~Interrupted() = default;
TensorSink::~TensorSink() = default;
TensorSource::~TensorSource() = default;

}  // namespace olab
