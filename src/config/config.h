#pragma once

#include <cstdint>
#include <string>

#include "config/option.h"

// Plain structs, one per section. Each member is declared once in `each`: parsing, --help, the config.cfg of a run
// folder and the attributes of dynamics.h5 all walk that list.
namespace jreg::config {

struct RunConfig {
  std::string dir = "runs/run";
  std::int64_t seed = 1;
  std::string backend = "cpu";
  std::string collective = "nccl";
  std::string precision = "auto";
  double step_deadline = 1800;
  std::int64_t drift_interval = 100;

  template <class Visit> void each(Visit&& visit) {
    visit("run.dir", dir, Rule::any(), "folder of the run: config.cfg, log.jsonl, dynamics.h5, checkpoints/");
    visit("run.seed", seed, Rule::at_least(0), "seed of initial weights, data order and random rounding");
    visit("run.backend", backend, Rule::one_of({"cpu", "cuda"}), "where the step runs: cpu or cuda");
    visit("run.collective", collective, Rule::one_of({"nccl", "mpi"}),
          "how ranks exchange under run.backend cuda: nccl, from GPU to GPU, each rank with one of its own; or mpi, by "
          "way of the hosts' memory, slower, but several ranks may share a GPU. The cpu backend always uses MPI");
    visit(
        "run.precision", precision, Rule::one_of({"auto", "fp32", "bf16"}),
        "type of weights and activations in the step: fp32, bf16 (beside fp32 weights: optim.master_weights), or auto "
        "= fp32 on cpu, bf16 on cuda");
    visit("run.step_deadline", step_deadline, Rule::at_least(0),
          "seconds that a rank may spend in an update, or a piece of an evaluation, without moving on; then all ranks "
          "end with exit code 75. Start-up and checkpoints have twice as long. 0: for ever");
    visit("run.drift_interval", drift_interval, Rule::at_least(0),
          "updates between two comparisons of the data ranks' weights by hash, which stop the run when they differ "
          "(also before each checkpoint); 0: never");
  }
};

struct RopeScalingConfig {
  std::string type = "none";
  double factor = 8;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  std::int64_t original_max_position_embeddings = 8192;

  template <class Visit> void each(Visit&& visit) {
    visit("model.rope_scaling.type", type, Rule::one_of({"none", "llama3"}), "none or llama3 (Llama 3.1 and later)");
    visit("model.rope_scaling.factor", factor, Rule::at_least(1), "llama3: how much longer the context becomes");
    visit("model.rope_scaling.low_freq_factor", low_freq_factor, Rule::positive(), "llama3: see the Llama 3.1 config");
    visit("model.rope_scaling.high_freq_factor", high_freq_factor, Rule::positive(),
          "llama3: see the Llama 3.1 config; greater than low_freq_factor");
    visit("model.rope_scaling.original_max_position_embeddings", original_max_position_embeddings, Rule::at_least(1),
          "llama3: context of the original training");
  }
};

struct ModelConfig {
  std::int64_t layers = 8;
  std::int64_t hidden = 256;
  std::int64_t heads = 8;
  std::int64_t kv_heads = 0;
  std::int64_t head_size = 0;
  std::int64_t ffn = 688;
  std::int64_t vocab = 8192;
  bool tie_embeddings = false;
  double rope_theta = 10000;
  double norm_eps = 1e-5;
  double init_std = 0.02;
  RopeScalingConfig rope_scaling;

  template <class Visit> void each(Visit&& visit) {
    visit("model.layers", layers, Rule::at_least(1), "number of transformer blocks, L");
    visit("model.hidden", hidden, Rule::at_least(1), "size of the hidden state");
    visit("model.heads", heads, Rule::at_least(1), "attention (query) heads");
    visit("model.kv_heads", kv_heads, Rule::at_least(0), "key/value heads; 0: as many as heads");
    visit("model.head_size", head_size, Rule::at_least(0), "size of a head, even; 0: hidden / heads");
    visit("model.ffn", ffn, Rule::at_least(1), "inner size of the SwiGLU MLP");
    visit("model.vocab", vocab, Rule::at_least(2), "vocabulary; token ids are below it");
    visit("model.tie_embeddings", tie_embeddings, Rule::any(), "the output head uses the embedding's weights");
    visit("model.rope_theta", rope_theta, Rule::positive(), "base of the rotary position frequencies");
    visit("model.norm_eps", norm_eps, Rule::positive(), "epsilon inside RMSNorm");
    visit("model.init_std", init_std, Rule::positive(),
          "standard deviation of initial weights; attention and MLP outputs get it divided by sqrt(2 layers)");
    rope_scaling.each(visit);
  }
};

struct DataConfig {
  std::string train;
  std::string sources;
  std::string validation;
  std::string format = "auto";
  bool document_mask = false;
  std::int64_t eos = -1;

