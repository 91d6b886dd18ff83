#pragma once

#include "backend/backend.h"
#include "params/partition.h"
#include "params/registry.h"

namespace jreg::params {

/// The weights as the step reads them (f32 or bf16), and their gradients (f32): one flat array each, laid out by the
/// registry. In bf16 the fp32 master weights live with the optimizer's state.
class Store {
public:
  /// `with_gradients` = false leaves the gradients out (evaluation).
  Store(backend::Backend& backend, Registry registry, DType dtype, bool with_gradients);

  Registry const& registry() const noexcept { return registry_; }
  DType dtype() const noexcept { return dtype_; }

  /// Parameter `index` as (local rows, local columns); a vector as (1, rows).
  backend::Tensor weight(std::size_t index) const { return weights(index, index + 1); }
  backend::Tensor gradient(std::size_t index) const { return gradients(index, index + 1); }
  /// Parameters [first, last), which join one another, as one matrix.
  backend::Tensor weights(std::size_t first, std::size_t last) const;
  backend::Tensor gradients(std::size_t first, std::size_t last) const;
  /// Flat elements as (1, n).
  backend::Tensor flat_weights(Range range) const;
  backend::Tensor flat_gradients(Range range) const;

private:
  backend::Tensor view(backend::Buffer const& buffer, DType dtype, std::size_t first, std::size_t last) const;

  Registry registry_;
  DType dtype_;
  backend::Buffer weights_;
  backend::Buffer gradients_;
};

/// Sets flat elements of the store's weights from fp32 ones on the host, rounded to its type.
void write_weights(backend::Backend& backend, Store const& store, Range range, float const* values);

/// The fp32 values of flat elements of the store's weights, on the host.
void read_weights(backend::Backend& backend, Store const& store, Range range, float* values);

/// The initial value of parameter `part`'s rows, on the host: N(0, init_std) as a pure function of (seed, name,
/// global element), or ones. `values` has room for part.range.size() numbers; padding rows become 0.
void initial_values(Registry const& registry, RowPart const& part, std::int64_t seed, float* values);

/// How AdamW rounds the rows of `part` to bf16 in update number `update`: by bits that are a pure function of (seed,
/// name, update, global element).
backend::StochasticRounding rounding_of(Registry const& registry, RowPart const& part, std::int64_t seed,
                                        std::int64_t update);

}  // namespace jreg::params
