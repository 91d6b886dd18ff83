#include "train/preflight_facts.h"

#include <omp.h>
#include <sched.h>
#include <sys/resource.h>
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "base/host.h"
#include "base/version.h"
#include "data/dataset.h"
#include "h5/handle.h"
#include "mpi/session.h"
#include "store/files.h"

namespace jreg::train::preflight {

// Ranks may run different versions of the program, which is to be told and not to fail here: defaults for what is
// missing.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(DataFacts, name, tokens, hash)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(LimitFacts, open_files, file_bytes, address_bytes, locked_bytes,
                                                cpu_seconds, infiniband)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Facts, host, program, version, mpi, hdf5, options, error, claims, cores,
                                                threads, memory_available, limits, data)

namespace {

/// The text of a small file of the system; empty where it is not there.
std::string text_of(std::filesystem::path const& path) {
  std::ifstream stream{path};
  return {std::istreambuf_iterator<char>{stream}, {}};
}

/// A whole number, or `otherwise`.
std::int64_t number_of(std::string const& text, std::int64_t otherwise) {
  std::int64_t value = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} ? value : otherwise;
}

/// What a control group uses, but for pages of files that it can give up at any time.
std::int64_t used_by(std::filesystem::path const& group) {
  std::string const statistics = text_of(group / "memory.stat");
  std::int64_t files = 0;
  if (auto const at = statistics.find("inactive_file "); at != std::string::npos) {
    files = number_of(statistics.substr(at + std::string_view{"inactive_file "}.size()), 0);
  }
  return number_of(text_of(group / "memory.current"), 0) - files;
}

/// Memory limit and use of the nearest control group (version 2) that has a limit; -1, 0 where none has.
std::pair<std::int64_t, std::int64_t> group_memory() {
  std::istringstream groups{text_of("/proc/self/cgroup")};
  std::string line;
  while (std::getline(groups, line) && !line.starts_with("0::")) {
  }
  if (!line.starts_with("0::")) return {-1, 0};
  std::filesystem::path const root = "/sys/fs/cgroup";
  for (std::filesystem::path group = line.substr(3);; group = group.parent_path()) {
    std::filesystem::path const folder = root / group.relative_path();
    std::int64_t const limit = number_of(text_of(folder / "memory.max"), -1);
    if (limit >= 0) return {limit, used_by(folder)};
    if (!group.has_relative_path()) return {-1, 0};
  }
}

std::int64_t soft_limit(__rlimit_resource resource) {
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return -1;
  return static_cast<std::int64_t>(limit.rlim_cur);
}

LimitFacts limits() {
  std::error_code error;
  std::filesystem::directory_iterator const adapters{"/sys/class/infiniband", error};
  return {.open_files = soft_limit(RLIMIT_NOFILE),
          .file_bytes = soft_limit(RLIMIT_FSIZE),
          .address_bytes = soft_limit(RLIMIT_AS),
          .locked_bytes = soft_limit(RLIMIT_MEMLOCK),
          .cpu_seconds = soft_limit(RLIMIT_CPU),
          .infiniband = !error && adapters != std::filesystem::directory_iterator{}};
}

std::vector<int> own_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  std::vector<int> cores;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &allowed)) cores.push_back(core);
  }
  return cores;
}

DataFacts facts_of(data::TokenStream const& stream, std::int64_t vocab) {
  constexpr std::int64_t sampled = std::int64_t{1} << 16;
  constexpr int documents = 64;
  std::int64_t const tokens = stream.tokens();
  std::int64_t const count = std::min(sampled, tokens);
  std::vector<std::int32_t> values(static_cast<std::size_t>(count));
  std::string seen;
  for (std::int64_t const first : {std::int64_t{0}, (tokens - count) / 2, tokens - count}) {
    stream.read(first, values, vocab);
    seen.append(reinterpret_cast<char const*>(values.data()), values.size() * sizeof(std::int32_t));
  }
  std::int64_t document = 0;
  for (int i = 0; i < documents && document < tokens; ++i) {
    document = stream.next_document(document);
    seen += fmt::format("{} ", document);
  }
  return {stream.name(), tokens, store::hash_of(seen)};
}

std::vector<DataFacts> data_facts(config::Config const& config) {
  std::vector<DataFacts> facts;
  data::Dataset const dataset{config.data, config.train.sequence_length, config.run.seed};
  for (std::size_t i = 0; i < dataset.sources(); ++i) facts.push_back(facts_of(dataset.stream(i), config.model.vocab));
  if (!config.data.validation.empty()) {
    auto const validation = data::open_stream(config.data.validation, config.data, config.train.sequence_length);
    facts.push_back(facts_of(*validation, config.model.vocab));
  }
  return facts;
}

}  // namespace

RankClaims claimed_ranks(Environment const& environment) {
  RankClaims claims;
  auto const add = [&](char const* variable) {
    char const* const text = environment(variable);
    std::int64_t const ranks = text == nullptr ? 0 : number_of(text, 0);
    if (ranks > 0) claims.emplace_back(variable, ranks);
    return ranks > 0;
  };
  bool const by_mpirun = add("OMPI_COMM_WORLD_SIZE") || add("PMI_SIZE");
  bool const in_step = environment("SLURM_STEP_ID") != nullptr;
  if (in_step && by_mpirun) return claims;
  if (!in_step || !add("SLURM_STEP_NUM_TASKS")) add("SLURM_NTASKS");
  return claims;
}

std::int64_t available_memory(std::string const& meminfo, std::int64_t limit, std::int64_t used) {
  constexpr char const* key = "MemAvailable:";
  std::int64_t available = 0;
  if (auto const at = meminfo.find(key); at != std::string::npos) {
    auto const digit = meminfo.find_first_of("0123456789", at);
    available = digit == std::string::npos ? 0 : 1024 * number_of(meminfo.substr(digit, 20), 0);
  }
  return limit < 0 ? available : std::min(available, std::max<std::int64_t>(0, limit - used));
}

Facts collect(config::Config const& config, std::string options, std::string error) {
  Facts facts;
  facts.host = host_name();
  facts.program = store::hash_file("/proc/self/exe");
  facts.version = fmt::format("{} ({})", version(), commit());
  facts.mpi = mpi::library_version();
  facts.hdf5 = h5::library_version();
  facts.options = std::move(options);
  facts.error = std::move(error);
  facts.cores = own_cores();
  facts.threads = omp_get_max_threads();
  auto const [limit, used] = group_memory();
  facts.memory_available = available_memory(text_of("/proc/meminfo"), limit, used);
  facts.limits = limits();
  if (!facts.error.empty()) return facts;
  try {
    facts.data = data_facts(config);
  } catch (Error const& caught) {
    facts.error = caught.what();
  }
  return facts;
}

std::vector<Facts> gather(mpi::Communicator const& world, Facts const& own) {
  using Json = nlohmann::json;
  std::vector<Facts> all;
  for (std::string const& text : world.all_gather(Json(own).dump(-1, ' ', false, Json::error_handler_t::replace))) {
    all.push_back(Json::parse(text).get<Facts>());
  }
  return all;
}

}  // namespace jreg::train::preflight
