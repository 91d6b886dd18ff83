#include "store/analysis.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "h5/attribute.h"
#include "h5/dataset.h"
#include "h5/file.h"
#include "store/rows.h"

namespace jreg::store {
namespace {
namespace fs = std::filesystem;

AnalysisRow row_at(std::int64_t step, std::int64_t layers, bool lens) {
  AnalysisRow row;
  row.probe = test::probe_row(std::max<std::int64_t>(step, 0), layers);
  row.probe.step = step;
  row.hidden_norm.assign(static_cast<std::size_t>(layers) + 1, 0.5);
  if (lens) row.logit_lens_loss.assign(static_cast<std::size_t>(layers) + 1, 2.25);
  return row;
}

class AnalysisFile : public testing::Test {
protected:
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_ = fs::path{testing::TempDir()} / "jreg_analysis";
};

TEST_F(AnalysisFile, HasAGroupPerModelWithItsAttributes) {
  std::vector<AnalysedModel> models;
  models.emplace_back("shallow", 2, true, false);
  models.emplace_back("deep", 5, false, false);
  models[0].attributes = {{"data", "tokens"}};
  models[0].rows.append(row_at(-1, 2, true).cells());
  models[0].rows.append(row_at(0, 2, true).cells());
  models[1].rows.append(row_at(7, 5, false).cells());
  write_analysis(folder_ / "a.h5", {{"data", "tokens"}}, models);

  h5::File const file = h5::open_file(folder_ / "a.h5");
  EXPECT_EQ(h5::text_attribute(file.get(), "format"), analysis_format);
  EXPECT_EQ(h5::text_attribute(file.get(), "models"), "shallow,deep");
  EXPECT_EQ(h5::text_attribute(h5::open_group(file.get(), "shallow").get(), "data"), "tokens");
  EXPECT_EQ(h5::shape_of(h5::open_dataset(file.get(), "shallow/logit_lens_loss")), (h5::Extents{2, 3}));
  EXPECT_EQ(h5::shape_of(h5::open_dataset(file.get(), "deep/displacement_histogram")), (h5::Extents{1, 5, 64}));
  std::vector<std::int64_t> steps(2);
  h5::read(h5::open_dataset(file.get(), "shallow/step"), DType::i64, steps.data());
  EXPECT_EQ(steps, (std::vector<std::int64_t>{-1, 0}));
  EXPECT_THROW(h5::open_dataset(file.get(), "deep/logit_lens_loss"), DataError);
}

TEST_F(AnalysisFile, IsWholeOrNotThere) {
  std::vector<AnalysedModel> models;
  models.emplace_back("twice", 2, false, false);
  models.emplace_back("twice", 2, false, false);
  EXPECT_THROW(write_analysis(folder_ / "a.h5", {}, models), Error);
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST(AnalysisRows, AreRefusedWhereTheyDoNotFitWhatWasAskedFor) {
  AnalysedModel model{"m", 2, true, false};
  EXPECT_THROW(model.rows.append(row_at(1, 2, false).cells()), InternalError);
  EXPECT_THROW(model.rows.append(row_at(1, 3, true).cells()), InternalError);
  EXPECT_THROW(model.rows.append(row_at(-2, 2, true).cells()), InternalError);
  EXPECT_NO_THROW(model.rows.append(row_at(-1, 2, true).cells()));
  EXPECT_THROW(model.rows.append(row_at(-1, 2, true).cells()), InternalError);
}

}  // namespace
}  // namespace jreg::store
