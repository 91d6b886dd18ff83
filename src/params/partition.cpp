#include "params/partition.h"

#include <algorithm>

#include "base/error.h"

namespace jreg::params {
namespace {

/// The row boundary nearest below or at `wanted`.
std::int64_t cut_at_row(Registry const& registry, std::int64_t wanted) {
  auto const& all = registry.all();
  auto const after = std::ranges::upper_bound(all, wanted, {}, &Parameter::offset);
  if (after == all.begin()) return wanted;
  Parameter const& inside = *std::prev(after);
  if (wanted >= inside.end()) return inside.end();  // in the gap behind it
  return inside.offset + (wanted - inside.offset) / inside.local_columns() * inside.local_columns();
}

}  // namespace

Range Bucket::part(int rank) const {
  Range part{range.begin, range.begin};
  for (int r = 0; r <= rank; ++r) {
    part.begin = part.end;
    part.end += counts.at(static_cast<std::size_t>(r));
  }
  return part;
}

std::vector<Bucket> make_buckets(Registry const& registry, std::int64_t bucket_elements, int data_size) {
  std::vector<Bucket> buckets;
  auto const& units = registry.units();
  std::size_t last = units.size();
  while (last > 0) {
    std::size_t first = last - 1;
    while (first > 0 && units[last - 1].end - units[first].begin < bucket_elements) --first;
    Bucket bucket{first, last, {units[first].begin, units[last - 1].end}, {}};
    std::int64_t begin = bucket.range.begin;
    for (int rank = 0; rank < data_size; ++rank) {
      std::int64_t const wanted = bucket.range.begin + bucket.range.size() * (rank + 1) / data_size;
      std::int64_t const end = rank + 1 == data_size ? bucket.range.end : std::max(begin, cut_at_row(registry, wanted));
      bucket.counts.push_back(end - begin);
      begin = end;
    }
    buckets.push_back(std::move(bucket));
    last = first;
  }
  return buckets;
}

std::vector<RowPart> rows_inside(Registry const& registry, Range range) {
  std::vector<RowPart> parts;
  for (std::size_t i = 0; i < registry.all().size(); ++i) {
    Parameter const& parameter = registry[i];
    Range const common{std::max(range.begin, parameter.offset), std::min(range.end, parameter.end())};
    if (common.size() <= 0) continue;
    std::int64_t const columns = parameter.local_columns();
    expect((common.begin - parameter.offset) % columns == 0 && common.size() % columns == 0,
           "a partition cuts parameters between rows");
    std::int64_t const row = parameter.row_begin + (common.begin - parameter.offset) / columns;
    parts.push_back({i, row, row + common.size() / columns, common});
  }
  return parts;
}

}  // namespace jreg::params
