#include "experiments/perplexity_settings.hpp"

namespace olab {
namespace {

constexpr double kMostTokens = 1 << 24;

Schema<PerplexitySettings> make_schema() {
  using S = PerplexitySettings;
  Schema<S> out("perplexity",
                "Perplexity of a language model with every linear layer transformed and quantized",
                "Lin et al. 2024, arXiv:2406.01721, Appendices C and F; released code 62c5844, main.py");
  out.param("context", &S::context, "tokens of a window; auto: 2048, or what the model has positions for", 2,
            kMostTokens)
      .also("auto", S::kAuto)
      .param("stride", &S::stride,
             "tokens from one window to the next; auto: the context, so that no token stands in two windows; "
             "less: only tokens that the window before did not score are scored",
             1, kMostTokens)
      .also("auto", S::kAuto)
      .param("windows", &S::windows, "windows to evaluate, from the first on; all: as many as the text has",
             1, kMostTokens)
      .also("all", S::kAll)
      .param("calibration_windows", &S::calibration_windows,
             "windows that methods are calibrated on: the first of data.calibration_text, or of the text "
             "itself, "
             "whose evaluation then begins behind them",
             1, 4096)
      .param("average_windows", &S::average_windows,
             "calibrate on the mean of the calibration windows' embeddings, as the released code does (128 "
             "windows)")
      .choice("calibrate_inputs", &S::calibrate_inputs,
              "what a layer is calibrated on: its input in the model whose earlier layers are quantized "
              "already, or "
              "in the original model",
              {"quantized", "original"})
      .param("share_inputs", &S::share_inputs,
             "layers that read one input (q, k and v; gate and up) get one transform, as at inference")
      .param("fold_smoothing", &S::fold_smoothing,
             "merge the smoothing scales of o_proj into v_proj, as the released code does: the quantized V "
             "has them; "
             "without grouped-query attention only. (Scales that merge into a norm, or into up_proj, change "
             "no number.)")
      .choice("attention_hadamard", &S::attention_hadamard,
              "rotate every head by a Hadamard matrix before its quantization: queries and keys behind their "
              "positions, as the released code does; values too, as the paper says; or none",
              {"query-key", "query-key-value", "none"})
      .param("document_separator", &S::document_separator,
             "what stands between the documents of a text, '<|endoftext|>' for example: each is encoded by "
             "itself, with "
             "BOS in front where the tokenizer adds one; empty: the text is one document, as in the paper's "
             "protocol");
  return out;
}

const Schema<PerplexitySettings>& schema() {
  static const Schema<PerplexitySettings> kSchema = make_schema();
  return kSchema;
}

}  // namespace

const Info& perplexity_info() {
  return schema().info();
}

PerplexitySettings make_perplexity(const Params& params) {
  return *schema().make(params);
}

}  // namespace olab
