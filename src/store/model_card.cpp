#include "store/model_card.h"

#include <fmt/format.h>

#include <cmath>

#include "base/version.h"

namespace jreg::store {
namespace {

std::string front_matter() {
  return "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- llama\n- jreg\n---\n\n";
}

std::string origin(ModelCard const& card) {
  std::string text = fmt::format("{} {} ({}).", model_card_mark, version(), commit());
  if (card.step > 0) text += fmt::format(" Trained for {} updates on {} tokens.", card.step, card.tokens);
  config::JregConfig const& jreg = card.config.jreg;
  if (card.step > 0 && jreg.lambda > 0) {
    text += fmt::format(
        " The training loss had the jump-suppressing regularizer JREG added to it: penalty `{}`, depth weights `{}`, "
        "lambda {}.",
        jreg.penalty, jreg.weights, jreg.lambda);
  } else if (card.step > 0) {
    text += " Trained without the jump-suppressing regularizer JREG (lambda 0).";
  }
  return text + "\n\n";
}

std::string row(char const* name, std::string const& value) {
  return fmt::format("| {} | {} |\n", name, value);
}

std::string architecture(ModelCard const& card) {
  config::ModelConfig const& model = card.config.model;
  config::RopeScalingConfig const& scaling = model.rope_scaling;
  std::string const rope = scaling.type == "llama3"
                               ? fmt::format("theta {}, Llama 3 scaling by {} from a context of {}", model.rope_theta,
                                             scaling.factor, scaling.original_max_position_embeddings)
                               : fmt::format("theta {}", model.rope_theta);
  return "## Architecture\n\n| | |\n|---|---|\n" + row("parameters", std::to_string(card.parameters)) +
         row("type of weights", card.dtype) + row("layers", std::to_string(model.layers)) +
         row("hidden size", std::to_string(model.hidden)) +
         row("heads",
             fmt::format("{} of size {}, {} for keys and values", model.heads, model.head_size, model.kv_heads)) +
         row("inner size of the MLP", std::to_string(model.ffn)) +
         row("vocabulary",
             fmt::format("{}{}", model.vocab, model.tie_embeddings ? ", output head tied to the embedding" : "")) +
         row("rotary positions", rope) + row("context", std::to_string(card.config.train.sequence_length)) +
         "\n## Tokenizer\n\n" + card.tokenizer + "\n\n";
}

std::string jumps(ModelCard const& card) {
  std::string text = "## Jump statistics\n\n";
  if (card.trajectory == nullptr || card.trajectory->probe().rows() == 0) {
    return text + "Not measured here.\n\n";
  }
  Table const& probe = card.trajectory->probe();
  std::int64_t const last = probe.rows() - 1;
  auto const displacement = probe.reals("displacement", last);
  auto const jump_rate = probe.reals("jump_rate", last);
  text += fmt::format(
      "Of a fixed held-out batch after {} updates (loss {:.4f} nats per token). The displacement Psi_l is the mean "
      "over tokens of (1 - cos(h_(l-1), h_l)) / 2, how far block l turns the hidden state; the jump rate zeta_l is "
      "100 times the sum over k >= l of max(0, Psi_k - Psi_(k-1)).\n\n| layer l | Psi_l | zeta_l, % |\n|---|---|---|\n",
      probe.last_step(), probe.reals("loss", last)[0]);
  for (std::size_t l = 0; l < displacement.size(); ++l) {
    std::string const zeta = std::isnan(jump_rate[l]) ? "" : fmt::format("{:.4f}", jump_rate[l]);
    text += fmt::format("| {} | {:.6f} | {} |\n", l + 1, displacement[l], zeta);
  }
  return text + "\n";
}

std::string reference() {
  return "Jump, displacement and JREG: K. Shibata, K. Yano, R. Takahashi, J. Lee, W. Ikeda, J. Suzuki, *Suppressing "
         "Final Layer Hidden State Jumps in Transformer Pretraining*, [arXiv "
         "2601.18302](https://arxiv.org/abs/2601.18302).\n";
}

}  // namespace

std::string model_card(ModelCard const& card) {
  return front_matter() + "# " + card.name + "\n\n" + origin(card) + architecture(card) + jumps(card) + reference();
}

}  // namespace jreg::store
