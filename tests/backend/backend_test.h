#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "oracle/matrix.h"

namespace jreg::backend {

/// Backend and element type of activations that a test runs with.
struct Setup {
  std::string backend;
  DType dtype;
};

/// Every backend of this build ("cpu", "cpu_<level>" for its slower kernels, "cuda").
std::vector<std::string> test_backends();
std::unique_ptr<Backend> make_test_backend(std::string const& name);

/// All backends with these types.
std::vector<Setup> setups(std::vector<DType> const& types);
std::string setup_name(testing::TestParamInfo<Setup> const& info);

/// A tensor in a backend's memory, surrounded by guard elements, all bytes 0xff (NaN) until filled.
class GuardedTensor {
public:
  /// A view of `rows` x `columns` whose rows lie `gap` elements further apart, beginning at `offset` elements.
  GuardedTensor(Backend& backend, DType type, std::int64_t rows, std::int64_t columns, std::int64_t gap = 0,
                std::int64_t offset = 0);

  Tensor const& view() const { return view_; }
  operator Tensor const&() const { return view_; }
  void fill(oracle::Real const& values);
  oracle::Real values() const;
  /// The view's bytes, without gaps.
  std::vector<std::byte> bytes() const;
  /// No byte outside of the view has changed.
  bool guards_intact() const;

private:
  std::vector<std::byte> everything() const;
  std::size_t position(std::int64_t row, std::int64_t column) const;

  Backend* backend_;
  Buffer buffer_;
  Tensor view_;
  std::size_t begin_;  // of the view, in bytes
};

/// |a - b| / |b| in the 2-norm; |a| where b is zero.
double relative_error(std::vector<double> const& a, std::vector<double> const& b);
inline double relative_error(oracle::Real const& a, oracle::Real const& b) {
  return relative_error(a.values, b.values);
}

class BackendTest : public testing::TestWithParam<Setup> {
protected:
  BackendTest();
  /// Skips the test where this build has the backend but the machine has not what it runs on.
  void SetUp() override;

  Backend& backend() { return *backend_; }
  Ops& ops() { return backend_->ops(); }
  DType type() const { return GetParam().dtype; }
  /// What an activation may be wrong by: rounding of the type it is stored in.
  double tolerance() const { return type() == DType::f32 ? 2e-6 : 1e-2; }

  /// As the type stores them.
  oracle::Real rounded(oracle::Real const& values) const;
  /// Random numbers that the type holds exactly.
  oracle::Real random(std::string_view name, std::int64_t rows, std::int64_t columns, double scale = 1) const;

  GuardedTensor upload(oracle::Real const& values, std::int64_t gap = 0) { return upload(values, type(), gap); }
  GuardedTensor upload(oracle::Real const& values, DType type, std::int64_t gap = 0);
  /// Full of NaN.
  GuardedTensor output(std::int64_t rows, std::int64_t columns, std::int64_t gap = 0);
  GuardedTensor output(DType type, std::int64_t rows, std::int64_t columns, std::int64_t gap = 0);
  GuardedTensor upload_tokens(std::vector<std::int32_t> const& tokens);

private:
  std::unique_ptr<Backend> backend_;
  std::string missing_;  // why there is no backend
};

/// Runs `call` twice on two threads, each time on what `prepare` set up; true when `result` is equal to the bit.
bool same_bits_twice(std::function<void()> const& prepare_and_call, GuardedTensor const& result);

#define JREG_FOR_TYPES(suite, ...) \
  INSTANTIATE_TEST_SUITE_P(All, suite, testing::ValuesIn(setups({__VA_ARGS__})), setup_name)

}  // namespace jreg::backend
