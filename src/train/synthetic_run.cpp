#include "train/synthetic_run.h"

#include <chrono>

namespace jreg::train {

SyntheticRun::SyntheticRun(config::Config const& config, mpi::Communicator const& world, backend::Backend& backend)
    : mesh_{world, backend, static_cast<int>(config.mesh.tensor), config.model.kv_heads, config.mesh.sequence_parallel},
      session_{config, backend, mesh_},
      feeder_{backend, config.train.sequence_length, session_.micro_batch()} {
  session_.initialise();
}

Updater SyntheticRun::updater(config::JregConfig const& jreg, bool measure) {
  return {session_, jreg, measure, [this](std::int64_t step, std::int64_t micro) {
            config::Config const& config = session_.config();
            std::int64_t const per_rank = config.train.global_batch / mesh_.at().data_size;
            std::int64_t const first =
                step * config.train.global_batch + mesh_.at().data * per_rank + micro * session_.micro_batch();
            return feeder_.synthetic(config.run.seed, first, session_.micro_batch(), config.model.vocab);
          }};
}

config::JregConfig with_penalty(config::JregConfig jreg) {
  if (jreg.lambda == 0) jreg.lambda = 0.1;
  return jreg;
}

double timed_update(SyntheticRun& run, Updater& updater, std::int64_t step) {
  run.mesh().world().barrier();
  auto const begin = std::chrono::steady_clock::now();
  updater.update(step, false);
  run.session().backend().synchronize();
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  run.mesh().world().max(std::span{&seconds, 1});
  return seconds;
}

}  // namespace jreg::train
