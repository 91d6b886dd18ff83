#include "backend/backend_test.h"

#include <omp.h>

#include <cmath>
#include <cstring>

#include "backend/cpu/cpu_backend.h"

namespace jreg::backend {

namespace {

constexpr std::int64_t guard_elements = 64;
constexpr std::byte guard_byte{0xff};

double read(std::byte const* at, DType type) {
  auto const as = [at]<class T>(T value) {
    std::memcpy(&value, at, sizeof(T));
    return value;
  };
  switch (type) {
    case DType::f32:
      return static_cast<double>(as(float{}));
    case DType::bf16:
      return static_cast<double>(to_float(as(bfloat16{})));
    case DType::f64:
      return as(double{});
    case DType::i32:
      return as(std::int32_t{});
    case DType::i64:
      return static_cast<double>(as(std::int64_t{}));
  }
  return 0;
}

void write(std::byte* at, DType type, double value) {
  auto const put = [at]<class T>(T stored) { std::memcpy(at, &stored, sizeof(T)); };
  switch (type) {
    case DType::f32:
      return put(static_cast<float>(value));
    case DType::bf16:
      return put(to_bfloat16(static_cast<float>(value)));
    case DType::f64:
      return put(value);
    case DType::i32:
      return put(static_cast<std::int32_t>(value));
    case DType::i64:
      return put(static_cast<std::int64_t>(value));
  }
}

}  // namespace

std::vector<std::string> test_backends() {
  std::vector<std::string> names{"cpu"};
  auto const levels = cpu::supported_kernels();
  for (std::size_t i = 0; i + 1 < levels.size(); ++i) names.push_back(std::string{"cpu_"} + levels[i]->name);
  if (has_backend("cuda")) names.push_back("cuda");
  return names;
}

std::unique_ptr<Backend> make_test_backend(std::string const& name) {
  for (auto const* level : cpu::supported_kernels()) {
    if (name == std::string{"cpu_"} + level->name) return std::make_unique<cpu::CpuBackend>(*level);
  }
  return make_backend(name, 0);
}

std::vector<Setup> setups(std::vector<DType> const& types) {
  std::vector<Setup> all;
  for (std::string const& backend : test_backends()) {
    for (DType const type : types) all.push_back({backend, type});
  }
  return all;
}

std::string setup_name(testing::TestParamInfo<Setup> const& info) {
  return info.param.backend + "_" + name_of(info.param.dtype);
}

GuardedTensor::GuardedTensor(Backend& backend, DType type, std::int64_t rows, std::int64_t columns, std::int64_t gap,
                             std::int64_t offset)
    : backend_{&backend},
      buffer_{backend, static_cast<std::size_t>(rows * (columns + gap) + offset + 2 * guard_elements) * size_of(type)},
      begin_{static_cast<std::size_t>(guard_elements + offset) * size_of(type)} {
  std::vector<std::byte> const poison(buffer_.bytes(), guard_byte);
  backend.copy_from_host(buffer_.data(), poison.data(), poison.size());
  view_ = Tensor{static_cast<std::byte*>(buffer_.data()) + begin_, type, rows, columns};
  view_.stride = columns + gap;
}

std::vector<std::byte> GuardedTensor::everything() const {
  std::vector<std::byte> all(buffer_.bytes());
  backend_->copy_to_host(all.data(), buffer_.data(), all.size());
  return all;
}

std::size_t GuardedTensor::position(std::int64_t row, std::int64_t column) const {
  return begin_ + static_cast<std::size_t>(row * view_.stride + column) * size_of(view_.dtype);
}

void GuardedTensor::fill(oracle::Real const& values) {
  expect(values.rows == view_.rows && values.columns == view_.columns, "values have the tensor's shape");
  std::vector<std::byte> all = everything();
  for (std::int64_t i = 0; i < values.rows; ++i) {
    for (std::int64_t j = 0; j < values.columns; ++j) write(all.data() + position(i, j), view_.dtype, values(i, j));
  }
  backend_->copy_from_host(buffer_.data(), all.data(), all.size());
}

oracle::Real GuardedTensor::values() const {
  std::vector<std::byte> const all = everything();
  oracle::Real result(view_.rows, view_.columns);
  for (std::int64_t i = 0; i < result.rows; ++i) {
    for (std::int64_t j = 0; j < result.columns; ++j) result(i, j) = read(all.data() + position(i, j), view_.dtype);
  }
  return result;
}

std::vector<std::byte> GuardedTensor::bytes() const {
  std::vector<std::byte> const all = everything();
  std::vector<std::byte> result;
  for (std::int64_t i = 0; i < view_.rows; ++i) {
    result.insert(result.end(), all.data() + position(i, 0), all.data() + position(i, view_.columns));
  }
  return result;
}

bool GuardedTensor::guards_intact() const {
  std::vector<std::byte> all = everything();
  for (std::int64_t i = 0; i < view_.rows; ++i) {
    std::fill(all.data() + position(i, 0), all.data() + position(i, view_.columns), guard_byte);
  }
  return std::ranges::all_of(all, [](std::byte byte) { return byte == guard_byte; });
}

double relative_error(std::vector<double> const& a, std::vector<double> const& b) {
  expect_equal(a.size(), b.size(), "as many values");
  double difference = 0;
  double size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  return std::sqrt(difference) / (size > 0 ? std::sqrt(size) : 1.0);
}

BackendTest::BackendTest() {
  try {
    backend_ = make_test_backend(GetParam().backend);
  } catch (UserError const& error) {
    missing_ = error.what();
  }
}

void BackendTest::SetUp() {
  if (!backend_) GTEST_SKIP() << missing_;
}

oracle::Real BackendTest::rounded(oracle::Real const& values) const {
  oracle::Real result = values;
  for (double& value : result.values) {
    float const single = static_cast<float>(value);
    value = static_cast<double>(type() == DType::bf16 ? to_float(to_bfloat16(single)) : single);
  }
  return result;
}

oracle::Real BackendTest::random(std::string_view name, std::int64_t rows, std::int64_t columns, double scale) const {
  return rounded(oracle::random_matrix(name, rows, columns, scale));
}

GuardedTensor BackendTest::upload(oracle::Real const& values, DType type, std::int64_t gap) {
  GuardedTensor tensor{backend(), type, values.rows, values.columns, gap};
  tensor.fill(values);
  return tensor;
}

GuardedTensor BackendTest::output(std::int64_t rows, std::int64_t columns, std::int64_t gap) {
  return output(type(), rows, columns, gap);
}

GuardedTensor BackendTest::output(DType type, std::int64_t rows, std::int64_t columns, std::int64_t gap) {
  return GuardedTensor{backend(), type, rows, columns, gap};
}

GuardedTensor BackendTest::upload_tokens(std::vector<std::int32_t> const& tokens) {
  GuardedTensor tensor{backend(), DType::i32, 1, static_cast<std::int64_t>(tokens.size())};
  oracle::Real values(1, tensor.view().columns);
  std::ranges::copy(tokens, values.values.begin());
  tensor.fill(values);
  return tensor;
}

bool same_bits_twice(std::function<void()> const& prepare_and_call, GuardedTensor const& result) {
  int const threads = omp_get_max_threads();
  omp_set_num_threads(2);
  prepare_and_call();
  auto const once = result.bytes();
  prepare_and_call();
  omp_set_num_threads(threads);
  return once == result.bytes();
}

}  // namespace jreg::backend
