#include <array>
#include <cmath>

#include "backend/backend_test.h"
#include "oracle/linear.h"

namespace jreg::backend {
namespace {

using oracle::Real;

class Embedding : public BackendTest {
protected:
  static constexpr std::int64_t vocab = 13;

  static std::vector<std::int32_t> tokens(std::size_t count) {
    std::vector<std::int32_t> ids;
    RandomStream const stream{3, "tokens"};
    for (std::size_t i = 0; i < count; ++i) ids.push_back(static_cast<std::int32_t>(stream.bits(i) % vocab));
    return ids;
  }
};

TEST_P(Embedding, CopiesRowsOfThisRankAndZerosForOthers) {
  for (std::size_t const count : {1U, 7U, 130U}) {
    for (std::int64_t const first : {0, 5}) {
      Real const table = random("table", 6, 20);
      auto const out = output(static_cast<std::int64_t>(count), 20, 3);
      ops().embedding(upload_tokens(tokens(count)), upload(table, 1), first, out);
      EXPECT_EQ(out.values().values, oracle::embedding(tokens(count), table, first).values);
      EXPECT_TRUE(out.guards_intact());
    }
  }
}

TEST_P(Embedding, BackwardAddsRowsOfEachToken) {
  for (std::int64_t const first : {0, 5}) {
    Real const dout = random("dout", 130, 20);
    Real expected = oracle::random_matrix("before", 6, 20);
    auto const dtable = upload(expected, DType::f32, 2);
    auto const ids = tokens(130);
    ops().embedding_backward(upload_tokens(ids), upload(dout, 1), first, dtable);
    for (std::int64_t t = 0; t < 130; ++t) {
      std::int64_t const row = ids[static_cast<std::size_t>(t)] - first;
      for (std::int64_t i = 0; i < 20 && row >= 0 && row < 6; ++i) expected(row, i) += dout(t, i);
    }
    EXPECT_LT(relative_error(dtable.values(), expected), 2e-6);
    EXPECT_TRUE(dtable.guards_intact());
  }
}

TEST_P(Embedding, LongAlignedRowsAreCopied) {
  for (std::int64_t const width : {8, 264, 4104}) {
    Real const table = random("table", 6, width);
    auto const out = output(70, width, 8);
    ops().embedding(upload_tokens(tokens(70)), upload(table, 16), 5, out);
    EXPECT_EQ(out.values().values, oracle::embedding(tokens(70), table, 5).values);
    EXPECT_TRUE(out.guards_intact());
  }
}

TEST_P(Embedding, BackwardAddsInTokenOrder) {
  // Rows beyond 13 have no tokens; row 4 has most of them.
  for (auto const& [count, width] : {std::pair{1, 8}, {3000, 8}, {700, 7}, {300, 520}}) {
    auto ids = tokens(static_cast<std::size_t>(count));
    for (std::size_t t = 0; t < ids.size(); ++t) ids[t] = t % 3 == 0 ? ids[t] : 4;
    Real const dout = random("dout", count, width);
    Real expected = oracle::random_matrix("before", 40, width);
    auto const dtable = upload(expected, DType::f32, 8);
    expected = dtable.values();
    ops().embedding_backward(upload_tokens(ids), upload(dout, 8), 2, dtable);
    for (std::int64_t t = 0; t < count; ++t) {
      std::int64_t const row = ids[static_cast<std::size_t>(t)] - 2;
      for (std::int64_t i = 0; i < width && row >= 0; ++i) {
        expected(row, i) = static_cast<double>(static_cast<float>(expected(row, i)) + static_cast<float>(dout(t, i)));
      }
    }
    EXPECT_EQ(dtable.values().values, expected.values);
    EXPECT_TRUE(dtable.guards_intact());
  }
}

TEST_P(Embedding, BackwardTwiceGivesTheSameBits) {
  auto const ids = upload_tokens(tokens(500));
  auto const dout = upload(random("dout", 500, 96));
  auto dtable = output(DType::f32, vocab, 96);
  auto const call = [&] {
    dtable.fill(Real(vocab, 96));
    ops().embedding_backward(ids, dout, 0, dtable);
  };
  EXPECT_TRUE(same_bits_twice(call, dtable));
}

TEST_P(Embedding, CopyConvertsAndZeroClears) {
  Real const values = oracle::random_matrix("values", 7, 20);
  auto const from = upload(values, DType::f32, 3);
  auto const to = output(7, 20, 1);
  ops().copy(from, to);
  EXPECT_EQ(to.values().values, rounded(values).values);
  auto const back = output(DType::f32, 7, 20);
  ops().copy(to, back);
  EXPECT_EQ(back.values().values, rounded(values).values);
  ops().zero(to);
  for (double const value : to.values().values) EXPECT_EQ(value, 0);
  EXPECT_TRUE(to.guards_intact() && back.guards_intact());
}

TEST_P(Embedding, CopyOfManyElementsConverts) {
  // Whole and in rows; with and without a remainder of the widest access.
  for (auto const& [rows, columns, gap] : {std::array{1, 70003, 0}, {1, 8192, 0}, {3, 4104, 8}, {5, 1032, 3}}) {
    Real const values = oracle::random_matrix("values", rows, columns);
    auto const from = upload(values, DType::f32, gap);
    auto const to = output(rows, columns, gap);
    ops().copy(from, to);
    EXPECT_EQ(to.values().values, rounded(values).values);
    auto const same = output(rows, columns, gap);
    ops().copy(to, same);
    EXPECT_EQ(same.bytes(), to.bytes());
    auto const back = output(DType::f32, rows, columns, gap);
    ops().copy(to, back);
    EXPECT_EQ(back.values().values, to.values().values);
    ops().zero(same);
    for (double const value : same.values().values) ASSERT_EQ(value, 0);
    EXPECT_TRUE(to.guards_intact() && same.guards_intact());
  }
}

TEST_P(Embedding, CopyOfIntegersKeepsThem) {
  Real values(3, 5);
  for (std::size_t i = 0; i < values.values.size(); ++i) values.values[i] = 1e9 + static_cast<double>(i);
  for (DType const integers : {DType::i32, DType::i64}) {
    auto const to = output(integers, 3, 5, 1);
    ops().copy(upload(values, integers, 2), to);
    EXPECT_EQ(to.values().values, values.values);
    EXPECT_TRUE(to.guards_intact());
  }
}

TEST_P(Embedding, CopyKeepsNanAndInfinity) {
  Real values(1, 3);
  values.values = {std::nan(""), INFINITY, -INFINITY};
  auto const to = output(1, 3);
  ops().copy(upload(values, DType::f32), to);
  EXPECT_TRUE(std::isnan(to.values()(0, 0)));
  EXPECT_EQ(to.values()(0, 1), INFINITY);
  EXPECT_EQ(to.values()(0, 2), -INFINITY);
}

JREG_FOR_TYPES(Embedding, DType::f32, DType::bf16);

}  // namespace
}  // namespace jreg::backend
