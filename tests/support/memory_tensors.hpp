// Tensor files in memory, for tests of what reads and writes them.
#pragma once

#include <fmt/format.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/registries.hpp"
#include "core/tensor_sink.hpp"
#include "core/tensor_source.hpp"

namespace olab::test {

struct MemoryTensors {
  std::map<std::string, std::string> metadata;
  std::map<std::string, Matrix> matrices;
  std::map<std::string, std::vector<Index>> lists;
};

class MemorySink final : public TensorSink {
 public:
  explicit MemorySink(MemoryTensors& to) : to_(to) {}
  void put(const std::string& name, const ConstMatrixRef& values) override { to_.matrices[name] = values; }
  void put(const std::string& name, std::span<const Index> values) override {
    to_.lists[name] = {values.begin(), values.end()};
  }

 private:
  MemoryTensors& to_;
};

class MemorySource final : public TensorSource {
 public:
  MemorySource(const MemoryTensors& from, std::string source) : from_(from), source_(std::move(source)) {}
  const std::string& source() const override { return source_; }
  const std::map<std::string, std::string>& metadata() const override { return from_.metadata; }
  std::vector<std::string> names() const override {
    std::vector<std::string> out;
    for (const auto& [name, values] : from_.matrices) out.push_back(name);
    for (const auto& [name, values] : from_.lists) out.push_back(name);
    return out;
  }
  Matrix matrix(std::string_view name) const override { return from_.matrices.at(std::string(name)); }
  std::vector<Index> indices(std::string_view name) const override {
    return from_.lists.at(std::string(name));
  }
  std::string content_hash() const override {
    Hasher hasher;
    for (const auto& [key, text] : from_.metadata) hasher.add(key).add(text);
    for (const auto& [name, m] : from_.matrices)
      hasher.add(name).add(std::as_bytes(std::span(m.data(), static_cast<std::size_t>(m.size()))));
    for (const auto& [name, list] : from_.lists) hasher.add(name).add(std::as_bytes(std::span(list)));
    return hasher.hex();
  }

 private:
  const MemoryTensors& from_;
  std::string source_;
};

/// Files by their path, which registries can open; must outlive them.
using MemoryFiles = std::map<std::string, MemoryTensors>;

inline OpenTensors opener(const MemoryFiles& files) {
  return [&files](const std::filesystem::path& file) -> std::unique_ptr<TensorSource> {
    const auto it = files.find(file.string());
    if (it == files.end()) throw Error(fmt::format("{}: this file does not exist", file.string()));
    return std::make_unique<MemorySource>(it->second, it->first);
  };
}

}  // namespace olab::test
