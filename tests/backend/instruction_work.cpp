// Calls the kernels of one instruction set, each operation once, under valgrind's callgrind; check_instructions.py
// reads how many instructions each took. Products are oneDNN's own affair and take no part.
#include <valgrind/callgrind.h>

#include <cstdio>
#include <cstring>
#include <functional>

#include "backend/arena.h"
#include "backend/cpu/cpu_backend.h"
#include "base/random.h"

namespace jreg::backend {
namespace {

constexpr std::int64_t sequences = 2;
constexpr std::int64_t sequence = 128;
constexpr std::int64_t tokens = sequences * sequence;
constexpr std::int64_t hidden = 64;
constexpr std::int64_t ffn = 176;
constexpr std::int64_t vocab = 1000;
constexpr AttentionShape shape{sequences, sequence, 4, 2, 32};

/// All that the operations read and write.
struct Tensors {
  Tensor x, y, z, gain, rstd, row[6], qkv, qkv_gradient, attended, sums, log_sum_exp, gate_up, mlp, logits, low, ids,
      token_sums, weight, first, second, gradient, compute, gain_gradient, table, cosine, sine, counts, loss, angular;

  void place(Placer& placer, DType dtype) {
    for (Tensor* const t : {&x, &y, &z}) *t = placer.tensor(dtype, tokens, hidden);
    gain = placer.tensor(dtype, 1, hidden);
    for (Tensor& t : row) t = placer.tensor(DType::f32, 1, tokens);
    rstd = placer.tensor(DType::f32, 1, tokens);
    for (Tensor* const t : {&qkv, &qkv_gradient}) *t = placer.tensor(dtype, tokens, shape.qkv_columns());
    for (Tensor* const t : {&attended, &sums}) *t = placer.tensor(dtype, tokens, shape.query_columns());
    log_sum_exp = placer.tensor(DType::f32, sequences * shape.heads, sequence);
    gate_up = placer.tensor(dtype, tokens, 2 * ffn);
    mlp = placer.tensor(dtype, tokens, ffn);
    logits = placer.tensor(DType::f32, tokens, vocab);
    low = placer.tensor(DType::bf16, tokens, vocab);
    ids = placer.tensor(DType::i32, 1, tokens);
    token_sums = placer.tensor(DType::f32, 2, tokens);
    for (Tensor* const t : {&weight, &first, &second, &gradient}) *t = placer.tensor(DType::f32, 1, 10000);
    compute = placer.tensor(DType::bf16, 1, 10000);
    gain_gradient = placer.tensor(DType::f32, 1, hidden);
    table = placer.tensor(DType::f32, vocab, hidden);
    for (Tensor* const t : {&cosine, &sine}) *t = placer.tensor(DType::f32, sequence, shape.head_size / 2);
    counts = placer.tensor(DType::i64, 1, 20);
    loss = placer.tensor(DType::f64, 1, 1);
    angular = placer.tensor(DType::f64, 1, angular_sums);
  }

