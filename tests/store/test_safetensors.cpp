#include "store/safetensors.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "store/huggingface_files.h"
#include "support/temporary_folder.h"

namespace jreg::store {
namespace {

using test::refusal_of;
using testing::HasSubstr;

std::string const good_header =
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]},)"
    R"("a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}})";

std::string refused(std::string const& header, std::int64_t data_bytes = 12) {
  return refusal_of([&] { parse_safetensors(header, data_bytes, "file"); });
}

/// One tensor with these three members.
std::string one(std::string const& dtype, std::string const& shape, std::string const& offsets) {
  return R"({"t":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

std::string file_refused(std::string const& content) {
  test::TemporaryFolder const folder;
  auto const path = folder.path() / "x.safetensors";
  test::write_file(path, content);
  return refusal_of([&] { read_safetensors_header(open_descriptor(path, O_RDONLY), path); });
}

TEST(Safetensors, GivesTensorsInTheOrderOfTheirData) {
  auto const tensors = parse_safetensors(good_header + "   ", 12, "file");
  ASSERT_EQ(tensors.size(), 2U);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].shape, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(tensors[1].dtype, "BF16");
  EXPECT_EQ(tensors[1].begin, 8);
}

TEST(Safetensors, AcceptsEmptyTensorsAndSingleNumbers) {
  auto const tensors = parse_safetensors(
      R"({"e":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]},"s":{"dtype":"I64","shape":[],"data_offsets":[0,8]}})",
      8, "file");
  EXPECT_EQ(tensors[0].name, "e");
  EXPECT_TRUE(tensors[1].shape.empty());
}

TEST(Safetensors, RefusesHeadersThatAreNoObject) {
  EXPECT_THAT(refused("[]"), HasSubstr("file: its header does not begin with {"));
  EXPECT_THAT(refused(" {}", 0), HasSubstr("does not begin with {"));
  EXPECT_THAT(refused(""), HasSubstr("does not begin with {"));
  EXPECT_THAT(refused("{"), HasSubstr("is no JSON"));
  EXPECT_THAT(refused("{} x"), HasSubstr("is no JSON"));
  EXPECT_THAT(refused(R"({"t":3})"), HasSubstr("file: t is no object"));
  EXPECT_THAT(refused("{\"\xff\":{}}"), HasSubstr("is no JSON"));
}

