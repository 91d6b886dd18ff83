#include "backend/cpu/mpi_types.h"

#include "mpi/check.h"

namespace jreg::backend::cpu {

namespace {

extern "C" void add_bf16(void* in, void* in_out, int* count, MPI_Datatype* /*type*/) {
  auto const* const from = static_cast<bfloat16 const*>(in);
  auto* const to = static_cast<bfloat16*>(in_out);
  for (int i = 0; i < *count; ++i) to[i] = to_bfloat16(to_float(from[i]) + to_float(to[i]));
}

extern "C" void max_bf16(void* in, void* in_out, int* count, MPI_Datatype* /*type*/) {
  auto const* const from = static_cast<bfloat16 const*>(in);
  auto* const to = static_cast<bfloat16*>(in_out);
  for (int i = 0; i < *count; ++i) to[i] = to_float(from[i]) > to_float(to[i]) ? from[i] : to[i];
}

UniqueHandle<OpTraits> make_op(MPI_User_function* function) {
  MPI_Op raw = MPI_OP_NULL;
  mpi::check(MPI_Op_create(function, 1, &raw));
  return UniqueHandle<OpTraits>{raw};
}

}  // namespace

MpiTypes::MpiTypes() {
  MPI_Datatype raw = MPI_DATATYPE_NULL;
  mpi::check(MPI_Type_contiguous(2, MPI_BYTE, &raw));
  bf16_ = UniqueHandle<DatatypeTraits>{raw};
  mpi::check(MPI_Type_commit(&raw));
  bf16_sum_ = make_op(add_bf16);
  bf16_max_ = make_op(max_bf16);
}

MPI_Datatype MpiTypes::type(DType dtype) const {
  switch (dtype) {
    case DType::f32:
      return MPI_FLOAT;
    case DType::bf16:
      return bf16_.get();
    case DType::f64:
      return MPI_DOUBLE;
    case DType::i32:
      return MPI_INT32_T;
    case DType::i64:
      return MPI_INT64_T;
  }
  return MPI_DATATYPE_NULL;
}

MPI_Op MpiTypes::op(DType dtype, Reduction reduction) const {
  if (dtype == DType::bf16) return reduction == Reduction::sum ? bf16_sum_.get() : bf16_max_.get();
  return reduction == Reduction::sum ? MPI_SUM : MPI_MAX;
}

}  // namespace jreg::backend::cpu