  template <class Visit> void each(Visit&& visit) {
    visit(
        "data.train", train, Rule::any(),
        "training tokens: prefix of PREFIX.bin and PREFIX.idx, or files of another data.format (a path, a pattern, or "
        "several with commas)");
    visit("data.sources", sources, Rule::any(),
          "instead of data.train, a mixture: PATH:WEIGHT, PATH:WEIGHT, ... Sequences come from each source in "
          "proportion to its weight; weights need not sum to 1");
    visit("data.validation", validation, Rule::any(),
          "validation tokens, named like data.train; empty: no validation loss");
    each_of_reading(visit);
  }
  /// How token files are read, whichever they are.
  template <class Visit> void each_of_reading(Visit&& visit) {
    visit("data.format", format, Rule::one_of({"auto", "megatron", "llmc", "raw16", "raw32"}),
          "of all token files: megatron (.bin and .idx), llmc (llm.c's .bin, 16 or 32 bits), raw16 or raw32 (ids "
          "without a header, as nanoGPT writes them), or auto: megatron or llmc, whichever a file is");
    visit("data.document_mask", document_mask, Rule::any(),
          "tokens do not attend to earlier documents of their sequence, and positions restart with each document. The "
          "last token of a document still learns to predict the first of the next");
    visit("data.eos", eos, Rule::at_least(-1),
          "data.document_mask: a document also ends behind every token of this id; needed where the format does not "
          "tell where documents begin. -1: none");
  }
};

struct TrainConfig {
  std::int64_t steps = 1000;
  std::int64_t sequence_length = 256;
  std::int64_t global_batch = 8;
  std::int64_t micro_batch = 0;
  std::string recompute = "none";
  std::string on_nonfinite = "stop";

  template <class Visit> void each(Visit&& visit) {
    visit("train.steps", steps, Rule::at_least(0), "updates of the whole run; fixes the learning rate schedule");
    visit("train.sequence_length", sequence_length, Rule::at_least(1), "tokens per sequence");
    visit("train.global_batch", global_batch, Rule::at_least(1), "sequences per update, over all ranks");
    visit("train.micro_batch", micro_batch, Rule::at_least(0),
          "sequences per data rank in one forward and backward pass; 0: all of them at once");
    visit("train.recompute", recompute, Rule::one_of({"none", "attention", "mlp", "block"}),
          "what backward computes again instead of keeping it of every block, the same bits for less memory: none, "
          "attention (queries, keys, values, attention), mlp (gate and up), or block (all between two blocks' hidden "
          "states; with mesh.tensor this repeats one sum over the tensor ranks a block)");
    visit("train.on_nonfinite", on_nonfinite, Rule::one_of({"stop", "skip"}),
          "NaN or Inf in loss or gradient: stop all ranks before the update, or skip that update and count it");
  }
};

struct MeshConfig {
  std::int64_t tensor = 1;
  bool sequence_parallel = false;
  bool zero1 = false;
  std::int64_t bucket_mb = 16;

  template <class Visit> void each(Visit&& visit) {
    visit("mesh.tensor", tensor, Rule::at_least(1),
          "ranks that share one copy of the weights; the other ranks are data parallel");
    visit("mesh.sequence_parallel", sequence_parallel, Rule::any(),
          "tensor ranks split the tokens between blocks instead of repeating them");
    visit("mesh.zero1", zero1, Rule::any(), "data ranks split the optimizer's state (ZeRO stage 1)");
    visit("mesh.bucket_mb", bucket_mb, Rule::at_least(1), "gradients are reduced in pieces of about this many MiB");
  }
};

struct OptimConfig {
  double learning_rate = 6e-4;
  double min_learning_rate = 6e-5;
  std::int64_t warmup_steps = 100;
  std::string schedule = "cosine";
  std::int64_t decay_steps = 0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  double clip = 1.0;
  bool master_weights = true;

