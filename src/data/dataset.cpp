#include "data/dataset.h"

#include "base/error.h"
#include "config/sources.h"
#include "data/documents.h"
#include "data/open_tokens.h"

namespace jreg::data {
namespace {

std::vector<config::Source> sources_of(config::DataConfig const& config) {
  if (config.sources.empty()) return {{config.train, 1}};
  return config::parse_sources(config.sources);
}

std::vector<double> weights_of(config::DataConfig const& config) {
  std::vector<double> weights;
  for (config::Source const& source : sources_of(config)) weights.push_back(source.weight);
  return weights;
}

}  // namespace

std::unique_ptr<TokenStream> open_stream(std::string const& text, config::DataConfig const& config,
                                         std::int64_t sequence_length) {
  std::unique_ptr<TokenStream> stream = open_tokens(text, config.format);
  if (stream->tokens() - 1 < sequence_length) {
    throw UserError(
        "{}: {} tokens do not fill one sequence of train.sequence_length = {} and its next token; use more text or "
        "shorter sequences",
        stream->name(), stream->tokens(), sequence_length);
  }
  require_documents(*stream, {config.document_mask, config.eos});
  return stream;
}

Dataset::Dataset(config::DataConfig const& config, std::int64_t sequence_length, std::int64_t seed)
    : mixture_{weights_of(config)} {
  for (config::Source const& source : sources_of(config)) {
    std::unique_ptr<TokenStream> stream = open_stream(source.path, config, sequence_length);
    Sampler const sampler{stream->tokens(), sequence_length, seed, sources_.size()};
    sources_.push_back({std::move(stream), sampler});
  }
}

Sample Dataset::sample(std::int64_t global_index) {
  Mixture::Place const place = mixture_.at(global_index);
  Source const& source = sources_[place.source];
  return {source.stream.get(), source.sampler.token_offset(place.index)};
}

double Dataset::epochs(std::size_t source, std::int64_t samples) const {
  return static_cast<double>(samples) * proportion(source) /
         static_cast<double>(sources_[source].sampler.samples_per_epoch());
}

}  // namespace jreg::data
