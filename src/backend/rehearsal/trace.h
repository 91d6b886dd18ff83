#pragma once

#include <array>
#include <cstdint>
#include <variant>
#include <vector>

#include "backend/collective.h"
#include "base/dtype.h"

namespace jreg::backend::rehearsal {

/// Operations that take time in a like way.
enum class Work : std::size_t {
  product,    // of matrices
  attention,  // forward
  attention_backward,
  norm,  // residual additions, norms, their backward, JREG's rows and gradients in them
  rope,
  swiglu,
  classifier,  // cross entropy, but for its matrix products
  optimizer,
  embedding,  // forward
  other       // its backward, sums over tokens, filling and copying
};
inline constexpr std::array work_names{
    "matrix products", "attention",     "attention backward", "norms and residuals", "RoPE",
    "SwiGLU",          "cross entropy", "optimizer",          "embedding",           "other"};

/// One operation: the sizes that a well-made kernel cannot go below. Each operand is read or written once.
struct Operation {
  Work work = Work::other;
  DType dtype = DType::f32;  // of the factors of a product and in attention
  double flop = 0;
  double bytes = 0;
};

enum class Group { data, tensor, kv_replica, all };

/// One collective of a group of more than one rank.
struct Transfer {
  Group group = Group::all;
  int ranks = 1;
  CollectiveKind kind = CollectiveKind::all_reduce;
  Reduction reduction = Reduction::sum;
  DType dtype = DType::f32;
  std::int64_t rows = 0;  // of the whole
  std::int64_t columns = 0;
  Traffic traffic;
  bool waits = true;  // false: begun; a Finish with its number follows
};

/// The transfer that was begun as number `begun` (counted from 0 over all transfers that do not wait) is waited for.
struct Finish {
  std::size_t begun = 0;
};

/// What a rank did, in its order.
struct Trace {
  std::vector<std::variant<Operation, Transfer, Finish>> events;
  std::size_t begun = 0;

  void clear() {
    events.clear();
    begun = 0;
  }
};

}  // namespace jreg::backend::rehearsal
