// What `olab perplexity` computes, as a study.
#pragma once

#include <string>
#include <vector>

namespace olab {

struct PerplexityStudy {
  std::string name = "perplexity";
  std::vector<std::string> models;
  std::vector<std::string> texts;
  std::string calibration_text;
  std::vector<std::string> methods{"rtn", "smoothquant", "hadamard(block_size=full)",
                                   "duquant(block_size=auto)"};
  std::vector<std::string> bits{"W4A4QKV4"};
  double activation_clip = 0.9;  ///< the paper's, Appendix C
  double weight_clip = 0.8;
  std::vector<std::string> settings;  ///< "context=512": parameters of perplexity_info()
};

/// The study as YAML. Error on bits that are none ("W4A4", "W4A16", "W4A4KV4", "W4A4QKV4", "W4A4Q8KV4"; 2 to
/// 8, or 16: not quantized) and on a setting without "=".
std::string perplexity_study(const PerplexityStudy& options);

/// The command line that means the same; `overrides` are its --set.
std::string perplexity_command(const PerplexityStudy& options, const std::vector<std::string>& overrides);

}  // namespace olab
