#include "train/evaluation.h"

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace jreg::train {

Evaluator::Evaluator(TrainingSession& session, BatchFeeder& feeder, data::TokenStream const& file, Interrupt interrupt)
    : session_{session},
      feeder_{feeder},
      file_{file},
      interrupt_{std::move(interrupt)},
      windows_{data::Sampler::sequential(file.tokens(), session.config().train.sequence_length)},
      sums_{session.backend(), session.mesh(), session.config().model.layers},
      arena_{session.backend(), [&](backend::Placer& placer) {
               histograms_ = placer.tensor(DType::i64, session.config().model.layers, jump::histogram_bins);
             }} {}

std::optional<double> Evaluator::run(std::int64_t sequences, bool statistics, bool histograms) {
  sequences = std::min(sequences, windows_.samples_per_epoch());
  mesh::Coordinates const& at = session_.mesh().at();
  // Data ranks take contiguous shares; the whole is the same on every mesh.
  std::int64_t const begin = sequences * at.data / at.data_size;
  std::int64_t const end = sequences * (at.data + 1) / at.data_size;
  // Pieces of a global batch at most: as many on every rank, so that all ask at the same places.
  std::int64_t const piece = session_.config().train.global_batch / at.data_size;
  std::int64_t const largest_share = (sequences + at.data_size - 1) / at.data_size;
  sums_.clear(false);
  for (std::int64_t done = 0; done < largest_share; done += piece) {
    if (interrupt_()) return std::nullopt;
    add(begin + done, std::min(begin + done + piece, end), statistics, histograms);
  }
  sums_.begin();
  sums_.finish();
  return sums_.loss_sum() / static_cast<double>(sequences * windows_.sequence_length());
}

void Evaluator::add(std::int64_t begin, std::int64_t end, bool statistics, bool histograms) {
  for (std::int64_t first = begin; first < end; first += session_.micro_batch()) {
    std::int64_t const count = std::min(session_.micro_batch(), end - first);
    model::MicroBatch const batch = feeder_.load(file_, windows_, first, count, session_.config().model.vocab);
    session_.model().forward(batch);
    if (statistics) session_.model().add_statistics(sums_.angular());
    if (histograms) session_.model().add_histograms(histograms_);
    session_.model().loss(batch, sums_.loss());
  }
}

std::optional<double> Evaluator::loss(std::int64_t sequences) {
  return run(sequences, false, false);
}

std::optional<store::ProbeRow> Evaluator::probe(std::int64_t step, std::int64_t sequences) {
  backend::Backend& backend = session_.backend();
  backend.ops().zero(histograms_);
  store::ProbeRow row;
  row.step = step;
  std::optional<double> const loss = run(sequences, true, true);
  if (!loss) return std::nullopt;
  row.loss = *loss;
  jump::JumpStatistics statistics = jump::statistics_of(sums_.angular_sums(), session_.config().model.layers);
  row.displacement = std::move(statistics.displacement);
  row.jump_rate = std::move(statistics.jump_rate);
  row.angle = std::move(statistics.angle);
  row.relative_update = std::move(statistics.relative_update);
  row.cosine_std = std::move(statistics.cosine_std);
  row.displacement_histogram.resize(static_cast<std::size_t>(histograms_.size()));
  backend.copy_to_host(row.displacement_histogram.data(), histograms_.data,
                       static_cast<std::size_t>(histograms_.bytes()));
  mesh::Mesh const& mesh = session_.mesh();
  if (mesh.at().tensor != 0 && !mesh.sequence_parallel()) std::ranges::fill(row.displacement_histogram, 0);
  mesh.world().sum(std::span{row.displacement_histogram});
  return row;
}

bool probe_is_due(std::int64_t step, std::int64_t interval, std::int64_t last_step) {
  constexpr std::int64_t last_early = 512;
  if (step == last_step || step == 0) return true;
  if (step <= last_early && std::has_single_bit(static_cast<std::uint64_t>(step))) return true;
  return interval > 0 && step % interval == 0 && step > last_early;
}

}  // namespace jreg::train
