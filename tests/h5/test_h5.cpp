#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <vector>

#include "base/bfloat16.h"
#include "base/error.h"
#include "h5/attribute.h"
#include "h5/dataset.h"
#include "h5/file.h"
#include "support/temporary_folder.h"

namespace jreg {
namespace {

using testing::HasSubstr;
using testing::Throws;
using testing::ThrowsMessage;

class H5 : public testing::Test {
protected:
  test::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "a.h5";
};

TEST_F(H5, RoundsToBfloat16AndBackExactly) {
  std::vector<bfloat16> const values{to_bfloat16(1.0F), to_bfloat16(-3.140625F), to_bfloat16(1e-38F),
                                     to_bfloat16(3e38F)};
  h5::File const file = h5::create_file(path_);
  h5::DataSet const dataset = h5::create_dataset(file.get(), "x", DType::bf16, {4});
  h5::write(dataset, DType::bf16, values.data());
  std::vector<float> wide(4);
  h5::read(dataset, DType::f32, wide.data());
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(wide[i], to_float(values[i]));
  EXPECT_NO_THROW(h5::expect_type(dataset, DType::bf16, 1));
  EXPECT_THROW(h5::expect_type(dataset, DType::f32, 1), DataError);
  EXPECT_THROW(h5::expect_type(dataset, DType::bf16, 2), DataError);
}

TEST_F(H5, AppendsRowsAndFillsTheRestWithNan) {
  h5::File const file = h5::create_file(path_);
  h5::DataSet const dataset = h5::create_growing(file.get(), "x", DType::f64, {2}, 4);
  std::vector<double> const rows{1, 2, 3, 4, 5, 6};
  h5::append_rows(dataset, DType::f64, 1, rows.data());
  h5::append_rows(dataset, DType::f64, 2, rows.data() + 2);
  EXPECT_EQ(h5::shape_of(dataset), (h5::Extents{3, 2}));
  h5::Extents const longer{5, 2};
  ASSERT_GE(H5Dset_extent(dataset.get(), longer.data()), 0);
  std::vector<double> back(10);
  h5::read(dataset, DType::f64, back.data());
  EXPECT_EQ(std::vector<double>(back.begin(), back.begin() + 6), rows);
  EXPECT_TRUE(std::isnan(back[6]) && std::isnan(back[9]));
}

TEST_F(H5, ReadsABoxIntoAPlaceOfALargerArray) {
  h5::File const file = h5::create_file(path_);
  h5::DataSet const dataset = h5::create_dataset(file.get(), "x", DType::f32, {2, 3});
  std::vector<float> const values{1, 2, 3, 4, 5, 6};
  h5::write(dataset, DType::f32, values.data());
  std::vector<float> array(6, 0);  // (3, 2)
  h5::read_box(dataset, {{0, 1}, {2, 2}}, DType::f32, array.data(), {3, 2}, {{1, 0}, {2, 2}});
  EXPECT_EQ(array, (std::vector<float>{0, 0, 2, 3, 5, 6}));
}

TEST_F(H5, AttributesKeepTextAndNumbers) {
  h5::File const file = h5::create_file(path_);
  h5::set_attribute(file.get(), "text", "ψ per layer");
  h5::set_attribute(file.get(), "empty", "");
  h5::set_attribute(file.get(), "number", std::int64_t{1} << 60);
  EXPECT_EQ(h5::text_attribute(file.get(), "text"), "ψ per layer");
  EXPECT_EQ(h5::text_attribute(file.get(), "empty"), "");
  EXPECT_EQ(h5::integer_attribute(file.get(), "number"), std::int64_t{1} << 60);
  EXPECT_THROW(h5::text_attribute(file.get(), "number"), DataError);
  EXPECT_THROW(h5::integer_attribute(file.get(), "text"), DataError);
  EXPECT_THROW(h5::integer_attribute(file.get(), "absent"), DataError);
}

TEST_F(H5, ErrorsCarryTheLibrarysTextAndPath) {
  EXPECT_THAT([] { h5::create_file("/nowhere/at/all.h5"); },
              ThrowsMessage<SystemError>(testing::AllOf(HasSubstr("/nowhere/at/all.h5"), HasSubstr("No such file"))));
  EXPECT_THROW(h5::open_file(folder_ / "absent.h5"), UserError);
  std::ofstream{path_} << "not HDF5";
  EXPECT_THAT([this] { h5::open_file(path_); }, ThrowsMessage<SystemError>(HasSubstr("signature")));
}

TEST_F(H5, ClosingAFileWithOpenObjectsIsAnError) {
  h5::File file = h5::create_file(path_);
  h5::DataSet const dataset = h5::create_dataset(file.get(), "x", DType::f32, {2});
  EXPECT_THROW(h5::close(std::move(file), path_), SystemError);
}

TEST_F(H5, RefusesLinksAndVirtualDatasets) {
  h5::File const file = h5::create_file(path_);
  h5::DataSet const dataset = h5::create_dataset(file.get(), "x", DType::f32, {2});
  ASSERT_GE(H5Lcreate_soft("/x", file.get(), "soft", H5P_DEFAULT, H5P_DEFAULT), 0);
  ASSERT_GE(H5Lcreate_external("other.h5", "/x", file.get(), "external", H5P_DEFAULT, H5P_DEFAULT), 0);
  h5::create_virtual(file.get(), "virtual", DType::f32, {2}, {{"other.h5", "x", {{0}, {2}}}});
  EXPECT_NO_THROW(h5::open_dataset(file.get(), "x"));
  for (auto const* name : {"soft", "external", "virtual", "absent", "absent/x"}) {
    EXPECT_THROW(h5::open_dataset(file.get(), name), DataError) << name;
  }
}

TEST_F(H5, AVirtualDatasetJoinsFilesAndShowsNanForMissingOnes) {
  {
    h5::File const part = h5::create_file(folder_ / "part.h5");
    h5::Group const group = h5::create_group(part.get(), "deep/down");
    h5::DataSet const dataset = h5::create_dataset(group.get(), "x", DType::f32, {1, 2});
    std::vector<float> const values{7, 8};
    h5::write(dataset, DType::f32, values.data());
  }
  {
    h5::File const file = h5::create_file(path_);
    h5::create_virtual(file.get(), "x", DType::f32, {2, 2},
                       {{"part.h5", "deep/down/x", {{1, 0}, {1, 2}}}, {"gone.h5", "x", {{0, 0}, {1, 2}}}});
  }
  h5::File const file = h5::open_file(path_);
  h5::DataSet const dataset{H5Dopen2(file.get(), "x", H5P_DEFAULT)};
  std::vector<float> back(4);
  h5::read(dataset, DType::f32, back.data());
  EXPECT_TRUE(std::isnan(back[0]) && std::isnan(back[1]));
  EXPECT_EQ(back[2], 7);
  EXPECT_EQ(back[3], 8);
}

TEST_F(H5, AppendsToAFileAndLeavesItPlainlyReadable) {
  {
    h5::File const file = h5::create_file(path_);
    h5::create_growing(file.get(), "x", DType::f64, {}, 4);
  }
  double const value = 3;
  {
    h5::File writer = h5::append_to_file(path_);
    {
      h5::DataSet const growing = h5::open_dataset(writer.get(), "x");
      h5::append_rows(growing, DType::f64, 1, &value);
      h5::flush(growing);
    }
    h5::close(std::move(writer), path_);
  }
  for (auto* const open : {h5::open_file, h5::open_growing_file}) {
    h5::File const file = open(path_);
    double back = 0;
    h5::read(h5::open_dataset(file.get(), "x"), DType::f64, &back);
    EXPECT_EQ(back, value);
  }
}

}  // namespace
}  // namespace jreg
