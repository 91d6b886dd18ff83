#include "params/store.h"

#include <algorithm>
#include <vector>

#include "base/bfloat16.h"
#include "base/error.h"
#include "base/random.h"

namespace jreg::params {

using backend::Tensor;

Store::Store(backend::Backend& backend, Registry registry, DType dtype, bool with_gradients)
    : registry_{std::move(registry)}, dtype_{dtype} {
  auto const elements = static_cast<std::size_t>(registry_.flat_size());
  weights_ = backend::Buffer{backend, elements * size_of(dtype_), "weights"};
  backend.ops().zero(flat_weights({0, registry_.flat_size()}));
  if (with_gradients) {
    gradients_ = backend::Buffer{backend, elements * size_of(DType::f32), "gradients"};
    backend.ops().zero(flat_gradients({0, registry_.flat_size()}));
  }
}

Tensor Store::view(backend::Buffer const& buffer, DType dtype, std::size_t first, std::size_t last) const {
  expect(buffer.data() != nullptr, "the store holds what is asked for");
  Parameter const& head = registry_[first];
  std::int64_t size = 0;
  for (std::size_t i = first; i < last; ++i) {
    expect_equal(registry_[i].offset, head.offset + size, "joined parameters follow one another");
    expect_equal(registry_[i].local_columns(), head.local_columns(), "joined parameters have equal columns");
    size += registry_[i].size();
  }
  char* const base = static_cast<char*>(buffer.data()) + head.offset * static_cast<std::int64_t>(size_of(dtype));
  if (head.vector()) return {base, dtype, 1, size};
  return {base, dtype, size / head.local_columns(), head.local_columns()};
}

Tensor Store::weights(std::size_t first, std::size_t last) const {
  return view(weights_, dtype_, first, last);
}
Tensor Store::gradients(std::size_t first, std::size_t last) const {
  return view(gradients_, DType::f32, first, last);
}

Tensor Store::flat_weights(Range range) const {
  char* const base = static_cast<char*>(weights_.data()) + range.begin * static_cast<std::int64_t>(size_of(dtype_));
  return {base, dtype_, 1, range.size()};
}

Tensor Store::flat_gradients(Range range) const {
  return {static_cast<float*>(gradients_.data()) + range.begin, DType::f32, 1, range.size()};
}

void write_weights(backend::Backend& backend, Store const& store, Range range, float const* values) {
  Tensor const to = store.flat_weights(range);
  if (store.dtype() == DType::f32) return backend.copy_from_host(to.data, values, static_cast<std::size_t>(to.bytes()));
  std::vector<bfloat16> low(static_cast<std::size_t>(range.size()));
  std::transform(values, values + range.size(), low.begin(), to_bfloat16);
  backend.copy_from_host(to.data, low.data(), low.size() * sizeof(bfloat16));
}

void read_weights(backend::Backend& backend, Store const& store, Range range, float* values) {
  Tensor const from = store.flat_weights(range);
  if (store.dtype() == DType::f32) {
    return backend.copy_to_host(values, from.data, static_cast<std::size_t>(from.bytes()));
  }
  std::vector<bfloat16> low(static_cast<std::size_t>(range.size()));
  backend.copy_to_host(low.data(), from.data, low.size() * sizeof(bfloat16));
  std::transform(low.begin(), low.end(), values, [](bfloat16 value) { return to_float(value); });
}

void initial_values(Registry const& registry, RowPart const& part, std::int64_t seed, float* values) {
  Parameter const& parameter = registry[part.parameter];
  Declaration const& declared = parameter.declared;
  RandomStream const stream{static_cast<std::uint64_t>(seed), declared.name};
  std::int64_t const columns = parameter.local_columns();
#pragma omp parallel for schedule(static)
  for (std::int64_t row = part.row_begin; row < part.row_end; ++row) {
    float* const out = values + (row - part.row_begin) * columns;
    for (std::int64_t c = 0; c < columns; ++c) {
      if (row >= declared.rows) {
        out[c] = 0;
      } else if (declared.init_std == 0) {
        out[c] = 1;
      } else {
        auto const element = static_cast<std::uint64_t>(row * declared.columns + parameter.column_begin + c);
        out[c] = static_cast<float>(declared.init_std * stream.normal(element));
      }
    }
  }
}

backend::StochasticRounding rounding_of(Registry const& registry, RowPart const& part, std::int64_t seed,
                                        std::int64_t update) {
  Parameter const& parameter = registry[part.parameter];
  Declaration const& declared = parameter.declared;
  RandomStream const stream{static_cast<std::uint64_t>(seed), "rounding of " + declared.name};
  bool const whole_rows = parameter.local_columns() == declared.columns;
  return {.key = stream.bits(static_cast<std::uint64_t>(update)),
          .first = part.row_begin * declared.columns + parameter.column_begin,
          .run = whole_rows ? part.range.size() : parameter.local_columns(),
          .stride = declared.columns};
}

}  // namespace jreg::params
