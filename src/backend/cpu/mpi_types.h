#pragma once

#include <mpi.h>

#include "backend/collective.h"
#include "base/handle.h"

namespace jreg::backend::cpu {

struct DatatypeTraits {
  using Raw = MPI_Datatype;
  static Raw null() { return MPI_DATATYPE_NULL; }
  static void close(Raw raw) noexcept { MPI_Type_free(&raw); }
};
struct OpTraits {
  using Raw = MPI_Op;
  static Raw null() { return MPI_OP_NULL; }
  static void close(Raw raw) noexcept { MPI_Op_free(&raw); }
};

/// How MPI sees our element types; bf16 is one of our own, whose sums add in float and round.
class MpiTypes {
public:
  MpiTypes();

  MPI_Datatype type(DType dtype) const;
  MPI_Op op(DType dtype, Reduction reduction) const;

private:
  UniqueHandle<DatatypeTraits> bf16_;
  UniqueHandle<OpTraits> bf16_sum_;
  UniqueHandle<OpTraits> bf16_max_;
};

}  // namespace jreg::backend::cpu
