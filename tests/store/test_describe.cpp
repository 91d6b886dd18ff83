#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "base/error.h"
#include "h5/file.h"
#include "store/analysis.h"
#include "store/describe.h"
#include "store/dynamics.h"
#include "store/files.h"
#include "store/rows.h"
#include "support/temporary_folder.h"

namespace jreg::store {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::ThrowsMessage;

// Checkpoints have their own test, of several ranks.
class Describe : public testing::Test {
protected:
  test::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "dynamics.h5";
};

TEST_F(Describe, ADynamicsFileWhileItGrowsAndAfterwards) {
  {
    DynamicsFile file{path_, {.config = {}, .hosts = {"n7"}, .start_time = "noon"}, test::make_trajectory(20, 3)};
    file.append(test::train_row(21, 3));
  }
  EXPECT_EQ(kind_of(path_), FileKind::table_file);
  EXPECT_EQ(kind_of(folder_.path()), FileKind::run_folder);
  EXPECT_THAT(describe(path_, FileKind::table_file),
              AllOf(HasSubstr("21 rows, steps 1 to 21; last: loss 0.4545"),
                    HasSubstr("displacement of layer 3 22.00195"), HasSubstr("n7"), HasSubstr("noon")));
  EXPECT_THAT(verify(path_, FileKind::table_file).good, SizeIs(1));
  EXPECT_THAT(verify(folder_.path(), FileKind::run_folder).faults, IsEmpty());
}

TEST_F(Describe, ACutDynamicsFileIsNamed) {
  { DynamicsFile const file{path_, {}, test::make_trajectory(200, 3)}; }
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) / 2);
  EXPECT_THAT([this] { describe(path_, FileKind::table_file); }, ThrowsMessage<DataError>(HasSubstr(path_.string())));
  EXPECT_THAT(verify(path_, FileKind::table_file).faults, testing::ElementsAre(HasSubstr(path_.string())));
}

TEST_F(Describe, ADynamicsFileDamagedAnywhereIsReadOrNamedWhateverTheLibraryDoes) {
  { DynamicsFile const file{path_, {}, test::make_trajectory(40, 3)}; }
  std::string const whole = read_text(path_, 1 << 24);
  std::mt19937_64 random{5};
  int named = 0;
  for (int trial = 0; trial < 24; ++trial) {
    std::string damaged = whole;
    for (int flip = 0; flip < 8; ++flip) damaged[random() % damaged.size()] = static_cast<char>(random());
    std::ofstream{path_, std::ios::binary} << damaged;
    Verdict const verdict = verify(path_, FileKind::table_file);
    ASSERT_EQ(verdict.good.size() + verdict.faults.size(), 1U);
    for (std::string const& fault : verdict.faults) EXPECT_THAT(fault, HasSubstr(path_.string()));
    named += verdict.faults.empty() ? 0 : 1;
  }
  EXPECT_GT(named, 5) << "damage of the structure is seen; that of numbers cannot be without a hash";
}

TEST_F(Describe, AnAnalysisOfModelsIsToldModelByModel) {
  std::vector<AnalysedModel> models;
  models.emplace_back("shallow", 2, false, false);
  models.emplace_back("deep", 5, false, false);
  for (AnalysedModel& model : models) {
    AnalysisRow row{.probe = test::probe_row(7, model.rows.layers())};
    row.hidden_norm.assign(static_cast<std::size_t>(model.rows.layers()) + 1, 0.5);
    model.rows.append(row.cells());
  }
  write_analysis(path_, {{"data", "essay"}}, models);
  EXPECT_THAT(describe(path_, FileKind::table_file),
              AllOf(HasSubstr("analysis of models"), HasSubstr("essay"),
                    HasSubstr("shallow       1 rows, steps 7 to 7"), HasSubstr("displacement of layer 5")));
  EXPECT_THAT(verify(path_, FileKind::table_file).good, testing::ElementsAre(HasSubstr("1 + 1 rows")));
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) / 2);
  EXPECT_THAT(verify(path_, FileKind::table_file).faults, testing::ElementsAre(HasSubstr(path_.string())));
}

TEST_F(Describe, AnotherHdf5FileIsNoDynamicsFile) {
  { h5::File const file = h5::create_file(path_); }
  EXPECT_THROW(describe(path_, FileKind::table_file), DataError);
}

TEST_F(Describe, OtherPathsAreNoneOfOurs) {
  std::ofstream{folder_ / "text"} << "hello";
  EXPECT_EQ(kind_of(folder_ / "text"), std::nullopt);
  EXPECT_EQ(kind_of(folder_.path()), std::nullopt);
  EXPECT_THROW(kind_of(folder_ / "absent"), UserError);
}

}  // namespace
}  // namespace jreg::store
