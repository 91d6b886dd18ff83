#pragma once

#include <functional>
#include <span>

#include "backend/arena.h"
#include "config/config.h"
#include "mesh/mesh.h"
#include "model/activations.h"
#include "model/block.h"
#include "model/head.h"
#include "model/micro_batch.h"
#include "model/parameters.h"
#include "params/store.h"

namespace jreg::model {

struct LlamaOptions {
  std::int64_t sequence_length = 0;
  std::int64_t largest_micro_batch = 0;  // sequences that memory is planned for
  bool with_backward = true;
  bool measure = true;              // record the angular rows of the hidden states
  bool normed_final_state = false;  // h_L is the state after the final norm
  Recompute recompute = Recompute::none;
};

/// What a backward pass tells its caller.
struct BackwardHooks {
  std::function<void(std::size_t unit)> unit_done = [](std::size_t) {};  // all gradients of a registry unit are there
  Between between = [] {};
};

/// What a forward pass asks for before it reads weights that may still be on their way.
struct WeightHooks {
  std::function<void(std::size_t unit)> require = [](std::size_t) {};  // returns once this registry unit's are there
  Between between = [] {};                                             // lets those on their way move on
};

/// LlamaForCausalLM (as Hugging Face computes it) on this rank's slices: forward pass, loss, explicit backward pass.
/// Call forward, then loss or loss_and_gradient, then backward, for one micro-batch after another. All ranks of a
/// tensor group make the same calls.
class Llama {
public:
  /// `store` holds the parameters that declare_parameters(config, ...) declared; all must outlive the model.
  Llama(config::ModelConfig const& config, LlamaParameters index, LlamaOptions const& options,
        backend::Backend& backend, mesh::Mesh const& mesh, params::Store const& store);
  Llama(Llama const&) = delete;
  Llama& operator=(Llama const&) = delete;

  /// tokens -> hidden states h_0 .. h_L, their angular rows, and the final norm.
  void forward(MicroBatch const& batch);
  /// loss (1, 1) f64 += sum over counted tokens of the cross entropy. Every tensor rank gets the same.
  void loss(MicroBatch const& batch, backend::Tensor const& loss);
  /// The same, and the classifier's backward pass of scale * that sum.
  void loss_and_gradient(MicroBatch const& batch, backend::Tensor const& loss, float scale);
  /// The rest of the backward pass, down to the embedding. `coefficients` are the penalty's g_l of layers 1..L
  /// (jump::Penalty::coefficients), empty when there is no penalty. Adds to the store's gradients.
  void backward(MicroBatch const& batch, std::span<double const> coefficients, BackwardHooks const& hooks);

  // Without a backward pass, of a batch that went through forward():
  /// The logit lens: loss += the counted tokens' cross entropy where final norm and classifier read h_`layer` (0..L) in
  /// place of h_L. For L it is loss(); the hidden states stay as they are.
  void lens_loss(MicroBatch const& batch, std::int64_t layer, backend::Tensor const& loss);
  /// The pass again with block `layer` (1..L) left out, h_l = h_{l-1}, for loss() to read. It goes on from h_{l-1} and
  /// overwrites h_{l+1} .. h_L, so that several layers are left out in turn from the last to the first. Their angular
  /// rows stay those of forward().
  void forward_without(MicroBatch const& batch, std::int64_t layer);

  /// sums (L + 1, angular_sums) f64 += this rank's counted tokens of the last forward pass.
  void add_statistics(backend::Tensor const& sums);
  /// counts (L, bins) i64 += histogram of Psi_l over this rank's counted tokens.
  void add_histograms(backend::Tensor const& counts);
  /// Logits of the last forward pass, (T, vocab_rows) f32.
  void logits(backend::Tensor const& out);

  /// Every forward pass from here on asks for its weights, unit by unit from the first to the last.
  void set_weight_hooks(WeightHooks hooks) { weight_hooks_ = std::move(hooks); }

  /// Whether forward passes record the angular rows (on by the options).
  void set_measure(bool measure) noexcept { options_.measure = measure; }

  Dimensions const& dimensions() const noexcept { return dims_; }
  /// All memory of forward and backward passes, for the largest micro-batch.
  Activations const& memory() const noexcept { return whole_; }
  /// Bytes of it on this rank, and of the tables of RoPE.
  std::size_t activation_bytes() const noexcept { return arena_.bytes(); }

private:
  backend::Tensor const& state(std::size_t layer) const;
  /// Block `block` (0..L-1) from its input (t, H), whose norm stands in `normed`, to the next one's or the final norm.
  void block_forward(std::size_t block, backend::Tensor const& input, MicroBatch const& batch, bool measure);
  void measure_final_state();
  /// Ranges of this rank's tokens between blocks that count.
  std::vector<TokenRange> local_counted() const;
  /// The penalty's gradient at state `layer`; `angular` is absent where it has none.
  void add_angular(backend::NormBackward& args, std::size_t layer, std::span<double const> coefficients) const;
  void final_norm_backward(std::span<double const> coefficients);
  /// The block's states up to `middle` from its input, where recompute is `block`.
  void attend_again(std::size_t block, MicroBatch const& batch, Between const& between);
  void embedding_backward(MicroBatch const& batch);

  LlamaParameters index_;
  LlamaOptions options_;
  float eps_;
  backend::Backend& backend_;
  mesh::Mesh const& mesh_;
  params::Store const& store_;
  Dimensions dims_;
  TokenExchange exchange_;
  Activations whole_;  // for the largest micro-batch
  backend::Rotation rotation_;
  backend::Arena arena_;             // places the two above, so it is made after them
  Activations now_;                  // for the current micro-batch
  std::vector<TokenRange> counted_;  // of it
  WeightHooks weight_hooks_;
  BlockContext context_;
  HeadContext head_;
};

/// Sizes of this rank's part of the model.
Dimensions dimensions(config::ModelConfig const& config, params::Registry const& registry, LlamaParameters const& index,
                      LlamaOptions const& options, backend::Backend const& backend, mesh::Mesh const& mesh);

}  // namespace jreg::model
