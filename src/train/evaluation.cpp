#include "train/evaluation.h"

#include <algorithm>
#include <bit>
#include <span>

namespace jreg::train {

Evaluator::Evaluator(ModelSession& session, BatchFeeder& feeder, data::TokenStream const& file,
                     data::Windows const& windows, Interrupt interrupt)
    : session_{session},
      feeder_{feeder},
      file_{file},
      interrupt_{std::move(interrupt)},
      windows_{windows},
      sums_{session.backend(), session.mesh(), session.config().model.layers},
      arena_{session.backend(), [&](backend::Placer& placer) {
               std::int64_t const layers = session.config().model.layers;
               histograms_ = placer.tensor(DType::i64, layers, jump::histogram_bins);
               depth_losses_ = placer.tensor(DType::f64, 1, 2 * layers + 1);
             }} {}

bool Evaluator::run(std::int64_t sequences, Measures const& measures) {
  mesh::Coordinates const& at = session_.mesh().at();
  // Data ranks take contiguous shares; the whole is the same on every mesh.
  std::int64_t const begin = sequences * at.data / at.data_size;
  std::int64_t const end = sequences * (at.data + 1) / at.data_size;
  // Pieces of a global batch at most: as many on every rank, so that all ask at the same places.
  std::int64_t const piece = session_.config().train.global_batch / at.data_size;
  std::int64_t const largest_share = (sequences + at.data_size - 1) / at.data_size;
  for (std::int64_t done = 0; done < largest_share; done += piece) {
    if (interrupt_()) return false;
    add(begin + done, std::min(begin + done + piece, end), measures);
  }
  return true;
}

void Evaluator::add(std::int64_t begin, std::int64_t end, Measures const& measures) {
  model::Llama& model = session_.model();
  std::int64_t const layers = session_.config().model.layers;
  for (std::int64_t first = begin; first < end; first += session_.micro_batch()) {
    std::int64_t const count = std::min(session_.micro_batch(), end - first);
    model::MicroBatch const batch = feeder_.load(file_, windows_, first, count, session_.config().model.vocab);
    model.forward(batch);
    if (measures.statistics) model.add_statistics(sums_.angular());
    if (measures.histograms) model.add_histograms(histograms_);
    model.loss(batch, sums_.loss());
    if (measures.logit_lens) {
      for (std::int64_t state = 0; state <= layers; ++state) model.lens_loss(batch, state, depth_loss(state));
    }
    if (measures.skip_layers) {  // from the last on: each pass overwrites the states behind its layer
      for (std::int64_t layer = layers; layer >= 1; --layer) {
        model.forward_without(batch, layer);
        model.loss(batch, depth_loss(layers + layer));
      }
    }
  }
}

std::optional<Look> Evaluator::look(std::int64_t sequences, Measures const& measures) {
  sequences = std::min(sequences, windows_.count());
  session_.backend().ops().zero(histograms_);
  session_.backend().ops().zero(depth_losses_);
  sums_.clear(false);
  if (!run(sequences, measures)) return std::nullopt;
  sums_.begin();
  sums_.finish();

  Look look;
  look.tokens = windows_.counted(sequences);
  auto const tokens = static_cast<double>(look.tokens);
  look.loss = sums_.loss_sum() / tokens;
  std::int64_t const layers = session_.config().model.layers;
  if (measures.statistics) look.jump = jump::statistics_of(sums_.angular_sums(), layers);
  if (measures.histograms) look.displacement_histogram = reduced_histograms();
  if (!measures.logit_lens && !measures.skip_layers) return look;
  std::vector<double> means = reduced_depth_losses();
  for (double& value : means) value /= tokens;
  auto const border = means.begin() + layers + 1;
  if (measures.logit_lens) look.logit_lens_loss.assign(means.begin(), border);
  if (measures.skip_layers) look.skip_layer_loss.assign(border, means.end());
  return look;
}

std::vector<std::int64_t> Evaluator::reduced_histograms() {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(histograms_.size()));
  session_.backend().copy_to_host(counts.data(), histograms_.data, static_cast<std::size_t>(histograms_.bytes()));
  mesh::Mesh const& mesh = session_.mesh();
  if (mesh.at().tensor != 0 && !mesh.sequence_parallel()) std::ranges::fill(counts, 0);
  mesh.world().sum(std::span{counts});
  return counts;
}

std::vector<double> Evaluator::reduced_depth_losses() {
  std::vector<double> sums(static_cast<std::size_t>(depth_losses_.size()));
  session_.backend().copy_to_host(sums.data(), depth_losses_.data, static_cast<std::size_t>(depth_losses_.bytes()));
  mesh::Mesh const& mesh = session_.mesh();
  if (mesh.at().tensor != 0) std::ranges::fill(sums, 0);  // tensor ranks hold the same losses
  mesh.world().sum(std::span{sums});
  return sums;
}

std::optional<double> Evaluator::loss(std::int64_t sequences) {
  std::optional<Look> const seen = look(sequences, {});
  return seen ? std::optional{seen->loss} : std::nullopt;
}

std::optional<store::ProbeRow> Evaluator::probe(std::int64_t step, std::int64_t sequences) {
  std::optional<Look> seen = look(sequences, {.statistics = true, .histograms = true});
  return seen ? std::optional{probe_row(step, std::move(*seen))} : std::nullopt;
}

store::ProbeRow probe_row(std::int64_t step, Look look) {
  return {.step = step,
          .loss = look.loss,
          .displacement = std::move(look.jump.displacement),
          .jump_rate = std::move(look.jump.jump_rate),
          .angle = std::move(look.jump.angle),
          .relative_update = std::move(look.jump.relative_update),
          .cosine_std = std::move(look.jump.cosine_std),
          .displacement_histogram = std::move(look.displacement_histogram)};
}

bool probe_is_due(std::int64_t step, std::int64_t interval, std::int64_t last_step) {
  constexpr std::int64_t last_early = 512;
  if (step == last_step || step == 0) return true;
  if (step <= last_early && std::has_single_bit(static_cast<std::uint64_t>(step))) return true;
  return interval > 0 && step % interval == 0 && step > last_early;
}

}  // namespace jreg::train
