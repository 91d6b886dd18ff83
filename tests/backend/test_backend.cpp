#include "backend/backend.h"

#include <gtest/gtest.h>

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
    FAIL() << "made a CUDA backend";
  } catch (UserError const& error) {
    EXPECT_NE(std::string{error.what()}.find("--backend cpu"), std::string::npos) << error.what();
  }
}

TEST(MakeBackend, RefusesUnknownNames) {
  EXPECT_THROW(make_backend("tpu", 0), UserError);
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

TEST(TestBackends, HoldTheChosenOneFirst) {
  EXPECT_EQ(test_backends().front(), "cpu");
}

}  // namespace
}  // namespace jreg::backend
