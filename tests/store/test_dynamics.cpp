#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "h5/attribute.h"
#include "store/dynamics.h"
#include "store/rows.h"
#include "store/table_io.h"
#include "support/temporary_folder.h"

namespace jreg::store {
namespace {

class Dynamics : public testing::Test {
protected:
  static constexpr std::int64_t layers = 3;

  Trajectory read_back() const {
    h5::File const file = h5::open_growing_file(path_);
    Trajectory trajectory{layers};
    read_table(file.get(), "train", trajectory.train());
    read_table(file.get(), "validation", trajectory.validation());
    read_table(file.get(), "probe", trajectory.probe());
    return trajectory;
  }

  test::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "dynamics.h5";
  DynamicsHeader header_{.config = {{"run.seed", "1"}, {"data.train", ""}}, .hosts = {"n1", "n2"}, .start_time = "now"};
};

TEST_F(Dynamics, AppendedRowsAreThoseOfATrajectoryWrittenAtOnce) {
  Trajectory const all = test::make_trajectory(150, layers);
  DynamicsFile file{path_, header_, test::make_trajectory(20, layers)};
  for (std::int64_t step = 21; step <= 150; ++step) {
    file.append(test::train_row(step, layers));
    if (step % 10 == 0) file.append(test::validation_row(step));
    if (step % 4 == 0) file.append(test::probe_row(step, layers));
  }
  file.close();
  EXPECT_TRUE(test::same_trajectory(read_back(), all));
  EXPECT_FALSE(test::same_trajectory(read_back(), test::make_trajectory(149, layers)));
}

TEST_F(Dynamics, ResumingDropsRowsAfterTheCheckpoint) {
  { DynamicsFile const file{path_, header_, test::make_trajectory(150, layers)}; }
  DynamicsFile file{path_, header_, test::make_trajectory(100, layers)};
  file.append(test::train_row(101, layers));
  file.close();
  EXPECT_EQ(read_back().train().last_step(), 101);
  EXPECT_EQ(read_back().train().rows(), 101);
}

TEST_F(Dynamics, RefusesAStepThatIsThere) {
  DynamicsFile file{path_, header_, test::make_trajectory(20, layers)};
  EXPECT_THROW(file.append(test::train_row(20, layers)), InternalError);
  EXPECT_THROW(file.append(test::validation_row(20)), InternalError);
  EXPECT_THROW(file.append(test::train_row(21, layers + 1)), InternalError);
  EXPECT_NO_THROW(file.append(test::train_row(21, layers)));
}

TEST_F(Dynamics, RootAttributesTellTheRun) {
  { DynamicsFile const file{path_, header_, Trajectory{layers}}; }
  h5::File const file = h5::open_file(path_);
  EXPECT_EQ(h5::text_attribute(file.get(), "run.seed"), "1");
  EXPECT_EQ(h5::text_attribute(file.get(), "data.train"), "");
  EXPECT_EQ(h5::text_attribute(file.get(), "hosts"), "n1,n2");
  EXPECT_EQ(h5::text_attribute(file.get(), "references"), "arXiv:2601.18302");
  EXPECT_EQ(h5::integer_attribute(file.get(), "format_version"), 1);
}

TEST_F(Dynamics, AFolderThatIsNotThereIsNamedAndNothingIsLeft) {
  auto const path = folder_ / "absent" / "dynamics.h5";
  EXPECT_THAT([&] { DynamicsFile(path, header_, Trajectory{layers}); },
              testing::ThrowsMessage<Error>(testing::HasSubstr(path.string())));
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

TEST_F(Dynamics, ReadingRefusesOtherShapes) {
  { DynamicsFile const file{path_, header_, test::make_trajectory(20, layers)}; }
  h5::File const file = h5::open_file(path_);
  Trajectory other{layers + 1};
  EXPECT_THROW(read_table(file.get(), "train", other.train()), DataError);
  EXPECT_THROW(read_table(file.get(), "absent", other.train()), DataError);
}

}  // namespace
}  // namespace jreg::store