  void fill() const {
    RandomStream const stream{1, "numbers"};
    std::uint64_t drawn = 0;
    for (Tensor const* const t :
         {&x, &y, &z, &gain, &qkv, &gate_up, &mlp, &logits, &weight, &gradient, &cosine, &sine, &attended, &sums}) {
      for (std::int64_t i = 0; i < t->size(); ++i) {
        auto const value = static_cast<float>(stream.normal(drawn++));
        if (t->dtype == DType::f32) {
          t->as<float>()[i] = value;
        } else {
          t->as<bfloat16>()[i] = to_bfloat16(value);
        }
      }
    }
    for (Tensor const* const t : {&first, &second, &table, &gain_gradient, &counts, &loss, &angular, &z}) {
      std::memset(t->data, 0, static_cast<std::size_t>(t->bytes()));
    }
    for (std::int64_t i = 0; i < tokens; ++i) ids.as<std::int32_t>()[i] = static_cast<std::int32_t>(i * 7 % vocab);
  }
};

/// The second call counts: memory and lazy binding are the first one's.
void counted(DType dtype, char const* name, std::function<void()> const& call) {
  call();
  std::array<char, 80> label{};
  std::snprintf(label.data(), label.size(), "%s %s", name, dtype == DType::f32 ? "fp32" : "bf16");
  CALLGRIND_START_INSTRUMENTATION;
  CALLGRIND_ZERO_STATS;
  call();
  CALLGRIND_DUMP_STATS_AT(label.data());
  CALLGRIND_STOP_INSTRUMENTATION;
}

void count_norms(Ops& ops, Tensors const& t, DType dtype) {
  AngularRows const start{t.row[0], {}, {}};
  AngularRows const rows{t.row[1], t.row[2], t.row[3]};
  ResidualNorm norm{t.x, {}, {}, t.gain, t.rstd, t.y, 1e-5F, start, {}, {}};
  ops.residual_norm(norm);
  norm = {t.x, t.qkv.column_range(0, hidden), t.z, t.gain, t.rstd, t.y, 1e-5F, {}, {}, {}};
  counted(dtype, "residual_norm", [&] { ops.residual_norm(norm); });
  norm.angular = rows;
  norm.previous = t.x;
  norm.previous_norm = t.row[0];
  counted(dtype, "residual_norm_angular", [&] { ops.residual_norm(norm); });
  counted(dtype, "norm_again", [&] { ops.norm_again(t.x, t.gain, t.rstd, t.y); });
  NormBackward back{t.y, t.x, t.gain, t.rstd, t.z, false, t.gain_gradient, false, {}};
  counted(dtype, "norm_backward", [&] { ops.norm_backward(back); });
  back.has_angular = true;
  back.angular = {t.row[1], t.x, t.row[0], t.row[2], t.y, t.row[1], t.row[2], 0.1F, 0.1F};
  counted(dtype, "norm_backward_angular", [&] { ops.norm_backward(back); });
  counted(dtype, "add_angular_sums", [&] { ops.add_angular_sums(rows, t.row[0], t.angular); });
  counted(dtype, "add_histogram", [&] { ops.add_histogram(t.row[2], t.counts); });
}

void count_layers(Ops& ops, Tensors const& t, DType dtype) {
  counted(dtype, "rope", [&] { ops.rope(shape, t.qkv, {}, {t.cosine, t.sine}); });
  counted(dtype, "attention", [&] { ops.attention(shape, t.qkv, {}, t.attended, t.log_sum_exp); });
  counted(dtype, "attention_backward", [&] {
    ops.attention_backward(shape, t.qkv, {}, t.attended, t.log_sum_exp, t.sums, {t.cosine, t.sine}, t.qkv_gradient);
  });
  counted(dtype, "swiglu", [&] { ops.swiglu(t.gate_up, t.mlp); });
  counted(dtype, "swiglu_backward", [&] { ops.swiglu_backward(t.gate_up, t.mlp, t.mlp); });
  counted(dtype, "embedding_backward", [&] { ops.embedding_backward(t.ids, t.x, 0, t.table); });
}

void count_classifier_and_optimizer(Ops& ops, Tensors const& t, DType dtype) {
  Tensor const maximum = t.row[0];
  counted(dtype, "logits_max", [&] { ops.logits_max(t.logits, 0, vocab, maximum); });
  counted(dtype, "logits_sum", [&] { ops.logits_sum(t.logits, 0, vocab, maximum, t.ids, t.token_sums); });
  Tensor const gradient = dtype == DType::f32 ? t.logits : t.low;
  counted(dtype, "logits_gradient",
          [&] { ops.logits_gradient(t.logits, 0, vocab, maximum, t.token_sums, t.ids, 0.1F, gradient); });
  AdamW const adamw{t.weight,   dtype == DType::f32 ? Tensor{} : t.compute,
                    t.gradient, t.first,
                    t.second,   1e-3F,
                    0.9F,       0.95F,
                    1e-8F,      0.1F,
                    0.1F,       0.05F,
                    1};
  counted(dtype, "adamw", [&] { ops.adamw(adamw); });
  if (dtype == DType::bf16) {
    AdamW rounded = adamw;
    rounded.weight = t.compute;
    rounded.compute = {};
    rounded.rounding = {.key = 1, .first = 0, .run = t.compute.columns, .stride = t.compute.columns};
    counted(dtype, "adamw_rounding", [&] { ops.adamw(rounded); });
  }
  counted(dtype, "add_squares", [&] { ops.add_squares(t.gradient, t.loss); });
  counted(dtype, "copy", [&] { ops.copy(t.weight, t.compute); });
}

int run(char const* level) {
  for (cpu::KernelTable const* const kernels : cpu::supported_kernels()) {
    if (std::strcmp(kernels->name, level) != 0) continue;
    cpu::CpuBackend backend{*kernels};
    for (DType const dtype : {DType::f32, DType::bf16}) {
      Tensors tensors;
      Arena const arena{backend, [&](Placer& placer) { tensors.place(placer, dtype); }};
      tensors.fill();
      count_norms(backend.ops(), tensors, dtype);
      count_layers(backend.ops(), tensors, dtype);
      count_classifier_and_optimizer(backend.ops(), tensors, dtype);
    }
    return 0;
  }
  std::fprintf(stderr, "this processor does not run the kernels %s\n", level);
  return 77;
}

}  // namespace
}  // namespace jreg::backend

int main(int argc, char** argv) {
  return argc == 2 ? jreg::backend::run(argv[1]) : 2;
}
