#include "train/checkpointing.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/log.h"
#include "train/weights.h"

namespace jreg::train {
namespace {

constexpr std::array kinds{std::pair{optim::StateKind::weight, store::TensorKind::weight},
                           std::pair{optim::StateKind::first_moment, store::TensorKind::moment1},
                           std::pair{optim::StateKind::second_moment, store::TensorKind::moment2}};

bool changes_freely(std::string const& key) {
  for (char const* const prefix : {"mesh.", "log.", "eval.", "probe.", "checkpoint."}) {
    if (key.starts_with(prefix)) return true;
  }
  return key == "run.dir" || key == "run.backend" || key == "run.collective" || key == "run.step_deadline" ||
         key == "run.drift_interval" || key == "train.micro_batch" || key == "train.recompute";
}

}  // namespace

std::size_t snapshot_elements(TrainingSession const& session) {
  std::size_t size = 0;
  for (params::RowPart const& part : session.adamw().written()) size += static_cast<std::size_t>(part.range.size());
  return size * kinds.size();
}

Snapshot::Snapshot(TrainingSession const& session) : session_{session}, parts_{session.adamw().written()} {
  values_.resize(snapshot_elements(session));
  float const* next = values_.data();
  for (auto const& [kind, file_kind] : kinds) {
    for (params::RowPart const& part : parts_) {
      params::Parameter const& parameter = session_.store().registry()[part.parameter];
      slices_.push_back({parameter.declared.name, file_kind, DType::f32, shape_of(parameter),
                         rectangle_of(parameter, part.row_begin, part.row_end), next});
      next += part.range.size();
    }
  }
}

std::span<store::SavedSlice const> Snapshot::take(bool weights_only) {
  static_assert(kinds.front().first == optim::StateKind::weight);
  std::size_t const copied = weights_only ? 1 : kinds.size();
  float* next = values_.data();
  for (auto const& [kind, file_kind] : std::span{kinds}.first(copied)) {
    for (params::RowPart const& part : parts_) {
      session_.adamw().read(kind, part.range, next);
      next += part.range.size();
    }
  }
  return std::span{slices_}.first(copied * parts_.size());
}

void restore(TrainingSession& session, store::CheckpointReader& reader) {
  if (reader.state().weights_only) {
    throw UserError(
        "{}: holds weights only, without the optimizer's moments: training cannot go on from it; take "
        "another checkpoint",
        reader.folder().string());
  }
  params::Registry const& registry = session.store().registry();
  load_weights(reader, registry, [&](params::Range range, float const* values) {
    session.adamw().write(optim::StateKind::weight, range, values);
  });
  std::vector<float> values;
  for (auto const& [kind, file_kind] : kinds) {
    if (kind == optim::StateKind::weight) continue;
    for (params::RowPart const& part : session.adamw().owned()) {
      read_rows(reader, file_kind, registry[part.parameter], part.row_begin, part.row_end, values);
      session.adamw().write(kind, part.range, values.data());
    }
  }
}

store::Retention retention_of(config::RecordConfig const& record) {
  return {record.checkpoint_keep, record.checkpoint_keep_every, record.checkpoint_log_spaced};
}

store::KeyValues key_values(config::Config config) {
  store::KeyValues values;
  for (config::Option const& option : config::options_of(config)) values.emplace_back(option.name, option.get());
  return values;
}

namespace {

/// The keys that differ; `may_change` tells of a key whether that is only logged.
template <class MayChange>
void check_changes(config::Config const& config, store::KeyValues const& stored, char const* advice,
                   MayChange&& may_change) {
  std::vector<std::string> refused;
  bool architecture = false;
  // An older program's checkpoint does not know every key: it did what the default of such a key stands for.
  store::KeyValues known = key_values({});
  for (auto const& [key, value] : stored) {
    auto const at = std::ranges::find(known, key, &std::pair<std::string, std::string>::first);
    if (at != known.end()) at->second = value;
  }
  store::KeyValues const now = key_values(config);
  for (std::size_t i = 0; i < now.size(); ++i) {
    auto const& [key, value] = now[i];
    if (known[i].second == value) continue;
    std::string const change = fmt::format("{} {} -> {}", key, known[i].second, value);
    bool const model = key.starts_with("model.");
    if (!model && may_change(key)) {
      log::info("changed since the checkpoint: {}", change);
    } else {
      refused.push_back(change);
      architecture = architecture || model;
    }
  }
  if (refused.empty()) return;
  throw UserError("the checkpoint belongs to another configuration: {}; {}", fmt::join(refused, ", "),
                  architecture ? "the architecture cannot change" : advice);
}

}  // namespace

void check_same_run(config::Config const& config, store::KeyValues const& stored, std::string const& allowed) {
  std::string const listed = "," + allowed + ",";
  check_changes(
      config, stored, "give --allow-change KEY[,KEY] to change what is not the architecture",
      [&](std::string const& key) { return changes_freely(key) || listed.find("," + key + ",") != std::string::npos; });
}

void check_same_architecture(config::Config const& config, store::KeyValues const& stored) {
  check_changes(config, stored, "", [](std::string const&) { return true; });
}

}  // namespace jreg::train
