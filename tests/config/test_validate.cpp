#include "config/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/refusal.h"
#include "config/sources.h"

namespace jreg::config {
namespace {

using testing::AllOf;
using testing::HasSubstr;

/// The default config changed by `change`, resolved and validated for `world` ranks.
template <class Change> Config checked(Change&& change, std::int64_t world = 1) {
  Config config;
  change(config);
  resolve(config);
  validate(config, world);
  return config;
}
template <class Change> std::string refused(Change&& change, std::int64_t world = 1) {
  return refusal([&] { checked(change, world); });
}

TEST(Resolve, FillsInWhatFollows) {
  Config const cpu = checked([](Config&) {});
  EXPECT_EQ(cpu.run.precision, "fp32");
  EXPECT_EQ(cpu.model.kv_heads, cpu.model.heads);
  EXPECT_EQ(cpu.model.head_size, cpu.model.hidden / cpu.model.heads);
  Config cuda;
  cuda.run.backend = "cuda";
  resolve(cuda);
  EXPECT_EQ(cuda.run.precision, "bf16");
}

TEST(Resolve, KeepsWhatIsGiven) {
  Config const config = checked([](Config& c) {
    c.run.precision = "bf16";
    c.model.kv_heads = 2;
    c.model.head_size = 48;
  });
  EXPECT_EQ(config.run.precision, "bf16");
  EXPECT_EQ(config.model.kv_heads, 2);
  EXPECT_EQ(config.model.head_size, 48);
}

TEST(Validate, AcceptsTheDefaultsOnEveryFittingMesh) {
  for (std::int64_t const world : {1, 2, 4, 8}) {
    for (std::int64_t tensor = 1; tensor <= world; tensor *= 2) {
      EXPECT_NO_THROW(checked([&](Config& c) { c.mesh.tensor = tensor; }, world)) << world << " " << tensor;
    }
  }
}

TEST(Validate, ModelSizesMustDivide) {
  EXPECT_THAT(refused([](Config& c) { c.model.hidden = 100; }),
              HasSubstr("model.hidden = 100 is not a multiple of model.heads = 8"));
  EXPECT_THAT(refused([](Config& c) { c.model.kv_heads = 3; }),
              HasSubstr("model.heads = 8 is not a multiple of model.kv_heads = 3"));
  EXPECT_THAT(refused([](Config& c) { c.model.kv_heads = 16; }), HasSubstr("model.kv_heads = 16"));
  EXPECT_THAT(refused([](Config& c) { c.model.head_size = 33; }), HasSubstr("model.head_size = 33 is odd"));
  EXPECT_THAT(refused([](Config& c) { c.model.hidden = 8; }), HasSubstr("model.head_size = 1 is odd"));
}

TEST(Validate, OnlyBf16CanDoWithoutMasterWeights) {
  auto const without = [](Config& c) { c.optim.master_weights = false; };
  EXPECT_THAT(refused(without), AllOf(HasSubstr("optim.master_weights = false with run.precision = fp32"),
                                      HasSubstr("set optim.master_weights = true or run.precision = bf16")));
  EXPECT_NO_THROW(checked([&](Config& c) {
    without(c);
    c.run.precision = "bf16";
  }));
  EXPECT_NO_THROW(checked([&](Config& c) {
    without(c);
    c.run.backend = "cuda";  // where precision = auto is bf16
  }));
}

TEST(Validate, JumpStatisticsNeedTwoLayers) {
  EXPECT_THAT(refused([](Config& c) { c.model.layers = 1; }), HasSubstr("model.layers = 1"));
}

TEST(Validate, RopeFactorsMustRise) {
  EXPECT_THAT(refused([](Config& c) {
                c.model.rope_scaling.type = "llama3";
                c.model.rope_scaling.high_freq_factor = 1;
              }),
              HasSubstr("model.rope_scaling.high_freq_factor = 1"));
}

TEST(Validate, HugeSizesAreRefusedWithoutOverflow) {
  constexpr std::int64_t huge = std::numeric_limits<std::int64_t>::max() - 1;
  EXPECT_THAT(refused([&](Config& c) { c.model.head_size = huge; }), HasSubstr("model.head_size = "));
  EXPECT_THAT(refused([&](Config& c) { c.model.vocab = huge; }), HasSubstr("model.vocab = "));
  EXPECT_THAT(refused([&](Config& c) { c.model.layers = huge; }), HasSubstr("model.layers = "));
  EXPECT_THAT(refused([&](Config& c) { c.model.ffn = huge; }), HasSubstr("model.ffn = "));
  EXPECT_THAT(refused([](Config& c) { c.model.head_size = std::int64_t{1} << 30; }),
              HasSubstr("model.heads * model.head_size = 8589934592"));
  EXPECT_THAT(refused([&](Config& c) { c.train.steps = huge; }), HasSubstr("train.steps = "));
  EXPECT_THAT(refused([&](Config& c) { c.train.sequence_length = huge; }), HasSubstr("train.sequence_length = "));
  EXPECT_THAT(refused([&](Config& c) { c.train.global_batch = huge; }), HasSubstr("train.global_batch = "));
  EXPECT_THAT(refused([&](Config& c) { c.mesh.bucket_mb = huge; }), HasSubstr("mesh.bucket_mb = "));
  EXPECT_THAT(refused([&](Config& c) { c.record.eval_batches = huge; }), HasSubstr("eval.batches = "));
  EXPECT_THAT(refused([&](Config& c) { c.record.probe_sequences = huge; }), HasSubstr("probe.sequences = "));
}

TEST(Validate, MeshMustFitTheRanks) {
  EXPECT_THAT(refused([](Config& c) { c.mesh.tensor = 4; }, 2),
              AllOf(HasSubstr("mesh.tensor = 4"), HasSubstr("2 ranks")));
  EXPECT_THAT(refused([](Config& c) { c.mesh.tensor = 2; }, 3),
              AllOf(HasSubstr("3 ranks"), HasSubstr("mesh.tensor = 2")));
}

TEST(Validate, MeshMustDivideTheModel) {
  auto const on_three = [](auto&& change) {
    return refused(
        [&](Config& c) {
          c.mesh.tensor = 3;
          c.train.global_batch = 3;
          change(c);
        },
        3);
  };
  EXPECT_THAT(on_three([](Config&) {}), HasSubstr("model.heads = 8 is not a multiple of mesh.tensor = 3"));
  EXPECT_THAT(on_three([](Config& c) {
                c.model.heads = 6;
                c.model.hidden = 192;
              }),
              HasSubstr("model.ffn = 688 is not a multiple of mesh.tensor = 3"));
  EXPECT_THAT(on_three([](Config& c) {
                c.model.heads = 12;
                c.model.kv_heads = 4;
                c.model.hidden = 384;
                c.model.ffn = 690;
              }),
              AllOf(HasSubstr("model.kv_heads = 4"), HasSubstr("mesh.tensor = 3")));
}

TEST(Validate, BatchesMustDivide) {
  EXPECT_THAT(refused([](Config& c) { c.train.global_batch = 7; }, 2),
              AllOf(HasSubstr("train.global_batch = 7"), HasSubstr("2 data ranks")));
  EXPECT_THAT(refused([](Config& c) { c.train.micro_batch = 3; }, 2),
              AllOf(HasSubstr("train.global_batch = 8"), HasSubstr("train.micro_batch = 3")));
  EXPECT_THAT(refused([](Config& c) { c.train.micro_batch = 16; }), HasSubstr("train.micro_batch = 16"));
  EXPECT_THAT(refused([](Config& c) { c.train.global_batch = 1; }, 2), HasSubstr("train.global_batch = 1"));
  EXPECT_NO_THROW(checked([](Config& c) { c.train.micro_batch = 2; }, 2));
}

TEST(Validate, SequenceParallelDividesTheSequence) {
  auto const split = [](Config& c) {
    c.mesh.tensor = 2;
    c.mesh.sequence_parallel = true;
    c.train.sequence_length = 255;
  };
  EXPECT_THAT(refused(split, 2), AllOf(HasSubstr("train.sequence_length = 255"), HasSubstr("mesh.tensor = 2")));
}

TEST(Validate, ScheduleMustBeConsistent) {
  EXPECT_THAT(refused([](Config& c) { c.optim.min_learning_rate = 1; }),
              AllOf(HasSubstr("optim.min_learning_rate = 1"), HasSubstr("optim.learning_rate")));
  auto const long_decay = [](Config& c) { c.optim.decay_steps = c.train.steps + 1; };
  EXPECT_NO_THROW(checked(long_decay));  // only wsd uses it
  EXPECT_THAT(refused([&](Config& c) {
                c.optim.schedule = "wsd";
                long_decay(c);
              }),
              AllOf(HasSubstr("optim.decay_steps = 1001"), HasSubstr("train.steps = 1000")));
}

TEST(ValidateData, RefusesTrainAndSourcesTogether) {
  EXPECT_THAT(refused([](Config& c) {
                c.data.train = "a";
                c.data.sources = "b:1";
              }),
              AllOf(HasSubstr("data.train = a"), HasSubstr("data.sources = b:1")));
}

TEST(ValidateData, RefusesAnEosOutsideTheVocabulary) {
  EXPECT_THAT(refused([](Config& c) { c.data.eos = c.model.vocab; }),
              AllOf(HasSubstr("data.eos"), HasSubstr("model.vocab")));
}

TEST(ParseSources, ReadsPathsAndWeights) {
  auto const sources = parse_sources("data/a:0.7, /b c/d*.bin : 3e-1 ,s3:x:0");
  ASSERT_EQ(sources.size(), 3U);
  EXPECT_EQ(sources[0].path, "data/a");
  EXPECT_EQ(sources[0].weight, 0.7);
  EXPECT_EQ(sources[1].path, "/b c/d*.bin");
  EXPECT_EQ(sources[1].weight, 0.3);
  EXPECT_EQ(sources[2].path, "s3:x");
  EXPECT_EQ(sources[2].weight, 0);
}

TEST(ParseSources, RefusesWhatIsNoMixture) {
  auto const refused_text = [](char const* text) { return refused([text](Config& c) { c.data.sources = text; }); };
  EXPECT_THAT(refused_text("a:0.7, b"), HasSubstr("\"b\" is not PATH:WEIGHT"));
  EXPECT_THAT(refused_text("a:0.7,, b:1"), HasSubstr("is not PATH:WEIGHT"));
  EXPECT_THAT(refused_text(":0.7"), HasSubstr("is not PATH:WEIGHT"));
  EXPECT_THAT(refused_text("a:-1, b:2"), AllOf(HasSubstr("weight of a = -1"), HasSubstr("at least 0")));
  EXPECT_THAT(refused_text("a:1, b:nan"), AllOf(HasSubstr("weight of b"), HasSubstr("finite number")));
  EXPECT_THAT(refused_text("a:inf"), HasSubstr("finite number"));
  EXPECT_THAT(refused_text("a:1x"), HasSubstr("finite number"));
  EXPECT_THAT(refused_text("a:"), HasSubstr("finite number"));
  EXPECT_THAT(refused_text("a:0, b:0.0"), HasSubstr("sum to 0"));
}

}  // namespace
}  // namespace jreg::config
