#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "data/mixture.h"
#include "data/sampler.h"
#include "data/token_stream.h"

namespace jreg::data {

/// Where a sample's tokens lie; the stream belongs to whoever gave the sample.
struct Sample {
  TokenStream const* stream;
  std::int64_t offset;
};

/// What a run trains on: data.train, or the mixture data.sources. Each source is drawn in its own shuffled epochs (see
/// Sampler), and the mixture says whose turn it is, so that sample i is a pure function of (config, seed, i).
class Dataset {
public:
  /// Throws UserError where a source is missing, shorter than a sequence, or does not tell what data.document_mask
  /// needs; DataError where one is malformed.
  Dataset(config::DataConfig const& config, std::int64_t sequence_length, std::int64_t seed);

  /// Sample `global_index` >= 0. What it points to lives as long as the dataset.
  Sample sample(std::int64_t global_index);

  std::size_t sources() const noexcept { return sources_.size(); }
  TokenStream const& stream(std::size_t source) const { return *sources_[source].stream; }
  Sampler const& sampler(std::size_t source) const { return sources_[source].sampler; }
  double proportion(std::size_t source) const { return mixture_.proportion(source); }
  /// How often `samples` samples of the dataset pass through a source.
  double epochs(std::size_t source, std::int64_t samples) const;

private:
  struct Source {
    std::unique_ptr<TokenStream> stream;
    Sampler sampler;
  };

  std::vector<Source> sources_;
  Mixture mixture_;
};

/// Opens one token stream of a config (data.train, data.validation, or a path of data.sources), and checks that it
/// fills a sequence and has what data.document_mask needs.
std::unique_ptr<TokenStream> open_stream(std::string const& text, config::DataConfig const& config,
                                         std::int64_t sequence_length);

}  // namespace jreg::data
