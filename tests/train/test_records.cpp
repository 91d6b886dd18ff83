#include <gtest/gtest.h>

#include "train/checkpointing.h"
#include "train/evaluation.h"
#include "train/progress.h"
#include "train/session.h"
#include "train/signals.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

namespace jreg::train {
namespace {

TEST(Probe, IsDueAtPowersOfTwoUpTo512ThenAtTheIntervalAndAtTheEnd) {
  std::vector<std::int64_t> steps;
  for (std::int64_t step = 0; step <= 2100; ++step) {
    if (probe_is_due(step, 500, 2100)) steps.push_back(step);
  }
  EXPECT_EQ(steps, (std::vector<std::int64_t>{0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 1500, 2000, 2100}));
  EXPECT_FALSE(probe_is_due(1000, 0, 2100)) << "without an interval only the early ones and the last";
}

TEST(DurationText, GrowsFromSecondsToHours) {
  EXPECT_EQ(duration_text(12.4), "12s");
  EXPECT_EQ(duration_text(185), "3m05s");
  EXPECT_EQ(duration_text(3723), "1h02m");
  EXPECT_EQ(duration_text(0.0 / 0.0), "?");
}

TEST(ModelFlop, CountsMatricesAndAttentionOfTheDocumentedShape) {
  config::Config config;  // L 8, H 256, heads 8/4 of 32, ffn 688, vocabulary 8192
  config.model.kv_heads = 4;
  config.model.head_size = 32;
  config.train.sequence_length = 256;
  config.train.global_batch = 8;
  double const tokens = 8 * 256;
  double const matrices = 8.0 * (256 * 256 * 2 + 256 * 128 * 2 + 3 * 256 * 688) + 8192.0 * 256;
  EXPECT_DOUBLE_EQ(model_flop(config), 6 * tokens * matrices + 6 * tokens * 8 * 256 * 256);
}

TEST(SignalWatch, SeesASignal) {
  SignalWatch const watch;
  EXPECT_FALSE(SignalWatch::raised());
  kill(getpid(), SIGUSR1);
  for (int i = 0; i < 1000 && !SignalWatch::raised(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds{5});
  EXPECT_TRUE(SignalWatch::raised());
}

TEST(SignalWatch, KeepsHandlersAwayFromOtherThreads) {
  SignalWatch const watch;
  std::jthread const later{[] {
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
    for (int const signal : {SIGUSR1, SIGTERM, SIGINT}) EXPECT_EQ(sigismember(&blocked, signal), 1);
  }};
  std::raise(SIGUSR1);  // to this thread alone
  EXPECT_FALSE(SignalWatch::raised());
  sigset_t waiting;
  sigpending(&waiting);
  EXPECT_EQ(sigismember(&waiting, SIGUSR1), 1);
  int taken = 0;
  sigset_t usr1;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  sigwait(&usr1, &taken);  // or it would end the process when the watch does
}

config::Config with(std::string const& key, std::string const& value) {
  config::Config config;
  for (config::Option const& option : config::options_of(config)) {
    if (option.name == key) option.set(value);
  }
  return config;
}

TEST(CheckSameRun, LetsLayoutAndRecordsChangeFreely) {
  store::KeyValues const stored = key_values({});
  EXPECT_NO_THROW(check_same_run(with("mesh.tensor", "2"), stored, {}));
  EXPECT_NO_THROW(check_same_run(with("eval.interval", "7"), stored, {}));
  EXPECT_NO_THROW(check_same_run(with("train.micro_batch", "2"), stored, {}));
}

TEST(CheckSameRun, RefusesWhatChangesTheMathematicsUnlessAllowed) {
  store::KeyValues const stored = key_values({});
  config::Config const other = with("optim.learning_rate", "0.5");
  try {
    check_same_run(other, stored, {});
    FAIL() << "another learning rate was accepted";
  } catch (UserError const& error) {
    EXPECT_NE(std::string{error.what()}.find("optim.learning_rate 0.0006 -> 0.5"), std::string::npos) << error.what();
  }
  EXPECT_NO_THROW(check_same_run(other, stored, {"optim.learning_rate"}));
}

TEST(CheckSameRun, WhatAnOlderCheckpointDoesNotKnowStandsAtItsDefault) {
  store::KeyValues stored = key_values({});
  std::erase_if(stored, [](auto const& entry) { return entry.first == "data.document_mask"; });
  EXPECT_NO_THROW(check_same_run({}, stored, {}));
  EXPECT_THROW(check_same_run(with("data.document_mask", "true"), stored, {}), UserError);
}

TEST(CheckSameRun, LetsWhatIsTrainedOnChangeOnlyWhenAllowed) {
  for (auto const& [key, value] :
       {std::pair{"data.train", "x"}, std::pair{"data.sources", "x:1"}, std::pair{"data.format", "raw16"},
        std::pair{"data.document_mask", "true"}, std::pair{"data.eos", "2"}}) {
    EXPECT_THROW(check_same_run(with(key, value), key_values({}), {}), UserError) << key;
    EXPECT_NO_THROW(check_same_run(with(key, value), key_values({}), {key})) << key;
  }
}

TEST(CheckSameRun, NeverLetsTheArchitectureChange) {
  EXPECT_THROW(check_same_run(with("model.layers", "3"), key_values({}), {"model.layers"}), UserError);
}

}  // namespace
}  // namespace jreg::train
