#include "store/model_card.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "config/validate.h"

namespace jreg::store {
namespace {

using testing::HasSubstr;
using testing::Not;

ModelCard card() {
  ModelCard card{.name = "small", .parameters = 1234, .step = 7, .tokens = 896, .dtype = "float32"};
  card.config.model.layers = 2;
  config::resolve(card.config);
  card.tokenizer = "None.";
  return card;
}

TEST(ModelCard, ShowsTheLastProbe) {
  Trajectory trajectory{2};
  for (std::int64_t const step : {0, 4}) {
    ProbeRow row{.step = step, .loss = 2.5};
    row.displacement = {0.25, 0.125 * static_cast<double>(step)};
    row.jump_rate = {NAN, 25};
    row.angle = row.relative_update = row.cosine_std = {0, 0};
    row.displacement_histogram.resize(2 * histogram_bins);
    trajectory.append(row);
  }
  ModelCard shown = card();
  shown.trajectory = &trajectory;
  std::string const text = model_card(shown);
  EXPECT_THAT(text, HasSubstr("after 4 updates (loss 2.5000 nats per token)"));
  EXPECT_THAT(text, HasSubstr("| 1 | 0.250000 |  |\n| 2 | 0.500000 | 25.0000 |\n"));
}

TEST(ModelCard, TellsWhatItDoesNotKnow) {
  EXPECT_THAT(model_card(card()), HasSubstr("Not measured here."));
  ModelCard imported = card();
  imported.step = imported.tokens = 0;
  EXPECT_THAT(model_card(imported), Not(HasSubstr("Trained")));
}

TEST(ModelCard, TellsOfThePenalty) {
  ModelCard shown = card();
  EXPECT_THAT(model_card(shown), HasSubstr("Trained without the jump-suppressing regularizer"));
  shown.config.jreg.lambda = 0.5;
  EXPECT_THAT(model_card(shown), HasSubstr("penalty `displacement`, depth weights `linear`, lambda 0.5."));
  EXPECT_THAT(model_card(shown), HasSubstr("Trained for 7 updates on 896 tokens."));
  EXPECT_THAT(model_card(shown), HasSubstr("2601.18302"));
}

}  // namespace
}  // namespace jreg::store
