// What a user can correct is an Error; what only we can correct is an assert.
#pragma once

#include <stdexcept>
#include <string>

namespace olab {

/// Something the user can correct: a file, a key, a shape, a value. The message says what is wrong, where
/// (file, line, key, tensor, index), what was expected and what to do.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  Error(const Error&) = default;
  Error& operator=(const Error&) = default;
  ~Error() override;
};

/// A bad parameter or name in a specification; `key()` is the parameter (empty: the name itself), so that the
/// reader of a config file can add the line of that key.
class SpecError : public Error {
 public:
  SpecError(const std::string& message, std::string key) : Error(message), key_(std::move(key)) {}
  SpecError(const SpecError&) = default;
  SpecError& operator=(const SpecError&) = default;
  ~SpecError() override;
  const std::string& key() const { return key_; }

 private:
  std::string key_;
};

/// Thrown where a long computation notices that the user asked to stop (Ctrl-C).
class Interrupted : public std::runtime_error {
 public:
  Interrupted() : std::runtime_error("interrupted") {}
  Interrupted(const Interrupted&) = default;
  Interrupted& operator=(const Interrupted&) = default;
  ~Interrupted() override;
};

}  // namespace olab
