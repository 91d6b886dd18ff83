#pragma once

#include "backend/tensor.h"
#include "mesh/mesh.h"

namespace jreg::model {

/// What tensor ranks exchange at the borders of a block (Megatron's f and g, arXiv 1909.08053, and their
/// sequence-parallel forms, arXiv 2205.05198). Between blocks a rank holds `local_tokens` of the T tokens of a
/// micro-batch: all of them, or its share with sequence parallelism. Forward and backward use the same two calls.
class TokenExchange {
public:
  explicit TokenExchange(mesh::Mesh const& mesh) : mesh_{mesh} {}

  bool splits_tokens() const noexcept { return mesh_.sequence_parallel(); }
  std::int64_t local_tokens(std::int64_t tokens) const;

  /// (local tokens, H) -> all T tokens' rows; in `full` where tokens are split, else `local` itself.
  backend::Tensor gather(backend::Tensor const& local, backend::Tensor const& full) const;
  /// (T, H) summands of the tensor ranks -> their sum for this rank's tokens; in `local` where tokens are split, else
  /// in place in `partial`.
  backend::Tensor reduce(backend::Tensor const& partial, backend::Tensor const& local) const;

private:
  mesh::Mesh const& mesh_;
};

}  // namespace jreg::model