TEST(Safetensors, RefusesKeysThatStandTwice) {
  std::string const entry = R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  EXPECT_THAT(refused(R"({"t":)" + entry + R"(,"t":)" + entry + "}", 4), HasSubstr("\"t\" stands twice"));
  EXPECT_THAT(refused(R"({"t":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4),
              HasSubstr("\"dtype\" stands twice"));
}

TEST(Safetensors, RefusesDeepNesting) {
  EXPECT_THAT(refused(R"({"t":)" + std::string(100, '[') + std::string(100, ']') + "}"), HasSubstr("nested deeper"));
}

TEST(Safetensors, RefusesPlacesWithHolesOverlapsOrTrailingBytes) {
  EXPECT_EQ(refused(good_header), "");
  EXPECT_THAT(refused(good_header, 13), HasSubstr("has 13 bytes of data, not the 12"));
  EXPECT_THAT(refused(good_header, 11), HasSubstr("has 11 bytes of data, not the 12"));
  auto const two = [](std::string const& second) {
    return R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":)" +
           second + "}}";
  };
  EXPECT_EQ(refused(two("[8,12]")), "");
  EXPECT_THAT(refused(two("[9,13]"), 13), HasSubstr("the data of \"b\" begin at 9, the data before them end at 8"));
  EXPECT_THAT(refused(two("[4,8]"), 8), HasSubstr("neither overlap nor leave a hole"));
  EXPECT_THAT(refused(one("\"F32\"", "[1]", "[4,8]"), 8), HasSubstr("begin at 4"));
}

TEST(Safetensors, RefusesSizesThatDoNotFitTheShape) {
  EXPECT_THAT(refused(one("\"F32\"", "[2]", "[0,4]"), 4), HasSubstr("t.data_offsets are 4 bytes apart"));
  EXPECT_THAT(refused(one("\"F32\"", "[1]", "[4,0]"), 4), HasSubstr("bytes apart"));
  EXPECT_THAT(refused(one("\"F32\"", "[1]", "[0]"), 4), HasSubstr("is not where the data begin and end"));
  EXPECT_THAT(refused(one("\"F4\"", "[3]", "[0,1]"), 1), HasSubstr("ends within a byte"));
}

TEST(Safetensors, RefusesShapesThatOverflow) {
  for (char const* const shape : {"[4294967296,4294967296]", "[2305843009213693952,2]", "[65536,65536,65536,65536]"}) {
    EXPECT_THAT(refused(one("\"F32\"", shape, "[0,0]"), 0), HasSubstr("more elements than can be counted")) << shape;
  }
  EXPECT_EQ(refused(one("\"F32\"", "[4294967296,0]", "[0,0]"), 0), "");
}

TEST(Safetensors, RefusesUnknownTypes) {
  EXPECT_THAT(refused(one("\"F128\"", "[1]", "[0,4]"), 4), HasSubstr("\"t\" has the unknown dtype \"F128\""));
  EXPECT_THAT(refused(one("7", "[1]", "[0,4]"), 4), HasSubstr("t.dtype is no text"));
}

TEST(Safetensors, RefusesNumbersThatAreNotWhole) {
  EXPECT_THAT(refused(one("\"F32\"", "[-1]", "[0,4]"), 4), HasSubstr("t.shape[0] is not an integer"));
  EXPECT_THAT(refused(one("\"F32\"", "[1.0]", "[0,4]"), 4), HasSubstr("t.shape[0] is not an integer"));
  EXPECT_THAT(refused(one("\"F32\"", "[1]", "[0.5,4]"), 4), HasSubstr("t.data_offsets[0] is not an integer"));
  EXPECT_THAT(refused(one("\"F32\"", "[1]", "[-4,0]"), 4), HasSubstr("t.data_offsets[0] is not an integer"));
  EXPECT_THAT(refused(one("\"F32\"", "[18446744073709551615]", "[0,4]"), 4), HasSubstr("is not an integer"));
  EXPECT_THAT(refused(one("\"F32\"", "[1]", "[0,1e400]"), 4), HasSubstr("a number is too large"));
}

TEST(Safetensors, RefusesMetadataThatIsNotText) {
  EXPECT_THAT(refused(R"({"__metadata__":{"format":3}})", 0), HasSubstr("__metadata__.format is no text"));
  EXPECT_THAT(refused(R"({"__metadata__":[]})", 0), HasSubstr("__metadata__ is no object"));
}

TEST(Safetensors, RefusesFilesShorterThanTheirHeader) {
  EXPECT_THAT(file_refused(""), HasSubstr("0 bytes are no safetensors file"));
  EXPECT_THAT(file_refused("1234567"), HasSubstr("7 bytes are no safetensors file"));
  EXPECT_THAT(file_refused(test::safetensors("{}", "").substr(0, 9)), HasSubstr("it is cut off"));
  EXPECT_THAT(file_refused(std::string("\x01\xe1\xf5\x05\0\0\0\0", 8)), HasSubstr("100000001 bytes, more than"));
  EXPECT_THAT(file_refused(std::string(16, '\xff')), HasSubstr("18446744073709551615 bytes, more than"));
  EXPECT_EQ(file_refused(test::safetensors(good_header, std::string(12, 'x'))), "");
}

TEST(Safetensors, ReadsWhatItWrote) {
  test::TemporaryFolder const folder;
  auto const path = folder.path() / "x.safetensors";
  std::vector<SafetensorsEntry> const tensors{{.name = "z \"quoted\"", .dtype = "F32", .shape = {3}},
                                              {.name = "a", .dtype = "BF16", .shape = {2, 2}}};
  SafetensorsWriter writer{path, tensors};
  std::string const data = "0123456789abCDEFGHIJ";
  writer.write(std::as_bytes(std::span{data}.first(7)));
  writer.write(std::as_bytes(std::span{data}.subspan(7)));
  writer.finish();
  std::string const text = read_text(path, 1 << 20);
  EXPECT_EQ(std::ssize(text), writer.bytes());
  SafetensorsHeader const header = read_safetensors_header(open_descriptor(path, O_RDONLY), path);
  EXPECT_EQ(header.data_begin % 8, 0);
  EXPECT_EQ(text.substr(static_cast<std::size_t>(header.data_begin)), data);
  ASSERT_EQ(header.tensors.size(), 2U);
  EXPECT_EQ(header.tensors[0].name, tensors[0].name);
  EXPECT_EQ(header.tensors[1].shape, tensors[1].shape);
  EXPECT_EQ(header.tensors[1].begin, 12);
}

}  // namespace
}  // namespace jreg::store