  template <class Visit> void each(Visit&& visit) {
    visit("optim.learning_rate", learning_rate, Rule::at_least(0), "peak learning rate of AdamW");
    visit("optim.min_learning_rate", min_learning_rate, Rule::at_least(0), "learning rate at the end of the schedule");
    visit("optim.warmup_steps", warmup_steps, Rule::at_least(0), "updates of linear warm-up");
    visit("optim.schedule", schedule, Rule::one_of({"cosine", "linear", "wsd", "constant"}),
          "after warm-up: cosine or linear decay, wsd (constant, then linear over decay_steps), or constant");
    visit("optim.decay_steps", decay_steps, Rule::at_least(0),
          "wsd: updates of the final decay; 0: a tenth of train.steps");
    visit("optim.beta1", beta1, Rule::below(0, 1), "decay of the first moment");
    visit("optim.beta2", beta2, Rule::below(0, 1), "decay of the second moment");
    visit("optim.eps", eps, Rule::positive(), "added to the root of the second moment");
    visit("optim.weight_decay", weight_decay, Rule::at_least(0), "decoupled decay, on matrices only");
    visit("optim.clip", clip, Rule::at_least(0), "largest global gradient norm; 0: no clipping");
    visit("optim.master_weights", master_weights, Rule::any(),
          "run.precision bf16: keep fp32 weights beside the bf16 ones. false: bf16 weights alone, 4 bytes a parameter "
          "less, rounded up or down at random so that small updates count on average");
  }
};

struct JregConfig {
  std::string penalty = "displacement";
  std::string weights = "linear";
  double lambda = 0;
  std::int64_t warmup_steps = 0;
  std::string final_state = "block";

  template <class Visit> void each(Visit&& visit) {
    visit("jreg.penalty", penalty, Rule::one_of({"displacement", "jump"}),
          "what is penalised: displacement (sum of w_l Psi_l) or jump (sum of w_l max(0, Psi_l - Psi_{l-1}))");
    visit("jreg.weights", weights, Rule::any(),
          "depth weights w_l: linear, uniform, final, power:P, geometric:G, or a comma-separated list");
    visit("jreg.lambda", lambda, Rule::at_least(0), "strength of the penalty; 0: measure only");
    visit("jreg.warmup_steps", warmup_steps, Rule::at_least(0), "updates over which lambda rises from 0");
    visit("jreg.final_state", final_state, Rule::one_of({"block", "normed"}),
          "the last hidden state: the last block's output, or that after the final RMSNorm");
  }
};

struct RecordConfig {
  std::int64_t log_interval = 10;
  std::int64_t eval_interval = 250;
  std::int64_t eval_batches = 16;
  std::int64_t probe_interval = 500;
  std::int64_t probe_sequences = 8;
  std::int64_t checkpoint_interval = 500;
  std::int64_t checkpoint_keep = 2;
  std::int64_t checkpoint_keep_every = 0;
  bool checkpoint_log_spaced = false;
  bool checkpoint_async = true;

  template <class Visit> void each(Visit&& visit) {
    visit("log.interval", log_interval, Rule::at_least(1), "updates between two log lines");
    visit("eval.interval", eval_interval, Rule::at_least(0),
          "updates between two validation losses; 0: only at the end");
    visit("eval.batches", eval_batches, Rule::at_least(1), "global batches of a validation loss, at most");
    visit("probe.interval", probe_interval, Rule::at_least(0),
          "updates between two probes after step 512; 0: only the early ones and the last");
    visit("probe.sequences", probe_sequences, Rule::at_least(1), "sequences of the fixed probe batch");
    visit("checkpoint.interval", checkpoint_interval, Rule::at_least(0),
          "updates between two checkpoints; 0: only at the end");
    visit("checkpoint.keep", checkpoint_keep, Rule::at_least(0), "newest checkpoints that are kept; 0: all");
    visit("checkpoint.keep_every", checkpoint_keep_every, Rule::at_least(0),
          "checkpoints of multiples of this step are kept for ever; 0: none");
    visit("checkpoint.log_spaced", checkpoint_log_spaced, Rule::any(),
          "also save at steps 0, 1, 2, 4 ... 512 and keep these for ever; weights only (not to resume from), except "
          "where a whole checkpoint is due");
    visit("checkpoint.async", checkpoint_async, Rule::any(),
          "write files while training goes on, from a copy of this rank's state in host memory");
  }
};

struct Config {
  RunConfig run;
  ModelConfig model;
  DataConfig data;
  TrainConfig train;
  MeshConfig mesh;
  OptimConfig optim;
  JregConfig jreg;
  RecordConfig record;

  template <class Visit> void each(Visit&& visit) {
    run.each(visit);
    model.each(visit);
    data.each(visit);
    train.each(visit);
    mesh.each(visit);
    optim.each(visit);
    jreg.each(visit);
    record.each(visit);
  }
};

}  // namespace jreg::config
