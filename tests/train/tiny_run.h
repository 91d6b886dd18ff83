#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "config/config.h"
#include "config/validate.h"
#include "mpi/communicator.h"
#include "train/batches.h"
#include "train/update.h"

namespace jreg::test {

/// A model small enough for hundreds of updates in a test, with grouped heads and a vocabulary that needs padding.
inline config::Config tiny_config() {
  config::Config config;
  config.model.layers = 3;
  config.model.hidden = 32;
  config.model.heads = 4;
  config.model.kv_heads = 2;
  config.model.ffn = 48;
  config.model.vocab = 67;
  config.model.init_std = 0.15;
  config.train.steps = 20;
  config.train.sequence_length = 16;
  config.train.global_batch = 8;
  config.optim.learning_rate = 2e-3;
  config.optim.min_learning_rate = 2e-4;
  config.optim.warmup_steps = 5;
  config.jreg.lambda = 0.5;
  return config;
}

/// Everything that one training process holds, on the ranks of `comm`.
struct TinyRun {
  TinyRun(config::Config asked, MPI_Comm comm, bool measure = true)
      : config{resolved(std::move(asked))},
        world{mpi::Communicator::duplicate(comm)},
        backend{backend::make_backend(config.run.backend, world.split_node().rank(), config.run.collective)},
        mesh{world, *backend, static_cast<int>(config.mesh.tensor), config.model.kv_heads,
             config.mesh.sequence_parallel},
        session{config, *backend, mesh},
        feeder{*backend, config.train.sequence_length, session.micro_batch()},
        updater{session, config.jreg, measure, [this](std::int64_t step, std::int64_t micro) {
                  std::int64_t const per_rank = config.train.global_batch / mesh.at().data_size;
                  std::int64_t const first =
                      step * config.train.global_batch + mesh.at().data * per_rank + micro * session.micro_batch();
                  return feeder.synthetic(config.run.seed, first, session.micro_batch(), config.model.vocab);
                }} {
    session.initialise();
  }

  std::vector<train::UpdateResult> updates(std::int64_t count) {
    std::vector<train::UpdateResult> results;
    for (std::int64_t step = 0; step < count; ++step) results.push_back(updater.update(step, false));
    return results;
  }

  static config::Config resolved(config::Config config) {
    config::resolve(config);
    return config;
  }

  config::Config config;
  mpi::Communicator world;
  std::unique_ptr<backend::Backend> backend;
  mesh::Mesh mesh;
  train::TrainingSession session;
  train::BatchFeeder feeder;
  train::Updater updater;
};

inline void expect_near_relative(double ours, double reference, double relative, double absolute,
                                 std::string const& what) {
  EXPECT_LE(std::abs(ours - reference), relative * std::abs(reference) + absolute)
      << what << ": " << ours << " against " << reference;
}

}  // namespace jreg::test
