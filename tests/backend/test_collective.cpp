#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/cpu_collective.h"
#include "base/random.h"

namespace jreg::backend {
namespace {

/// The largest number of elements in one MPI call: the usual one, and one so small that every call is cut.
class CollectiveTest : public testing::TestWithParam<std::int64_t> {
protected:
  CollectiveTest() : backend_{make_backend("cpu", 0)}, group_{MPI_COMM_WORLD, GetParam()} {}

  Collective& group() { return group_; }
  int rank() const { return group_.rank(); }
  int size() const { return group_.size(); }

  template <class T> static Tensor tensor(std::vector<T>& values, std::int64_t rows = 1) {
    return {values.data(), dtype_of<T>(), rows, static_cast<std::int64_t>(values.size()) / rows};
  }
  /// Rank's element i of a stream of small integers: sums are exact in every type and order.
  static double number(int rank, std::size_t i) {
    return static_cast<double>((i * 7 + static_cast<std::size_t>(rank) * 3) % 11) - 5;
  }
  double sum(std::size_t i) const {
    double total = 0;
    for (int r = 0; r < size(); ++r) total += number(r, i);
    return total;
  }
  template <class T> static T from(double value) {
    if constexpr (std::is_same_v<T, bfloat16>) {
      return to_bfloat16(static_cast<float>(value));
    } else {
      return static_cast<T>(value);
    }
  }
  template <class T> static double back(T value) {
    if constexpr (std::is_same_v<T, bfloat16>) {
      return static_cast<double>(to_float(value));
    } else {
      return static_cast<double>(value);
    }
  }
  template <class T> std::vector<T> own(std::size_t count) const {
    std::vector<T> values(count);
    for (std::size_t i = 0; i < count; ++i) values[i] = from<T>(number(rank(), i));
    return values;
  }
  /// Uneven pieces, one of them empty where there are several ranks.
  std::vector<std::int64_t> uneven() const {
    std::vector<std::int64_t> counts;
    for (int r = 0; r < size(); ++r) counts.push_back(r == 1 ? 0 : 5 + 3 * r);
    return counts;
  }

  template <class T> void all_reduces() {
    auto values = own<T>(101);
    group().all_reduce(tensor(values), Reduction::sum);
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(back(values[i]), sum(i));
    values = own<T>(101);
    group().all_reduce(tensor(values), Reduction::max);
    for (std::size_t i = 0; i < values.size(); ++i) {
      double largest = number(0, i);
      for (int r = 1; r < size(); ++r) largest = std::max(largest, number(r, i));
      EXPECT_EQ(back(values[i]), largest);
    }
    values = own<T>(101);
    auto const pending = group().begin_all_reduce(tensor(values));
    pending->finish();
    EXPECT_TRUE(pending->progress());
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(back(values[i]), sum(i));
  }

  template <class T> void scatters_and_gathers() {
    std::int64_t const rows = 3;
    auto full = own<T>(static_cast<std::size_t>(rows * size() * 5));
    std::vector<T> part(static_cast<std::size_t>(rows * 5));
    group().reduce_scatter(tensor(full, rows * size()), tensor(part, rows));
    for (std::size_t i = 0; i < part.size(); ++i) {
      EXPECT_EQ(back(part[i]), sum(static_cast<std::size_t>(rank()) * part.size() + i));
    }
    for (bool const in_place : {false, true}) {
      std::vector<T> gathered(full.size(), from<T>(-9));
      Tensor const whole = tensor(gathered, rows * size());
      Tensor const mine = whole.row_range(rank() * rows, (rank() + 1) * rows);
      if (in_place) std::memcpy(mine.data, part.data(), part.size() * sizeof(T));
      group().all_gather(in_place ? mine : tensor(part, rows), whole);
      for (std::size_t i = 0; i < gathered.size(); ++i) EXPECT_EQ(back(gathered[i]), sum(i));
    }
  }

  template <class T> void uneven_pieces() {
    auto const counts = uneven();
    auto const total = static_cast<std::size_t>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
    auto const begin =
        static_cast<std::size_t>(std::accumulate(counts.begin(), counts.begin() + rank(), std::int64_t{0}));
    auto const count = static_cast<std::size_t>(counts[static_cast<std::size_t>(rank())]);
    auto values = own<T>(total);
    auto const scattered = group().begin_reduce_scatter(tensor(values), counts);
    while (!scattered->progress()) {
    }
    scattered->finish();
    for (std::size_t i = begin; i < begin + count; ++i) EXPECT_EQ(back(values[i]), sum(i));
    for (std::size_t i = 0; i < total; ++i) {
      if (i < begin || i >= begin + count) values[i] = from<T>(-9);
    }
    auto const gathered = group().begin_all_gather(tensor(values), counts);
    gathered->finish();
    for (std::size_t i = 0; i < total; ++i) EXPECT_EQ(back(values[i]), sum(i));
  }

