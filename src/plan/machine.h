#pragma once

#include <filesystem>
#include <string>

#include "backend/rehearsal/trace.h"
#include "config/option.h"

namespace jreg::plan {

/// A kind of node, and what a rank on it achieves. Rates are datasheet numbers or measured peaks; shares tell how much
/// of them the operations of a step reach. GB and TFLOP are powers of ten. The defaults are those of
/// configs/machines/h100.cfg.
struct Machine {
  std::string name = "H100 SXM 80 GB, 8 in a node";
  std::string backend = "cuda";
  std::int64_t ranks_per_node = 8;
  double memory_gb = 80;
  double reserve_gb = 4;
  double host_memory_gb = 2000;
  double logits_mb = 256;

  double fp32_tflops = 67;
  double bf16_tflops = 989;
  double matrix_fp32 = 0.8;
  double matrix_bf16 = 0.8;
  double attention_fp32 = 0.4;
  double attention_bf16 = 0.57;
  double attention_backward_fp32 = 0.3;
  double attention_backward_bf16 = 0.32;
  double operation_us = 2;

  double bandwidth_gb = 3350;
  double norm = 0.8;
  double rope = 0.7;
  double swiglu = 0.8;
  double classifier = 0.8;
  double optimizer = 0.87;
  double other = 0.8;

  double node_gb = 450;
  double node_share = 0.8;
  double node_us = 3;
  double network_gb = 400;
  double network_share = 0.8;
  double network_us = 8;
  double overlap = 0.9;

  template <class Visit> void each(Visit&& visit) {
    using config::Rule;
    Rule const share = Rule{.min = 0, .max = 1, .min_excluded = true};
    visit("machine.name", name, Rule::any(), "what it is, for reports");
    visit("machine.backend", backend, Rule::one_of({"cpu", "cuda"}),
          "what run.backend is there: decides what precision = auto means");
    visit("machine.ranks_per_node", ranks_per_node, Rule::between(1, 4096), "ranks that a full node holds");
    visit("machine.memory_gb", memory_gb, Rule::positive(), "memory of a rank");
    visit("machine.reserve_gb", reserve_gb, Rule::at_least(0),
          "of it, what is not there for tensors: libraries and their buffers, working memory of operations, fragments");
    visit("machine.host_memory_gb", host_memory_gb, Rule::positive(),
          "cuda: host memory of a node, which takes the copies for checkpoints. cpu: these lie in the rank's memory");
    visit("machine.logits_mb", logits_mb, Rule::positive(), "largest piece of fp32 logits, MiB; 8 on the CPU");

    visit("compute.fp32_tflops", fp32_tflops, Rule::positive(), "peak rate of a rank, fp32");
    visit("compute.bf16_tflops", bf16_tflops, Rule::positive(), "peak rate of a rank, bf16");
    visit("compute.matrix_fp32", matrix_fp32, share, "share of the peak that matrix products reach, fp32");
    visit("compute.matrix_bf16", matrix_bf16, share, "share of the peak that matrix products reach, bf16");
    visit("compute.attention_fp32", attention_fp32, share, "the same of attention, of its causal half alone");
    visit("compute.attention_bf16", attention_bf16, share, "the same in bf16");
    visit("compute.attention_backward_fp32", attention_backward_fp32, share, "the same of attention's backward pass");
    visit("compute.attention_backward_bf16", attention_backward_bf16, share, "the same in bf16");
    visit("compute.operation_us", operation_us, Rule::at_least(0), "microseconds that begin an operation");

    visit("memory.bandwidth_gb", bandwidth_gb, Rule::positive(), "peak GB/s of a rank's memory");
    visit("memory.norm", norm, share, "share of it that residual additions and norms reach, JREG's part included");
    visit("memory.rope", rope, share, "the same of RoPE");
    visit("memory.swiglu", swiglu, share, "the same of SwiGLU");
    visit("memory.classifier", classifier, share, "the same of the cross entropy, matrix products apart");
    visit("memory.optimizer", optimizer, share, "the same of AdamW and the gradient norm");
    visit("memory.other", other, share, "the same of everything else, and of matrix products that memory bounds");

    visit("links.node_gb", node_gb, Rule::at_least(0),
          "GB/s that a rank sends within its node; 0: there is no other rank");
    visit("links.node_share", node_share, share, "share of it that collectives reach");
    visit("links.node_us", node_us, Rule::at_least(0), "microseconds of a message within a node");
    visit("links.network_gb", network_gb, Rule::at_least(0), "GB/s that a node sends to others; 0: there are none");
    visit("links.network_share", network_share, share, "share of it that collectives reach");
    visit("links.network_us", network_us, Rule::at_least(0), "microseconds of a message between nodes");
    visit("links.overlap", overlap, Rule::between(0, 1),
          "share of a transfer's time in which computing goes on; 0: transfers take a rank's own time");
  }

  double peak_flops(DType dtype) const { return 1e12 * (dtype == DType::bf16 ? bf16_tflops : fp32_tflops); }
};

/// Reads such a file. Throws UserError as config::parse_file does.
Machine read_machine(std::filesystem::path const& file);

/// How a group's ranks lie on nodes that are filled one after another: `members` of it on each of `nodes`.
struct Layout {
  int members = 1;
  int nodes = 1;
};
/// Of `ranks` ranks, each `stride` world ranks behind the one before.
Layout layout_of(int ranks, int stride, std::int64_t ranks_per_node);

/// Seconds of an operation on one rank.
double seconds_of(Machine const& machine, backend::rehearsal::Operation const& operation);
/// Seconds of a transfer over a group that lies so; `on_node`: ranks of this run on a node, which share its network.
double seconds_of(Machine const& machine, backend::rehearsal::Transfer const& transfer, Layout const& layout,
                  std::int64_t on_node);

}  // namespace jreg::plan
