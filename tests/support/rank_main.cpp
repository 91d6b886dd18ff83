// main() of tests that run under mpirun: rank 0 reports as usual, the others only failures, as
// "[rank r] Suite.Test file:line"; all ranks exit alike.
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <string>

#include "mpi/session.h"

namespace {

class FailuresOnly : public testing::EmptyTestEventListener {
public:
  explicit FailuresOnly(int rank) : rank_{rank} {}
  // GoogleTest holds its lock while it reports a result: asking it for the current test there would wait for ever.
  void OnTestStart(testing::TestInfo const& test) override {
    test_ = std::string{test.test_suite_name()} + "." + test.name();
  }
  void OnTestPartResult(testing::TestPartResult const& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "[rank %d] %s %s:%d\n%s\n", rank_, test_.c_str(),
                 result.file_name() ? result.file_name() : "?", result.line_number(), result.message());
  }

private:
  int rank_;
  std::string test_ = "?";
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  jreg::mpi::Session session{argc, argv};
  if (session.rank() != 0) {
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailuresOnly{session.rank()});
  }
  std::int64_t failed = RUN_ALL_TESTS();
  jreg::mpi::Communicator::duplicate(MPI_COMM_WORLD).max(std::span{&failed, 1});
  return static_cast<int>(failed);
}
