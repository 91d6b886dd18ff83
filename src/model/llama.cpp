#include "model/llama.h"

#include <algorithm>

#include "base/error.h"
#include "model/rope_table.h"

namespace jreg::model {

using backend::NormBackward;
using backend::ResidualNorm;
using backend::Tensor;

Dimensions dimensions(config::ModelConfig const& config, params::Registry const& registry, LlamaParameters const& index,
                      LlamaOptions const& options, backend::Backend const& backend, mesh::Mesh const& mesh) {
  BlockParameters const& block = index.blocks.front();
  return {.layers = config.layers,
          .hidden = config.hidden,
          .ffn = registry[block.gate].local_rows(),
          .heads = registry[block.query].local_rows() / config.head_size,
          .kv_heads = registry[block.key].local_rows() / config.head_size,
          .head_size = config.head_size,
          .vocab = config.vocab,
          .vocab_rows = registry[index.embedding].local_rows(),
          .sequence = options.sequence_length,
          .token_split = mesh.sequence_parallel() ? mesh.at().tensor_size : 1,
          .logits_elements = static_cast<std::int64_t>(backend.logits_bytes() / sizeof(float))};
}

Llama::Llama(config::ModelConfig const& config, LlamaParameters index, LlamaOptions const& options,
             backend::Backend& backend, mesh::Mesh const& mesh, params::Store const& store)
    : index_{std::move(index)},
      options_{options},
      eps_{static_cast<float>(config.norm_eps)},
      backend_{backend},
      mesh_{mesh},
      store_{store},
      dims_{model::dimensions(config, store.registry(), index_, options, backend, mesh)},
      exchange_{mesh},
      arena_{backend,
             [&](backend::Placer& placer) {
               whole_ = Activations::place(placer, dims_, store.dtype(), options.largest_micro_batch,
                                           options.with_backward, options.recompute);
               rotation_.cosine = placer.tensor(DType::f32, dims_.sequence, dims_.head_size / 2);
               rotation_.sine = placer.tensor(DType::f32, dims_.sequence, dims_.head_size / 2);
             },
             "activations"},
      now_{whole_},
      context_{backend.ops(), exchange_, dims_, store_, rotation_},
      head_{context_, mesh_, index_.head} {
  RopeTable const table = rope_table(config, dims_.sequence);
  backend_.copy_from_host(rotation_.cosine.data, table.cosine.data(),
                          static_cast<std::size_t>(rotation_.cosine.bytes()));
  backend_.copy_from_host(rotation_.sine.data, table.sine.data(), static_cast<std::size_t>(rotation_.sine.bytes()));
}

Tensor const& Llama::state(std::size_t layer) const {
  bool const last = layer + 1 == now_.hidden.size();
  return last && options_.normed_final_state ? now_.final_normed : now_.hidden[layer];
}

void Llama::forward(MicroBatch const& batch) {
  expect(batch.sequences <= options_.largest_micro_batch, "a micro-batch fits the memory planned for it");
  now_ = whole_.first(dims_, batch.sequences);
  counted_ = batch.counted;
  backend::Ops& ops = backend_.ops();
  Activations const& a = now_;
  auto const layers = static_cast<std::size_t>(dims_.layers);

  backend::Range const range{backend_, "forward"};
  weight_hooks_.require(0);
  weight_hooks_.require(1);
  // h_0: each tensor rank looks up its rows of the vocabulary; their sum is the embedding.
  Tensor const looked_up = exchange_.splits_tokens() ? a.partial : a.hidden[0];
  ops.embedding(batch.tokens, store_.weight(index_.embedding), store_.registry()[index_.embedding].row_begin,
                looked_up);
  exchange_.reduce(looked_up, a.hidden[0]);
  ops.residual_norm({.residual = a.hidden[0],
                     .gain = store_.weight(index_.blocks[0].attention_norm),
                     .rstd = a.blocks[0].attention_rstd,
                     .normed = a.normed,
                     .eps = eps_,
                     .angular = options_.measure ? a.angular[0] : backend::AngularRows{}});

  for (std::size_t block = 0; block < layers; ++block) block_forward(block, a.hidden[block], batch, options_.measure);
  if (options_.measure && options_.normed_final_state) measure_final_state();
}

void Llama::block_forward(std::size_t block, Tensor const& input, MicroBatch const& batch, bool measure) {
  backend::Range const range{backend_, "block forward"};
  backend::Ops& ops = backend_.ops();
  Activations const& a = now_;
  BlockParameters const& p = index_.blocks[block];
  BlockActivations const& b = a.blocks[block];
  bool const last = block + 1 == a.blocks.size();
  ops.residual_norm({.residual = input,
                     .delta = attention_forward(context_, p, a, b, batch, weight_hooks_.between),
                     .hidden = b.middle,
                     .gain = store_.weight(p.mlp_norm),
                     .rstd = b.mlp_rstd,
                     .normed = a.normed,
                     .eps = eps_});
  weight_hooks_.require(block + 2);  // the next block's, or the final norm's and the classifier's
  ResidualNorm end{.residual = b.middle,
                   .delta = mlp_forward(context_, p, a, b, weight_hooks_.between),
                   .hidden = a.hidden[block + 1],
                   .gain = store_.weight(last ? index_.final_norm : index_.blocks[block + 1].attention_norm),
                   .rstd = last ? a.final_rstd : a.blocks[block + 1].attention_rstd,
                   .normed = last ? a.final_normed : a.normed,
                   .eps = eps_};
  if (measure && !(last && options_.normed_final_state)) {
    end.angular = a.angular[block + 1];
    end.previous = input;
    end.previous_norm = a.angular[block].norm;
  }
  ops.residual_norm(end);
}

void Llama::forward_without(MicroBatch const& batch, std::int64_t layer) {
  expect(!options_.with_backward, "blocks are left out without a backward pass");
  expect(layer >= 1 && layer <= dims_.layers, "the block that is left out is there");
  Activations const& a = now_;
  auto const out = static_cast<std::size_t>(layer) - 1;
  auto const layers = static_cast<std::size_t>(dims_.layers);
  bool const last = out + 1 == layers;
  // The next block, or the final norm, reads what the one that is left out would have read.
  backend_.ops().residual_norm({.residual = a.hidden[out],
                                .gain = store_.weight(last ? index_.final_norm : index_.blocks[out + 1].attention_norm),
                                .rstd = last ? a.final_rstd : a.blocks[out + 1].attention_rstd,
                                .normed = last ? a.final_normed : a.normed,
                                .eps = eps_});
  for (std::size_t block = out + 1; block < layers; ++block) {
    block_forward(block, block == out + 1 ? a.hidden[out] : a.hidden[block], batch, false);
  }
}

void Llama::lens_loss(MicroBatch const& batch, std::int64_t layer, Tensor const& loss) {
  expect(!options_.with_backward, "other states than the last are read without a backward pass");
  expect(layer >= 0 && layer <= dims_.layers, "the hidden state is there");
  backend_.ops().residual_norm({.residual = now_.hidden[static_cast<std::size_t>(layer)],
                                .gain = store_.weight(index_.final_norm),
                                .rstd = now_.final_rstd,
                                .normed = now_.normed,
                                .eps = eps_});
  add_loss(head_, now_, now_.normed, batch, loss);
}

void Llama::measure_final_state() {
  std::size_t const last = now_.hidden.size() - 1;
  backend_.ops().residual_norm({.residual = now_.final_normed,
                                .angular = now_.angular[last],
                                .previous = now_.hidden[last - 1],
                                .previous_norm = now_.angular[last - 1].norm});
}

void Llama::loss(MicroBatch const& batch, Tensor const& loss) {
  add_loss(head_, now_, now_.final_normed, batch, loss);
}

void Llama::loss_and_gradient(MicroBatch const& batch, Tensor const& loss, float scale) {
  backend::Range const range{backend_, "classifier"};
  add_loss_and_gradient(head_, now_, batch, loss, scale);
}

void Llama::add_angular(NormBackward& args, std::size_t layer, std::span<double const> coefficients) const {
  if (coefficients.empty()) return;
  expect(options_.measure, "a penalty needs the measured rows of the hidden states");
  Activations const& a = now_;
  std::size_t const last = a.hidden.size() - 1;
  args.has_angular = true;
  args.angular.norm = a.angular[layer].norm;
  if (layer > 0) {
    args.angular.previous = state(layer - 1);
    args.angular.previous_norm = a.angular[layer - 1].norm;
    args.angular.displacement = a.angular[layer].displacement;
    args.angular.coefficient = static_cast<float>(coefficients[layer - 1]);
  }
  if (layer < last) {
    args.angular.next = state(layer + 1);
    args.angular.next_norm = a.angular[layer + 1].norm;
    args.angular.next_displacement = a.angular[layer + 1].displacement;
    args.angular.next_coefficient = static_cast<float>(coefficients[layer]);
  }
}

void Llama::final_norm_backward(std::span<double const> coefficients) {
  Activations const& a = now_;
  std::size_t const last = a.hidden.size() - 1;
  Tensor const normed_gradient = exchange_.reduce(a.partial, a.local);  // (t, H)
  if (options_.normed_final_state && !coefficients.empty()) {
    // The last state is the normed one: its penalty passes through the final norm like any other gradient of it.
    NormBackward at_normed{.hidden = a.final_normed, .hidden_gradient = normed_gradient};
    add_angular(at_normed, last, coefficients);
    backend_.ops().norm_backward(at_normed);
  }
  NormBackward args{.normed_gradient = normed_gradient,
                    .hidden = a.hidden[last],
                    .gain = store_.weight(index_.final_norm),
                    .rstd = a.final_rstd,
                    .hidden_gradient = a.hidden_gradient,
                    .overwrite = true,
                    .gain_gradient = store_.gradient(index_.final_norm)};
  if (!options_.normed_final_state) add_angular(args, last, coefficients);
  backend_.ops().norm_backward(args);
}

void Llama::attend_again(std::size_t block, MicroBatch const& batch, Between const& between) {
  Activations const& a = now_;
  BlockParameters const& p = index_.blocks[block];
  BlockActivations const& b = a.blocks[block];
  backend::Ops& ops = backend_.ops();
  ops.norm_again(a.hidden[block], store_.weight(p.attention_norm), b.attention_rstd, a.normed);
  ops.residual_norm(
      {.residual = a.hidden[block], .delta = attention_forward(context_, p, a, b, batch, between), .hidden = b.middle});
}

void Llama::backward(MicroBatch const& batch, std::span<double const> coefficients, BackwardHooks const& hooks) {
  backend::Range const range{backend_, "backward"};
  backend::Ops& ops = backend_.ops();
  Activations const& a = now_;
  auto const layers = static_cast<std::size_t>(dims_.layers);
  final_norm_backward(coefficients);
  hooks.unit_done(layers + 1);
  // Here and below a.hidden_gradient is the whole gradient of the residual stream at one place, the penalty's part
  // included as soon as the place is a block boundary.
  for (std::size_t block = layers; block-- > 0;) {
    backend::Range const block_range{backend_, "block backward"};
    BlockParameters const& p = index_.blocks[block];
    BlockActivations const& b = a.blocks[block];
    // What the forward pass left in shared memory is the last block's.
    Recompute const again = block + 1 == layers ? Recompute::none : options_.recompute;
    bool const mlp_again = again == Recompute::mlp || again == Recompute::block;
    if (again == Recompute::block) attend_again(block, batch, hooks.between);
    ops.norm_backward({.normed_gradient = mlp_backward(context_, p, a, b, mlp_again, hooks.between),
                       .hidden = b.middle,
                       .gain = store_.weight(p.mlp_norm),
                       .rstd = b.mlp_rstd,
                       .hidden_gradient = a.hidden_gradient,
                       .gain_gradient = store_.gradient(p.mlp_norm)});
    NormBackward begin{.normed_gradient = attention_backward(context_, p, a, b, a.hidden[block], batch,
                                                             again == Recompute::attention, hooks.between),
                       .hidden = a.hidden[block],
                       .gain = store_.weight(p.attention_norm),
                       .rstd = b.attention_rstd,
                       .hidden_gradient = a.hidden_gradient,
                       .gain_gradient = store_.gradient(p.attention_norm)};
    add_angular(begin, block, coefficients);
    ops.norm_backward(begin);
    hooks.unit_done(block + 1);
  }
  embedding_backward(batch);
  hooks.unit_done(0);
}

void Llama::embedding_backward(MicroBatch const& batch) {
  Tensor const gradient = exchange_.gather(now_.hidden_gradient, now_.full);  // (T, H)
  backend_.ops().embedding_backward(batch.tokens, gradient, store_.registry()[index_.embedding].row_begin,
                                    store_.gradient(index_.embedding));
}

std::vector<TokenRange> Llama::local_counted() const {
  std::int64_t const tokens = now_.hidden.front().rows;
  if (counted_.empty()) return {{0, tokens}};
  std::int64_t const first = exchange_.splits_tokens() ? mesh_.at().tensor * tokens : 0;
  std::vector<TokenRange> local;
  for (TokenRange const range : counted_) {
    TokenRange const part{std::max(range.begin - first, std::int64_t{0}), std::min(range.end - first, tokens)};
    if (part.begin < part.end) local.push_back(part);
  }
  return local;
}

namespace {

/// The rows of some tokens.
backend::AngularRows part_of(backend::AngularRows rows, TokenRange range) {
  for (Tensor* const row : {&rows.norm, &rows.displacement, &rows.update_norm}) {
    if (*row) *row = row->column_range(range.begin, range.end);
  }
  return rows;
}

}  // namespace

void Llama::add_statistics(Tensor const& sums) {
  for (TokenRange const range : local_counted()) {
    Tensor previous_norm;
    for (std::size_t layer = 0; layer < now_.angular.size(); ++layer) {
      auto const row = static_cast<std::int64_t>(layer);
      backend::AngularRows const rows = part_of(now_.angular[layer], range);
      backend_.ops().add_angular_sums(rows, previous_norm, sums.row_range(row, row + 1));
      previous_norm = rows.norm;
    }
  }
}

void Llama::add_histograms(Tensor const& counts) {
  for (TokenRange const range : local_counted()) {
    for (std::size_t layer = 1; layer < now_.angular.size(); ++layer) {
      auto const row = static_cast<std::int64_t>(layer) - 1;
      backend_.ops().add_histogram(part_of(now_.angular[layer], range).displacement, counts.row_range(row, row + 1));
    }
  }
}

void Llama::logits(Tensor const& out) {
  whole_logits(head_, now_, out);
}

}  // namespace jreg::model
