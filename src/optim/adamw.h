#pragma once

#include <span>
#include <vector>

#include "backend/arena.h"
#include "config/config.h"
#include "mesh/mesh.h"
#include "optim/weight_gather.h"
#include "params/partition.h"
#include "params/store.h"

namespace jreg::optim {

/// What a checkpoint holds of the optimizer beside its step count.
enum class StateKind { weight, first_moment, second_moment };

/// AdamW with its moments and, in bf16, the fp32 master weights; without these (optim.master_weights = false) new
/// weights are rounded by chance (params::rounding_of). Under ZeRO-1 a data rank keeps and updates only its part of
/// each bucket, and the ranks exchange the new weights.
class AdamW {
public:
  /// `seed`: of the rounding.
  AdamW(config::OptimConfig const& config, std::int64_t seed, backend::Backend& backend, mesh::Mesh const& mesh,
        params::Store const& store, std::vector<params::Bucket> const& buckets, bool zero1);
  AdamW(AdamW const&) = delete;
  AdamW& operator=(AdamW const&) = delete;

  /// One update of all weights from the store's gradients times `gradient_scale`. Collective over data ranks (ZeRO-1):
  /// then the new weights are on their way when it returns, and gather() tells when they are there.
  void step(double rate, double gradient_scale);
  /// Ask it before reading weights that this rank does not own.
  WeightGather& gather() noexcept { return gather_; }

  /// Updates so far (the t of the bias correction, and of the rounding's bits).
  std::int64_t updates() const noexcept { return updates_; }
  void set_updates(std::int64_t updates) noexcept { updates_ = updates; }

  /// The parts that this rank updates.
  std::vector<params::RowPart> const& owned() const noexcept { return owned_; }
  /// The parts that this rank writes to a checkpoint: all ranks together write each element of the model once.
  std::vector<params::RowPart> written() const;

  /// Host values of a part that this rank owns, in fp32, (part.range.size()).
  void read(StateKind kind, params::Range range, float* values) const;
  /// Sets them. Weights may be any range: the step's copy is set, rounded to nearest, and the master's where this rank
  /// owns it.
  void write(StateKind kind, params::Range range, float const* values);

  /// Bytes of both moments, and of the master weights (0 where there are none).
  std::int64_t moment_bytes() const noexcept { return first_.bytes() + second_.bytes(); }
  std::int64_t master_bytes() const noexcept { return master_.bytes(); }

private:
  struct Piece {  // a contiguous owned range and its place in the packed state
    params::Range range;
    std::int64_t packed = 0;
    std::size_t first_part = 0;  // of owned_
    std::size_t last_part = 0;   // one beyond
  };
  void step(params::RowPart const& part, backend::AdamW& args) const;
  backend::Tensor packed(StateKind kind, params::Range range) const;
  backend::Tensor master(params::Range range) const;

  config::OptimConfig config_;
  std::int64_t seed_;
  backend::Backend& backend_;
  mesh::Mesh const& mesh_;
  params::Store const& store_;
  std::vector<params::Bucket> const& buckets_;
  bool zero1_;
  bool has_master_;
  WeightGather gather_;
  std::vector<Piece> pieces_;  // by bucket
  std::vector<params::RowPart> owned_;
  std::int64_t updates_ = 0;
  backend::Tensor first_;   // (1, owned elements) f32
  backend::Tensor second_;  // (1, owned elements) f32
  backend::Tensor master_;  // (1, owned elements) f32; only where has_master_
  backend::Arena arena_;
};

}  // namespace jreg::optim
