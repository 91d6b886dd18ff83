#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "config/config.h"
#include "params/partition.h"
#include "params/registry.h"
#include "params/store.h"

namespace jreg::params {
namespace {

/// Three units with vectors, joined matrices, repeated key/value heads and a padded vocabulary.
Registry make_registry(mesh::Coordinates at, bool sequence_parallel = false) {
  Registry registry{at, 2, sequence_parallel};
  registry.begin_unit();
  registry.add({.name = "table", .rows = 13, .columns = 6, .split = Split::rows, .init_std = 1, .padded_rows = true});
  registry.begin_unit();
  registry.add({.name = "gain", .rows = 6});
  registry.add({.name = "q", .rows = 16, .columns = 6, .split = Split::rows, .init_std = 1});
  registry.add({.name = "k", .rows = 8, .columns = 6, .split = Split::kv_rows, .init_std = 1, .joins_previous = true});
  registry.add({.name = "o", .rows = 6, .columns = 16, .split = Split::columns, .init_std = 1});
  registry.begin_unit();
  registry.add({.name = "last", .rows = 6});
  return registry;
}

TEST(Registry, CoversEachTensorOnceOverTheTensorRanks) {
  for (int const size : {1, 2, 4}) {
    std::vector<std::int64_t> covered(6, 0);
    for (int rank = 0; rank < size; ++rank) {
      Registry const registry = make_registry({.tensor = rank, .tensor_size = size});
      for (std::size_t i = 0; i < registry.all().size(); ++i) {
        Parameter const& p = registry[i];
        std::int64_t const rows = std::min(p.row_end, p.declared.rows) - std::min(p.row_begin, p.declared.rows);
        if (p.replica == 0) covered[i] += rows * p.local_columns();
      }
    }
    Registry const whole = make_registry({});
    for (std::size_t i = 0; i < covered.size(); ++i) {
      EXPECT_EQ(covered[i], whole[i].declared.rows * whole[i].declared.columns) << whole[i].declared.name;
    }
  }
}

TEST(Registry, RepeatsKeyValueHeadsWhereThereAreFewerThanTensorRanks) {
  Registry const registry = make_registry({.tensor = 3, .tensor_size = 4});
  Parameter const& key = registry[3];
  EXPECT_EQ(key.replicas, 2);
  EXPECT_EQ(key.replica, 1);
  EXPECT_TRUE(key.partial_gradient);
  EXPECT_EQ(key.row_begin, 4);
  EXPECT_EQ(key.row_end, 8);
}

TEST(Registry, SumsNormGainsOnlyWithSequenceParallel) {
  EXPECT_FALSE(make_registry({.tensor_size = 2})[1].partial_gradient);
  EXPECT_TRUE(make_registry({.tensor_size = 2}, true)[1].partial_gradient);
  EXPECT_FALSE(make_registry({.tensor_size = 1}, true)[1].partial_gradient);
}

TEST(Registry, PlacesJoinedParametersWithoutAGap) {
  Registry const registry = make_registry({});
  EXPECT_EQ(registry[3].offset, registry[2].end());
  for (Parameter const& p : registry.all()) {
    EXPECT_TRUE(p.declared.joins_previous || p.offset % 16 == 0) << p.declared.name;
  }
}

TEST(Buckets, CoverAllUnitsFromTheLastToTheFirst) {
  Registry const registry = make_registry({});
  for (std::int64_t const size : {1, 100, 100000}) {
    auto const buckets = make_buckets(registry, size, 3);
    std::size_t next = registry.units().size();
    for (Bucket const& bucket : buckets) {
      EXPECT_EQ(bucket.last_unit, next);
      next = bucket.first_unit;
      EXPECT_EQ(std::accumulate(bucket.counts.begin(), bucket.counts.end(), std::int64_t{0}), bucket.range.size());
    }
    EXPECT_EQ(next, 0U);
  }
}

TEST(Buckets, CutAtRowsSoThatPartsAreRectanglesThatCoverEachRowOnce) {
  Registry const registry = make_registry({.tensor = 1, .tensor_size = 2});
  for (int const ranks : {1, 2, 3, 5, 8}) {
    std::vector<std::int64_t> next_row;
    for (Parameter const& p : registry.all()) next_row.push_back(p.row_begin);
    for (Bucket const& bucket : make_buckets(registry, 1, ranks)) {
      for (int rank = 0; rank < ranks; ++rank) {
        for (RowPart const& part : rows_inside(registry, bucket.part(rank))) {
          EXPECT_EQ(part.row_begin, next_row[part.parameter]);
          EXPECT_EQ(part.range.size(), (part.row_end - part.row_begin) * registry[part.parameter].local_columns());
          next_row[part.parameter] = part.row_end;
        }
      }
    }
    for (std::size_t i = 0; i < next_row.size(); ++i) EXPECT_EQ(next_row[i], registry[i].row_end);
  }
}

TEST(InitialValues, AreTheSameNumbersOnEveryMesh) {
  Registry const whole = make_registry({});
  for (std::size_t i = 0; i < whole.all().size(); ++i) {
    Parameter const& full = whole[i];
    std::vector<float> reference(static_cast<std::size_t>(full.size()));
    initial_values(whole, {i, 0, full.row_end, {full.offset, full.end()}}, 7, reference.data());
    for (int rank = 0; rank < 4; ++rank) {
      Registry const sliced = make_registry({.tensor = rank, .tensor_size = 4});
      Parameter const& p = sliced[i];
      std::vector<float> values(static_cast<std::size_t>(p.size()));
      initial_values(sliced, {i, p.row_begin, p.row_end, {p.offset, p.end()}}, 7, values.data());
      for (std::int64_t row = p.row_begin; row < p.row_end; ++row) {
        for (std::int64_t column = p.column_begin; column < p.column_end; ++column) {
          float const ours =
              values[static_cast<std::size_t>((row - p.row_begin) * p.local_columns() + column - p.column_begin)];
          float const expected = row < full.declared.rows
                                     ? reference[static_cast<std::size_t>(row * full.declared.columns + column)]
                                     : 0.0F;
          EXPECT_EQ(ours, expected) << full.declared.name << " " << row << " " << column;
        }
      }
    }
  }
}

TEST(Rounding, NumbersEachElementAsTheWholeTensorDoesOnEveryMesh) {
  for (int const tensor_size : {1, 2, 4}) {
    for (int rank = 0; rank < tensor_size; ++rank) {
      Registry const registry = make_registry({.tensor = rank, .tensor_size = tensor_size});
      for (int const data_size : {1, 3}) {
        for (Bucket const& bucket : make_buckets(registry, 100, data_size)) {
          for (int data = 0; data < data_size; ++data) {
            for (RowPart const& part : rows_inside(registry, bucket.part(data))) {
              Parameter const& p = registry[part.parameter];
              backend::StochasticRounding const rounding = rounding_of(registry, part, 7, 3);
              for (std::int64_t i = 0; i < part.range.size(); ++i) {
                std::int64_t const row = part.row_begin + i / p.local_columns();
                std::int64_t const column = p.column_begin + i % p.local_columns();
                EXPECT_EQ(rounding.first + i / rounding.run * rounding.stride + i % rounding.run,
                          row * p.declared.columns + column)
                    << p.declared.name;
              }
            }
          }
        }
      }
    }
  }
}

TEST(Rounding, HasAKeyForEachSeedUpdateAndTensorThatNoMeshChanges) {
  std::set<std::uint64_t> keys;
  std::set<std::uint64_t> sliced_keys;
  Registry const whole = make_registry({});
  Registry const sliced = make_registry({.tensor = 1, .tensor_size = 2});
  auto const key = [](Registry const& registry, std::size_t i, std::int64_t seed, std::int64_t update) {
    Parameter const& p = registry[i];
    return rounding_of(registry, {i, p.row_begin, p.row_end, {p.offset, p.end()}}, seed, update).key;
  };
  for (std::size_t i = 0; i < whole.all().size(); ++i) {
    for (std::int64_t const seed : {1, 2}) {
      for (std::int64_t const update : {1, 2, 3}) {
        keys.insert(key(whole, i, seed, update));
        sliced_keys.insert(key(sliced, i, seed, update));
      }
    }
  }
  EXPECT_EQ(keys.size(), whole.all().size() * 2 * 3);
  EXPECT_EQ(keys, sliced_keys);
}

}  // namespace
}  // namespace jreg::params
