#include <gtest/gtest.h>

#include <numeric>
#include <ostream>
#include <vector>

#include "backend/collective_test.h"
#include "backend/cpu/cpu_collective.h"
#include "base/random.h"

namespace jreg::backend {
namespace {

/// What a collective is made of: backend, how its ranks exchange, and the largest number of elements in one MPI call:
/// the usual one, or one so small that every call is cut.
struct Way {
  char const* name;
  char const* backend;
  char const* collective;
  std::int64_t largest_call = cpu::CpuCollective::default_largest_call;

  friend std::ostream& operator<<(std::ostream& out, Way const& way) { return out << way.name; }
};

class CollectiveTest : public testing::TestWithParam<Way> {
protected:
  void SetUp() override {
    Way const& way = GetParam();
    try {
      backend_ = make_backend(way.backend, world_rank(), way.collective);
    } catch (UserError const& error) {
      GTEST_SKIP() << error.what();
    }
    if (devices_are_shared(*backend_)) GTEST_SKIP() << "fewer GPUs than ranks";
    if (way.largest_call != cpu::CpuCollective::default_largest_call) {
      group_ = std::make_unique<cpu::CpuCollective>(MPI_COMM_WORLD, way.largest_call);
    } else {
      group_ = backend_->connect(MPI_COMM_WORLD);
    }
  }

  Backend& backend() { return *backend_; }
  Collective& group() { return *group_; }
  int rank() const { return group_->rank(); }
  int size() const { return group_->size(); }

  template <class T> Values<T> values(std::vector<T> const& from) { return {*backend_, from}; }
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
    auto const summed = values(own<T>(101));
    group().all_reduce(summed.tensor(), Reduction::sum);
    auto const sums = summed.get();
    for (std::size_t i = 0; i < sums.size(); ++i) EXPECT_EQ(back(sums[i]), sum(i));
    auto const compared = values(own<T>(101));
    group().all_reduce(compared.tensor(), Reduction::max);
    auto const largest = compared.get();
    for (std::size_t i = 0; i < largest.size(); ++i) {
      double expected = number(0, i);
      for (int r = 1; r < size(); ++r) expected = std::max(expected, number(r, i));
      EXPECT_EQ(back(largest[i]), expected);
    }
    auto const begun = values(own<T>(101));
    auto const pending = group().begin_all_reduce(begun.tensor());
    pending->finish();
    EXPECT_TRUE(pending->progress());
    auto const later = begun.get();
    for (std::size_t i = 0; i < later.size(); ++i) EXPECT_EQ(back(later[i]), sum(i));
  }

  template <class T> void scatters_and_gathers() {
    std::int64_t const rows = 3;
    auto const full = values(own<T>(static_cast<std::size_t>(rows * size() * 5)));
    auto const part = values(std::vector<T>(static_cast<std::size_t>(rows * 5)));
    group().reduce_scatter(full.tensor(rows * size()), part.tensor(rows));
    auto const scattered = part.get();
    for (std::size_t i = 0; i < scattered.size(); ++i) {
      EXPECT_EQ(back(scattered[i]), sum(static_cast<std::size_t>(rank()) * scattered.size() + i));
    }
    for (bool const in_place : {false, true}) {
      auto const whole = values(std::vector<T>(full.get().size(), from<T>(-9)));
      Tensor const mine = whole.tensor(rows * size()).row_range(rank() * rows, (rank() + 1) * rows);
      if (in_place) backend_->copy_from_host(mine.data, scattered.data(), scattered.size() * sizeof(T));
      group().all_gather(in_place ? mine : part.tensor(rows), whole.tensor(rows * size()));
      auto const gathered = whole.get();
      for (std::size_t i = 0; i < gathered.size(); ++i) EXPECT_EQ(back(gathered[i]), sum(i));
    }
  }

