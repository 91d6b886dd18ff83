#include "train/replicas.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <memory>

#include "base/error.h"

namespace jreg::train {
namespace {

struct HashStateDeleter {
  void operator()(XXH3_state_t* state) const noexcept { XXH3_freeState(state); }
};

}  // namespace

std::int64_t weights_hash(TrainingSession& session) {
  std::unique_ptr<XXH3_state_t, HashStateDeleter> const state{XXH3_createState()};
  expect(state != nullptr, "memory for a hash");
  XXH3_64bits_reset(state.get());
  // In pieces that stay in the cache between the copy and the hash. Gaps between parameters hold nothing.
  constexpr std::int64_t piece = std::int64_t{1} << 18;
  params::Store const& store = session.store();
  session.adamw().gather().finish();
  std::vector<std::byte> host(static_cast<std::size_t>(piece) * size_of(store.dtype()));
  for (params::Parameter const& parameter : store.registry().all()) {
    for (std::int64_t begin = parameter.offset; begin < parameter.end(); begin += piece) {
      backend::Tensor const values = store.flat_weights({begin, std::min(begin + piece, parameter.end())});
      auto const bytes = static_cast<std::size_t>(values.bytes());
      session.backend().copy_to_host(host.data(), values.data, bytes);
      XXH3_64bits_update(state.get(), host.data(), bytes);
    }
  }
  return std::bit_cast<std::int64_t>(XXH3_64bits_digest(state.get()));
}

std::vector<int> drifted_ranks(std::span<std::int64_t const> hashes, int tensor_size) {
  int const data_size = static_cast<int>(hashes.size()) / tensor_size;
  std::vector<int> drifted;
  for (int tensor = 0; tensor < tensor_size; ++tensor) {
    std::vector<std::int64_t> group;  // by data rank
    for (int data = 0; data < data_size; ++data) {
      group.push_back(hashes[static_cast<std::size_t>(data * tensor_size + tensor)]);
    }
    auto const votes = [&](std::int64_t hash) { return std::ranges::count(group, hash); };
    for (int data = 0; data < data_size; ++data) {
      bool const majority = 2 * votes(group[static_cast<std::size_t>(data)]) > data_size;
      if (!majority) drifted.push_back(data * tensor_size + tensor);
    }
  }
  std::ranges::sort(drifted);
  return drifted;
}

void check_replicas(TrainingSession& session, std::span<std::string const> hosts, std::int64_t step) {
  mesh::Mesh const& mesh = session.mesh();
  mesh::Coordinates const& at = mesh.at();
  if (at.data_size == 1) return;
  std::vector<std::int64_t> hashes(hosts.size(), 0);  // (ranks)
  hashes[static_cast<std::size_t>(mesh.world().rank())] = weights_hash(session);
  mesh.world().sum(std::span{hashes});
  std::vector<int> const drifted = drifted_ranks(hashes, at.tensor_size);
  if (drifted.empty()) return;
  std::vector<std::string> names;
  for (int const rank : drifted) {
    names.push_back(fmt::format("data rank {} (rank {} on host {})", rank / at.tensor_size, rank,
                                hosts[static_cast<std::size_t>(rank)]));
  }
  throw AgreedError{ExitCode::internal,
                    fmt::format("step {}: the copies of the weights have drifted apart; not as most data ranks have "
                                "them: {}. Go on from an older checkpoint, and have these machines' memory checked",
                                step, fmt::join(names, ", "))};
}

}  // namespace jreg::train
