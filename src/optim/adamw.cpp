#include "optim/adamw.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace jreg::optim {

using backend::Tensor;
using params::Range;

AdamW::AdamW(config::OptimConfig const& config, std::int64_t seed, backend::Backend& backend, mesh::Mesh const& mesh,
             params::Store const& store, std::vector<params::Bucket> const& buckets, bool zero1)
    : config_{config},
      seed_{seed},
      backend_{backend},
      mesh_{mesh},
      store_{store},
      buckets_{buckets},
      zero1_{zero1 && mesh.at().data_size > 1},
      has_master_{store.dtype() != DType::f32 && config.master_weights},
      gather_{store, mesh, buckets} {
  std::int64_t elements = 0;
  for (params::Bucket const& bucket : buckets_) {
    Range const range = zero1_ ? bucket.part(mesh.at().data) : bucket.range;
    auto const parts = params::rows_inside(store_.registry(), range);
    pieces_.push_back({range, elements, owned_.size(), owned_.size() + parts.size()});
    elements += range.size();
    owned_.insert(owned_.end(), parts.begin(), parts.end());
  }
  arena_ = backend::Arena{backend,
                          [&](backend::Placer& placer) {
                            first_ = placer.tensor(DType::f32, 1, elements);
                            second_ = placer.tensor(DType::f32, 1, elements);
                            if (has_master_) master_ = placer.tensor(DType::f32, 1, elements);
                          },
                          has_master_ ? "moments and master weights" : "moments"};
  for (Tensor const& values : {first_, second_, master_}) {
    if (values) backend_.ops().zero(values);
  }
}

Tensor AdamW::packed(StateKind kind, Range range) const {
  for (Piece const& piece : pieces_) {
    if (range.begin < piece.range.begin || range.end > piece.range.end) continue;
    std::int64_t const begin = piece.packed + (range.begin - piece.range.begin);
    Tensor const& whole = kind == StateKind::weight ? master_ : kind == StateKind::first_moment ? first_ : second_;
    return whole.column_range(begin, begin + range.size());
  }
  throw InternalError{"a range of the optimizer's state that this rank does not own", std::source_location::current()};
}

Tensor AdamW::master(Range range) const {
  return has_master_ ? packed(StateKind::weight, range) : store_.flat_weights(range);
}

void AdamW::step(double rate, double gradient_scale) {
  ++updates_;
  auto const t = static_cast<double>(updates_);
  backend::AdamW args;
  args.rate = static_cast<float>(rate);
  args.beta1 = static_cast<float>(config_.beta1);
  args.beta2 = static_cast<float>(config_.beta2);
  args.eps = static_cast<float>(config_.eps);
  args.correction1 = static_cast<float>(1 - std::pow(config_.beta1, t));
  args.correction2 = static_cast<float>(1 - std::pow(config_.beta2, t));
  args.gradient_scale = static_cast<float>(gradient_scale);
  gather_.finish();
  // From the first unit to the last, in the order of the next forward pass.
  for (std::size_t bucket = buckets_.size(); bucket-- > 0;) {
    Piece const& piece = pieces_[bucket];
    for (std::size_t part = piece.first_part; part < piece.last_part; ++part) step(owned_[part], args);
    if (zero1_) gather_.begin(bucket);
  }
}

void AdamW::step(params::RowPart const& part, backend::AdamW& args) const {
  bool const decays = store_.registry()[part.parameter].declared.decay;
  args.decay = decays ? static_cast<float>(config_.weight_decay) : 0.0F;
  args.weight = master(part.range);
  if (has_master_) args.compute = store_.flat_weights(part.range);
  if (args.weight.dtype == DType::bf16) args.rounding = params::rounding_of(store_.registry(), part, seed_, updates_);
  args.gradient = store_.flat_gradients(part.range);
  args.first = packed(StateKind::first_moment, part.range);
  args.second = packed(StateKind::second_moment, part.range);
  backend_.ops().adamw(args);
}

std::vector<params::RowPart> AdamW::written() const {
  std::vector<params::RowPart> parts;
  for (params::Bucket const& bucket : buckets_) {
    // The same cut as ZeRO-1's spreads the writing evenly over data ranks that hold the same.
    for (params::RowPart const& part : params::rows_inside(store_.registry(), bucket.part(mesh_.at().data))) {
      if (store_.registry()[part.parameter].replica == 0) parts.push_back(part);
    }
  }
  return parts;
}

void AdamW::read(StateKind kind, Range range, float* values) const {
  if (kind == StateKind::weight && !has_master_) return params::read_weights(backend_, store_, range, values);
  Tensor const from = packed(kind, range);
  backend_.copy_to_host(values, from.data, static_cast<std::size_t>(from.bytes()));
}

void AdamW::write(StateKind kind, Range range, float const* values) {
  gather_.finish();  // it would overwrite them
  auto const bytes = static_cast<std::size_t>(range.size()) * sizeof(float);
  if (kind != StateKind::weight) {
    backend_.copy_from_host(packed(kind, range).data, values, bytes);
    return;
  }
  params::write_weights(backend_, store_, range, values);
  if (!has_master_) return;
  for (Piece const& piece : pieces_) {
    Range const common{std::max(range.begin, piece.range.begin), std::min(range.end, piece.range.end)};
    if (common.size() <= 0) continue;
    backend_.copy_from_host(packed(StateKind::weight, common).data, values + (common.begin - range.begin),
                            static_cast<std::size_t>(common.size()) * sizeof(float));
  }
}

}  // namespace jreg::optim