  std::unique_ptr<Backend> backend_;
  cpu::CpuCollective group_;
};

TEST_P(CollectiveTest, AllReduceGivesSumAndMaximumInEveryType) {
  all_reduces<float>();
  all_reduces<double>();
  all_reduces<bfloat16>();
  all_reduces<std::int64_t>();
}

TEST_P(CollectiveTest, ReduceScatterAndAllGatherCutByRows) {
  scatters_and_gathers<float>();
  scatters_and_gathers<bfloat16>();
  scatters_and_gathers<double>();
}

TEST_P(CollectiveTest, UnevenPiecesScatterAndGatherInPlace) {
  uneven_pieces<float>();
  uneven_pieces<bfloat16>();
}

TEST_P(CollectiveTest, BroadcastComesFromItsRoot) {
  for (int root = 0; root < size(); ++root) {
    auto values = own<float>(33);
    group().broadcast(tensor(values), root);
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(back(values[i]), number(root, i));
  }
}

TEST_P(CollectiveTest, SumsOfBf16RoundToNearest) {
  // Steps at 1 are 2^-7: three quarters of one round up to a whole one.
  std::vector<bfloat16> values{to_bfloat16(rank() == 0 ? 1.0F : 0x1.8p-8F)};
  group().all_reduce(tensor(values), Reduction::sum);
  float const step = 0x1p-7F;
  float const exact = 1.0F + static_cast<float>(size() - 1) * 0x1.8p-8F;
  EXPECT_NEAR(to_float(values[0]), exact, static_cast<float>(size()) * step / 2);
  if (size() == 2) {
    EXPECT_EQ(to_float(values[0]), 1.0F + step);
  }
}

TEST_P(CollectiveTest, EveryRankAndEveryRunGetsTheSameBits) {
  auto const run = [&] {
    std::vector<float> values(10007);
    RandomStream const stream{1, "values" + std::to_string(rank())};
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(stream.normal(i));
    auto const pending = group().begin_all_reduce(tensor(values));
    pending->finish();
    return values;
  };
  auto const once = run();
  EXPECT_EQ(once, run());
  std::vector<float> of_first = once;
  group().broadcast(tensor(of_first), 0);
  EXPECT_EQ(once, of_first);
}

TEST_P(CollectiveTest, ManyMayBeUnderWayAtOnce) {
  std::vector<std::vector<float>> buckets;
  std::vector<std::unique_ptr<Pending>> pending;
  for (std::size_t b = 0; b < 5; ++b) buckets.push_back(own<float>(1000 + b));
  for (auto& bucket : buckets) pending.push_back(group().begin_all_reduce(tensor(bucket)));
  for (auto const& one : pending) {
    one->progress();
    one->finish();
  }
  for (auto const& bucket : buckets) {
    for (std::size_t i = 0; i < bucket.size(); ++i) EXPECT_EQ(back(bucket[i]), sum(i));
  }
}

TEST_P(CollectiveTest, EmptyTensorsAreFine) {
  std::vector<float> none;
  group().all_reduce(tensor(none), Reduction::sum);
  group().begin_all_reduce(tensor(none))->finish();
}

TEST_P(CollectiveTest, CountsWhatTravelsInGroupsWithSeveralRanks) {
  auto values = own<float>(100);
  auto part = own<float>(100);
  std::vector<float> full(static_cast<std::size_t>(100 * size()));
  group().all_reduce(tensor(values), Reduction::sum);
  group().begin_all_reduce(tensor(values))->finish();
  group().reduce_scatter({full.data(), DType::f32, size(), 100}, tensor(part));
  group().all_gather(tensor(part), {full.data(), DType::f32, size(), 100});
  // The first rank holds nothing of this one, the others 25 elements each.
  std::vector<std::int64_t> counts(static_cast<std::size_t>(size()), 25);
  counts.front() = 0;
  Tensor const uneven{full.data(), DType::f32, 1, 25 * (size() - 1)};
  group().begin_reduce_scatter(uneven, counts)->finish();
  group().begin_all_gather(uneven, counts)->finish();
  group().broadcast(tensor(values), 0);

  TrafficCounts expected;
  if (size() > 1) {
    std::int64_t const others = size() - 1;
    std::int64_t const own = rank() == 0 ? 0 : 100;
    std::int64_t const successors = rank() == others ? 0 : 100;
    expected[CollectiveKind::all_reduce] = {2, 800, 2 * (800 * others / size())};
    expected[CollectiveKind::reduce_scatter] = {2, 400 * size() + 100 * others, 400 * others + 100 * others - own};
    expected[CollectiveKind::all_gather] = {2, 400 + own, 400 * others + 100 * others - successors};
    expected[CollectiveKind::broadcast] = {1, rank() == 0 ? 400 : 0, rank() == others ? 0 : 400};
  }
  EXPECT_EQ(group().traffic(), expected);
}

INSTANTIATE_TEST_SUITE_P(Calls, CollectiveTest, testing::Values(cpu::CpuCollective::default_largest_call, 4),
                         [](auto const& call) { return call.param == 4 ? "CutIntoPieces" : "Whole"; });

TEST(Connect, GivesAGroupOfItsOwn) {
  auto const backend = make_backend("cpu", 0);
  auto const group = backend->connect(MPI_COMM_SELF);
  EXPECT_EQ(group->size(), 1);
  std::vector<float> values{1, 2};
  group->all_reduce({values.data(), DType::f32, 1, 2}, Reduction::sum);
  EXPECT_EQ(values[1], 2);
}

}  // namespace
}  // namespace jreg::backend
