// What files hold of a model, and what a model has: the two lists stand in layers that do not know each other.
#include <gtest/gtest.h>

#include <map>

#include "config/validate.h"
#include "model/parameters.h"
#include "store/llama_tensors.h"
#include "train/weights.h"

namespace jreg::test {
namespace {

TEST(LlamaTensors, AreTheModelsParameters) {
  for (bool const tied : {false, true}) {
    config::Config config;
    config.model.kv_heads = 2;
    config.model.head_size = 6;
    config.model.layers = 3;
    config.model.tie_embeddings = tied;
    config::resolve(config);
    std::map<std::string, store::Shape> files;
    store::for_each_tensor(config.model, [&](std::string const& name, store::Shape const& shape) {
      EXPECT_TRUE(files.emplace(name, shape).second) << name;
    });
    model::DeclaredModel const declared = model::declare_parameters(config.model, {}, false);
    EXPECT_EQ(files.size(), declared.registry.all().size());
    for (params::Parameter const& parameter : declared.registry.all()) {
      ASSERT_TRUE(files.contains(parameter.declared.name)) << parameter.declared.name;
      EXPECT_TRUE(files.at(parameter.declared.name) == train::shape_of(parameter)) << parameter.declared.name;
    }
  }
}

}  // namespace
}  // namespace jreg::test
