#include "train/update.h"

#include <cmath>

#include "base/error.h"

namespace jreg::train {

Updater::Updater(TrainingSession& session, config::JregConfig const& jreg, bool measure, BatchSource source,
                 std::function<void()> computed)
    : session_{session},
      source_{std::move(source)},
      computed_{std::move(computed)},
      measure_{measure},
      micro_batches_{session.config().train.global_batch / session.mesh().at().data_size / session.micro_batch()},
      penalty_{jreg, session.config().model.layers},
      schedule_{session.config().optim, session.config().train.steps},
      sums_{session.backend(), session.mesh(), session.config().model.layers} {
  expect(measure || jreg.lambda == 0, "a penalty needs the statistics");
}

UpdateResult Updater::update(std::int64_t step, bool flag, bool busy) {
  backend::Backend& backend = session_.backend();
  backend::Range const range{backend, "update"};
  model::Llama& model = session_.model();
  optim::GradientReducer& reducer = session_.reducer();
  params::Store const& store = session_.store();
  std::int64_t const tokens = session_.tokens_per_update();
  std::vector<double> const coefficients =  // (L), or none
      penalty_.active(step) ? penalty_.coefficients(step, tokens) : std::vector<double>{};

  model.set_measure(measure_);
  backend.ops().zero(store.flat_gradients({0, store.registry().flat_size()}));
  sums_.clear(flag, busy);
  for (std::int64_t micro = 0; micro < micro_batches_; ++micro) {
    model::MicroBatch const batch = source_(step, micro);
    model.forward(batch);
    if (measure_) model.add_statistics(sums_.angular());
    model.loss_and_gradient(batch, sums_.loss(), 1.0F / static_cast<float>(tokens));
    model::BackwardHooks hooks;
    if (micro + 1 == micro_batches_) {  // gradients and sums become complete: they travel while backward runs
      sums_.begin();
      hooks.unit_done = [&](std::size_t unit) { reducer.unit_done(unit); };
      hooks.between = [&] { reducer.progress(), sums_.progress(); };
    }
    model.backward(batch, coefficients, hooks);
  }
  backend.synchronize();  // so that what follows is waiting for the others alone
  computed_();
  sums_.finish();
  reducer.finish();  // from here gradients are equal on all data ranks

  UpdateResult result = measured(step, session_.gradient_norm().measure());
  if (!result.applied) return result;
  if (measure_) penalty_.observe(result.jump);  // gates of the next update
  backend::Range const optimizer{backend, "optimizer"};
  session_.adamw().step(result.learning_rate, optim::clip_factor(result.grad_norm, session_.config().optim.clip));
  return result;
}

UpdateResult Updater::measured(std::int64_t step, double grad_norm) const {
  UpdateResult result;
  result.loss = sums_.loss_sum() / static_cast<double>(session_.tokens_per_update());
  if (measure_) {
    result.jump = jump::statistics_of(sums_.angular_sums(), session_.config().model.layers);
    result.jreg = penalty_.value(result.jump);
  }
  result.jreg_lambda = penalty_.lambda(step);
  result.learning_rate = schedule_.at(step);
  result.grad_norm = grad_norm;
  result.flagged = sums_.flagged();
  result.busy = sums_.busy();
  result.applied = std::isfinite(result.loss) && std::isfinite(grad_norm);
  for (int rank = 0; rank < session_.mesh().at().data_size && result.bad_data_rank < 0; ++rank) {
    if (!std::isfinite(sums_.loss_of(rank))) result.bad_data_rank = rank;
  }
  return result;
}

}  // namespace jreg::train