  template <class T> void pieces(std::vector<std::int64_t> const& counts) {
    auto const total = static_cast<std::size_t>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
    auto const begin =
        static_cast<std::size_t>(std::accumulate(counts.begin(), counts.begin() + rank(), std::int64_t{0}));
    auto const count = static_cast<std::size_t>(counts[static_cast<std::size_t>(rank())]);
    auto const whole = values(own<T>(total));
    auto const scattered = group().begin_reduce_scatter(whole.tensor(), counts);
    while (!scattered->progress()) {
    }
    scattered->finish();
    auto reduced = whole.get();
    for (std::size_t i = begin; i < begin + count; ++i) EXPECT_EQ(back(reduced[i]), sum(i));
    for (std::size_t i = 0; i < total; ++i) {
      if (i < begin || i >= begin + count) reduced[i] = from<T>(-9);
    }
    auto const again = values(reduced);
    auto const gathered = group().begin_all_gather(again.tensor(), counts);
    gathered->finish();
    auto const result = again.get();
    for (std::size_t i = 0; i < total; ++i) EXPECT_EQ(back(result[i]), sum(i));
  }

private:
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Collective> group_;
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

TEST_P(CollectiveTest, PiecesScatterAndGatherInPlace) {
  pieces<float>(uneven());
  pieces<bfloat16>(uneven());
  pieces<float>(std::vector<std::int64_t>(static_cast<std::size_t>(size()), 7));
}

TEST_P(CollectiveTest, BroadcastComesFromItsRoot) {
  for (int root = 0; root < size(); ++root) {
    auto const sent = values(own<float>(33));
    group().broadcast(sent.tensor(), root);
    auto const received = sent.get();
    for (std::size_t i = 0; i < received.size(); ++i) EXPECT_EQ(back(received[i]), number(root, i));
  }
}

TEST_P(CollectiveTest, SumsOfBf16RoundToNearest) {
  // Steps at 1 are 2^-7: three quarters of one round up to a whole one.
  auto const one = values(std::vector<bfloat16>{to_bfloat16(rank() == 0 ? 1.0F : 0x1.8p-8F)});
  group().all_reduce(one.tensor(), Reduction::sum);
  float const result = to_float(one.get()[0]);
  float const step = 0x1p-7F;
  float const exact = 1.0F + static_cast<float>(size() - 1) * 0x1.8p-8F;
  EXPECT_NEAR(result, exact, static_cast<float>(size()) * step / 2);
  if (size() == 2) {
    EXPECT_EQ(result, 1.0F + step);
  }
}

TEST_P(CollectiveTest, EveryRankAndEveryRunGetsTheSameBits) {
  std::vector<float> numbers(10007);
  RandomStream const stream{1, "values" + std::to_string(rank())};
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(stream.normal(i));
  auto const run = [&] {
    auto const reduced = values(numbers);
    group().begin_all_reduce(reduced.tensor())->finish();
    return reduced.get();
  };
  auto const once = run();
  EXPECT_EQ(once, run());
  auto const of_first = values(once);
  group().broadcast(of_first.tensor(), 0);
  EXPECT_EQ(once, of_first.get());
}

TEST_P(CollectiveTest, ManyMayBeUnderWayAtOnce) {
  std::vector<Values<float>> buckets;
  std::vector<std::unique_ptr<Pending>> pending;
  for (std::size_t b = 0; b < 5; ++b) buckets.push_back(values(own<float>(1000 + b)));
  for (auto const& bucket : buckets) pending.push_back(group().begin_all_reduce(bucket.tensor()));
  // In another order on every rank: what has begun must not depend on who asks first.
  for (std::size_t i = 0; i < pending.size(); ++i) {
    pending[(i + static_cast<std::size_t>(rank())) % pending.size()]->progress();
  }
  for (auto const& one : pending) one->finish();
  for (auto const& bucket : buckets) {
    auto const result = bucket.get();
    for (std::size_t i = 0; i < result.size(); ++i) EXPECT_EQ(back(result[i]), sum(i));
  }
}

TEST_P(CollectiveTest, KeepsTheOrderOfOperationsAndOfCallsBothWays) {
  // Written by an operation just before it travels, travelling aside and at once, and read just after.
  std::size_t const count = 3000;
  auto const rows = static_cast<std::int64_t>(count);
  auto const from = values(own<float>(count));
  auto const one_by_one = values(std::vector<float>{1});
  auto const first = values(std::vector<float>(count));
  auto const second = values(std::vector<float>(count));
  for (int round = 0; round < 3; ++round) {
    backend().ops().linear(from.tensor(rows), one_by_one.tensor(), first.tensor(rows));
    auto const pending = group().begin_all_reduce(first.tensor());
    backend().ops().linear(from.tensor(rows), one_by_one.tensor(), second.tensor(rows));
    group().all_reduce(second.tensor(), Reduction::sum);
    pending->finish();
    auto const one = first.get();
    auto const other = second.get();
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_EQ(back(one[i]), sum(i));
      ASSERT_EQ(back(other[i]), sum(i));
    }
  }
}

TEST_P(CollectiveTest, LargeTensorsTravelWhole) {
  std::size_t const count = (std::size_t{1} << 17U) + 3;  // longer than any piece on the way
  auto const large = values(own<float>(count));
  if (GetParam().largest_call < 100) return;
  group().all_reduce(large.tensor(), Reduction::sum);
  auto const result = large.get();
  for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(back(result[i]), sum(i));
}

TEST_P(CollectiveTest, EmptyTensorsAreFine) {
  auto const none = values(std::vector<float>{});
  group().all_reduce(none.tensor(), Reduction::sum);
  group().begin_all_reduce(none.tensor())->finish();
}

TEST_P(CollectiveTest, TellsHowLongItWaited) {
  EXPECT_EQ(group().waited_seconds(), 0);
  auto const some = values(own<float>(1000));
  group().all_reduce(some.tensor(), Reduction::sum);
  some.get();
  double const waited = group().waited_seconds();
  EXPECT_TRUE(size() == 1 ? waited == 0 : waited > 0 && waited < 60);
}

TEST_P(CollectiveTest, CountsWhatTravelsInGroupsWithSeveralRanks) {
  auto const some = values(own<float>(100));
  auto const part = values(own<float>(100));
  auto const full = values(std::vector<float>(static_cast<std::size_t>(100 * size())));
  group().all_reduce(some.tensor(), Reduction::sum);
  group().begin_all_reduce(some.tensor())->finish();
  group().reduce_scatter(full.tensor(size()), part.tensor());
  group().all_gather(part.tensor(), full.tensor(size()));
  // The first rank holds nothing of this one, the others 25 elements each.
  std::vector<std::int64_t> counts(static_cast<std::size_t>(size()), 25);
  counts.front() = 0;
  Tensor const uneven{full.tensor().data, DType::f32, 1, 25 * (size() - 1)};
  group().begin_reduce_scatter(uneven, counts)->finish();
  group().begin_all_gather(uneven, counts)->finish();
  group().broadcast(some.tensor(), 0);
  backend().synchronize();

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

std::vector<Way> ways() {
  std::vector<Way> all{{"CpuWhole", "cpu", "mpi"}, {"CpuCutIntoPieces", "cpu", "mpi", 4}};
  if (has_backend("cuda")) {
    all.push_back({"CudaByMpi", "cuda", "mpi"});
    all.push_back({"CudaByNccl", "cuda", "nccl"});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Ways, CollectiveTest, testing::ValuesIn(ways()),
                         [](auto const& way) { return std::string{way.param.name}; });

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
