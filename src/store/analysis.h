#pragma once

#include <hdf5.h>

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "store/manifest.h"
#include "store/trajectory.h"

namespace jreg::store {

/// A look at one model, or at one checkpoint of a run: the columns of /probe and some more.
struct AnalysisRow {
  static constexpr std::int64_t unknown = -1;  // step or tokens that the model's files do not tell

  ProbeRow probe;
  std::int64_t tokens = unknown;        // trained on
  std::vector<double> hidden_norm;      // (L + 1) mean |h_0|..|h_L|
  std::vector<double> logit_lens_loss;  // (L + 1), or empty: not asked for
  std::vector<double> skip_layer_loss;  // (L), or empty: not asked for

  static std::span<Column const> columns(bool logit_lens, bool skip_layers);
  std::vector<Cell> cells() const;
};

/// One group of the file.
struct AnalysedModel {
  AnalysedModel(std::string group_name, std::int64_t layers, bool logit_lens, bool skip_layers)
      : name{std::move(group_name)},
        rows{AnalysisRow::columns(logit_lens, skip_layers), layers, AnalysisRow::unknown} {}

  std::string name;      // of its group
  KeyValues attributes;  // of its group
  Table rows;            // one per checkpoint, by step
};

inline constexpr char const* analysis_format = "jreg analysis";

/// Writes one group per model in the layout of dynamics.h5, and as attributes of the file its format, version, commit,
/// the paper's reference and `attributes`. The file is whole or not there. Throws SystemError.
void write_analysis(std::filesystem::path const& path, KeyValues const& attributes,
                    std::span<AnalysedModel const> models);

/// The models of such an open file, without their attributes. Throws DataError "<path>: ..." where a group or column is
/// missing or does not fit the others.
std::vector<AnalysedModel> read_analysis(hid_t file, std::filesystem::path const& path);

}  // namespace jreg::store
