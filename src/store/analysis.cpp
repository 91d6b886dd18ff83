#include "store/analysis.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <limits>
#include <sstream>

#include "base/error.h"
#include "base/version.h"
#include "h5/attribute.h"
#include "h5/dataset.h"
#include "h5/file.h"
#include "store/files.h"
#include "store/table_io.h"

namespace jreg::store {
namespace {

std::vector<Column> make_columns(bool logit_lens, bool skip_layers) {
  std::vector<Column> columns;
  for (Column const& column : ProbeRow::columns()) columns.push_back(column);
  columns.front().description = "updates of the weights done so far; -1: the model's files do not tell";
  columns.push_back(
      {"tokens", DType::i64, {}, "tokens", "tokens trained on so far; -1: the model's files do not tell"});
  columns.push_back(
      {"hidden_norm", DType::f64, {Axis::state}, "1", "mean over tokens of the 2-norm of hidden state h_l"});
  if (logit_lens) {
    columns.push_back({"logit_lens_loss",
                       DType::f64,
                       {Axis::state},
                       "nats/token",
                       "cross entropy where final norm and classifier read hidden state h_l in place of h_L"});
  }
  if (skip_layers) {
    columns.push_back({"skip_layer_loss",
                       DType::f64,
                       {Axis::layer},
                       "nats/token",
                       "cross entropy of the model with block l left out, h_l = h_(l-1)"});
  }
  return columns;
}

}  // namespace

std::span<Column const> AnalysisRow::columns(bool logit_lens, bool skip_layers) {
  static std::array<std::vector<Column>, 4> const all{make_columns(false, false), make_columns(false, true),
                                                      make_columns(true, false), make_columns(true, true)};
  return all[(logit_lens ? 2U : 0U) + (skip_layers ? 1U : 0U)];
}

std::vector<Cell> AnalysisRow::cells() const {
  std::vector<Cell> cells = probe.cells();
  cells.emplace_back(std::span{&tokens, 1});
  for (std::vector<double> const* const values : {&hidden_norm, &logit_lens_loss, &skip_layer_loss}) {
    if (!values->empty()) cells.emplace_back(std::span<double const>{*values});
  }
  return cells;
}

void write_analysis(std::filesystem::path const& path, KeyValues const& attributes,
                    std::span<AnalysedModel const> models) {
  constexpr std::int64_t format_version = 1;
  write_beside(path, [&](std::filesystem::path const& beside) {
    h5::File file = h5::create_file(beside);
    std::vector<std::string> names;
    for (AnalysedModel const& model : models) {
      names.push_back(model.name);
      write_table(file.get(), model.name, model.rows, std::numeric_limits<std::int64_t>::max());
      h5::Group const group = h5::open_group(file.get(), model.name);
      for (auto const& [key, value] : model.attributes) h5::set_attribute(group.get(), key, value);
    }
    for (auto const& [key, value] : attributes) h5::set_attribute(file.get(), key, value);
    h5::set_attribute(file.get(), "format", analysis_format);
    h5::set_attribute(file.get(), "format_version", format_version);
    h5::set_attribute(file.get(), "models", fmt::format("{}", fmt::join(names, ",")));
    h5::set_attribute(file.get(), "version", version());
    h5::set_attribute(file.get(), "commit", commit());
    h5::set_attribute(file.get(), "references", "arXiv:2601.18302");
    h5::close(std::move(file), beside);
  });
}

std::vector<AnalysedModel> read_analysis(hid_t file, std::filesystem::path const& path) {
  constexpr std::size_t most_layers = 1'000'000;
  std::vector<AnalysedModel> models;
  std::istringstream names{h5::text_attribute(file, "models")};
  for (std::string name; std::getline(names, name, ',');) {
    h5::Group const group = h5::open_group(file, name);
    h5::Extents const shape = h5::shape_of(h5::open_dataset(group.get(), "displacement"));
    if (shape.size() != 2 || shape[1] < 1 || shape[1] > most_layers) {
      throw DataError("{}: /{}/displacement is not (rows, layers)", path.string(), name);
    }
    auto const has = [&](char const* column) { return H5Lexists(group.get(), column, H5P_DEFAULT) > 0; };
    models.emplace_back(name, static_cast<std::int64_t>(shape[1]), has("logit_lens_loss"), has("skip_layer_loss"));
    read_table(file, name, models.back().rows);
  }
  return models;
}

}  // namespace jreg::store
