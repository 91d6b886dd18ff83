#include "backend/backend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "backend/backend_test.h"

/// Under AddressSanitizer an allocation that is too large should fail as it does without.
extern "C" char const* __asan_default_options() {
  return "allocator_may_return_null=1";
}

namespace jreg::backend {
namespace {

TEST(MakeBackend, SaysWhatToDoWithoutCuda) {
  try {
    make_backend("cuda", 0);
    GTEST_SKIP() << "this build and machine have CUDA";
  } catch (UserError const& error) {
    EXPECT_NE(std::string{error.what()}.find("--backend cpu"), std::string::npos) << error.what();
  }
}

TEST(MakeBackend, RefusesUnknownNames) {
  EXPECT_THROW(make_backend("tpu", 0), UserError);
}

TEST(MakeBackend, RefusesUnknownWaysToExchange) {
  if (!has_backend("cuda")) GTEST_SKIP() << "built without CUDA";
  EXPECT_THROW(make_backend("cuda", 0, "pigeons"), UserError);
  EXPECT_THROW(require_backend("cuda", "pigeons"), UserError);
  EXPECT_NO_THROW(require_backend("cuda", "mpi"));
}

TEST(MakeBackend, DescribesTheProcessor) {
  auto const backend = make_backend("cpu", 0);
  EXPECT_STREQ(backend->name(), "cpu");
  EXPECT_NE(backend->description().find("oneDNN"), std::string::npos);
  EXPECT_NE(backend->description().find("OpenMP"), std::string::npos);
}

TEST(Buffer, IsAlignedCountedAndReleasedOnce) {
  auto const backend = make_backend("cpu", 0);
  {
    Buffer const small{*backend, 100};
    Buffer large{*backend, std::size_t{5} << 20};
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(small.data()) % 64, 0);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(large.data()) % (std::size_t{2} << 20), 0);
    std::memset(large.data(), 1, large.bytes());
    Buffer moved{std::move(large)};
    Buffer assigned;
    assigned = std::move(moved);
    EXPECT_EQ(assigned.bytes(), std::size_t{5} << 20);
    EXPECT_EQ(backend->bytes_in_use(), 100 + (std::size_t{5} << 20));
  }
  EXPECT_EQ(backend->bytes_in_use(), 0);
  EXPECT_EQ(backend->peak_bytes(), 100 + (std::size_t{5} << 20));
}

TEST(Buffer, OfNoBytesWorks) {
  auto const backend = make_backend("cpu", 0);
  Buffer const empty{*backend, 0};
  EXPECT_EQ(backend->bytes_in_use(), 0);
}

TEST(Buffer, SaysWhenThereIsNotEnoughMemory) {
  auto const backend = make_backend("cpu", 0);
  EXPECT_THROW((Buffer{*backend, std::numeric_limits<std::size_t>::max() / 4}), SystemError);
  EXPECT_THROW((Buffer{*backend, std::numeric_limits<std::size_t>::max()}), SystemError);
  EXPECT_EQ(backend->bytes_in_use(), 0);
}

/// A CUDA backend, or null where this machine has no GPU.
std::unique_ptr<Backend> cuda_backend() {
  try {
    return make_backend("cuda", 0, "mpi");
  } catch (UserError const&) {
    return nullptr;
  }
}

TEST(CudaBackend, DescribesTheGpuAndItsLibraries) {
  auto const backend = cuda_backend();
  if (!backend) GTEST_SKIP() << "no GPU";
  for (char const* const part : {"compute capability", "GB", "driver for CUDA", "runtime", "cuBLASLt"}) {
    EXPECT_NE(backend->description().find(part), std::string::npos) << backend->description();
  }
  EXPECT_EQ(backend->library_versions().at(0).name, "the CUDA driver");
  EXPECT_GE(backend->logits_bytes(), std::size_t{1} << 19U);
}

TEST(CudaBackend, SaysWhatIsInUseWhereMemoryIsNotEnough) {
  auto const backend = cuda_backend();
  if (!backend) GTEST_SKIP() << "no GPU";
  std::size_t const before = backend->bytes_in_use();
  Buffer const held{*backend, 5'000'000, "held"};
  try {
    Buffer const large{*backend, std::size_t{1} << 45U, "gradients"};
    FAIL() << "32 TB of GPU memory";
  } catch (OutOfMemory const& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    std::string const text = error.what();
    for (char const* const part : {"no memory for gradients", "35184.372 GB", "in use by this rank", "free of",
                                   "train.micro_batch", "train.recompute", "mesh.zero1", "mesh.tensor"}) {
      EXPECT_NE(text.find(part), std::string::npos) << text;
    }
  }
  EXPECT_EQ(backend->bytes_in_use(), before + 5'000'000);
  Buffer const another{*backend, 100};  // and it goes on
}

TEST(CudaBackend, CopiesAnySizeBothWaysInOrder) {
  auto const backend = cuda_backend();
  if (!backend) GTEST_SKIP() << "no GPU";
  for (std::size_t const bytes : {std::size_t{0}, std::size_t{1}, std::size_t{4096}, (std::size_t{256} << 10U) + 1,
                                  (std::size_t{20} << 20U) + 3}) {
    Buffer const buffer{*backend, bytes};
    std::vector<std::uint8_t> values(bytes);
    for (std::size_t i = 0; i < bytes; ++i) values[i] = static_cast<std::uint8_t>(i * 31 % 251);
    std::vector<std::uint8_t> const kept = values;
    backend->copy_from_host(buffer.data(), values.data(), bytes);
    std::fill(values.begin(), values.end(), std::uint8_t{0});  // the host's memory may be used again at once
    std::vector<std::uint8_t> back(bytes);
    backend->copy_to_host(back.data(), buffer.data(), bytes);
    EXPECT_EQ(back, kept) << bytes;
  }
}

TEST(CudaBackend, KeepsManySmallCopiesApart) {
  auto const backend = cuda_backend();
  if (!backend) GTEST_SKIP() << "no GPU";
  constexpr std::size_t count = 200;  // more than there are pieces of pinned memory
  Buffer const buffer{*backend, count * sizeof(int)};
  for (std::size_t i = 0; i < count; ++i) {
    int const value = static_cast<int>(i) * 7;
    backend->copy_from_host(static_cast<int*>(buffer.data()) + i, &value, sizeof value);
  }
  std::vector<int> back(count);
  backend->copy_to_host(back.data(), buffer.data(), buffer.bytes());
  for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(back[i], static_cast<int>(i) * 7);
}

TEST(CudaBackend, MeasuresArithmeticOnRegisters) {
  auto const backend = cuda_backend();
  if (!backend) GTEST_SKIP() << "no GPU";
  double const single = backend->arithmetic_peak(DType::f32);
  EXPECT_GT(single, 0);
  EXPECT_GT(backend->arithmetic_peak(DType::bf16), single);
}

TEST(TestBackends, HoldTheChosenOneFirst) {
  EXPECT_EQ(test_backends().front(), "cpu");
}

}  // namespace
}  // namespace jreg::backend
