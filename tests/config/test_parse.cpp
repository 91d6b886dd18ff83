#include "config/parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "config/refusal.h"

namespace jreg::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Sample {
  std::int64_t layers = 2;
  double rate = 0.5;
  std::string dir = "here";
  bool tied = false;
  bool benchmark = false;

  template <class Visit> void each(Visit&& visit) {
    visit("model.layers", layers, Rule::at_least(1), "layers");
    visit("model.scaling.rate", rate, Rule::positive(), "rate");
    visit("model.tied", tied, Rule::any(), "tied");
    visit("run.dir", dir, Rule::any(), "dir");
    visit("benchmark", benchmark, Rule::is_flag(), "flag");
  }
};

class ParseFile : public testing::Test {
protected:
  ~ParseFile() override { std::filesystem::remove(path_); }
  void parse(std::string const& content) {
    std::ofstream{path_, std::ios::binary} << content;
    parse_file(path_, options_of(sample_));
  }
  std::string refused(std::string const& content) {
    return refusal([&] { parse(content); });
  }

  std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / ("jreg-config-" + std::to_string(::getpid()) + ".cfg");
  Sample sample_;
};

TEST_F(ParseFile, ReadsSectionsAndComments) {
  parse("# first\n[model]\nlayers = 7 # so many\nscaling.rate=1e-3\n\n[run]\ndir = a b/c\n[model]\ntied = true\n");
  EXPECT_EQ(sample_.layers, 7);
  EXPECT_EQ(sample_.rate, 1e-3);
  EXPECT_EQ(sample_.dir, "a b/c");
  EXPECT_TRUE(sample_.tied);
}

TEST_F(ParseFile, ReadsFullNamesWithoutSections) {
  parse("model.layers = 9\nrun.dir =\n");
  EXPECT_EQ(sample_.layers, 9);
  EXPECT_EQ(sample_.dir, "");
}

TEST_F(ParseFile, ReadsWindowsLineEndsAndAByteOrderMark) {
  parse("\xef\xbb\xbf[model]\r\nlayers = 7\r\n[run]\r\ndir = x\r\n");
  EXPECT_EQ(sample_.layers, 7);
  EXPECT_EQ(sample_.dir, "x");
}

TEST_F(ParseFile, RefusesUnknownKeysAndSuggestsTheNearest) {
  std::string const text = refused("[model]\nlayer = 3\n");
  EXPECT_THAT(text, HasSubstr(path_.string()));
  EXPECT_THAT(text, HasSubstr("unknown option model.layer; did you mean model.layers?"));
  EXPECT_THAT(refused("[model]\nlay = 3\n"), HasSubstr("unknown option model.lay"));  // no guessing of prefixes
  EXPECT_THAT(refused("benchmark = true\n"), HasSubstr("unknown option benchmark"));
}

TEST_F(ParseFile, RefusesAKeyGivenTwice) {
  EXPECT_THAT(refused("[model]\nlayers = 3\nlayers = 3\n"), HasSubstr("model.layers is given twice"));
  EXPECT_THAT(refused("model.layers = 3\n[model]\nlayers = 4\n"), HasSubstr("model.layers is given twice"));
}

TEST_F(ParseFile, RefusesBadValuesByFileAndKey) {
  std::string const text = refused("[model]\nlayers = -1\n");
  EXPECT_THAT(text, HasSubstr(path_.string()));
  EXPECT_THAT(text, HasSubstr("model.layers = -1"));
  EXPECT_THAT(refused("[model]\nscaling.rate = nan\n"), HasSubstr("model.scaling.rate = nan"));
  EXPECT_THAT(refused("[model]\nlayers\n"), HasSubstr("layers"));
}

TEST_F(ParseFile, RefusesMissingFilesAndFolders) {
  EXPECT_THAT(refusal([&] { parse_file("/nowhere/x.cfg", options_of(sample_)); }),
              HasSubstr("/nowhere/x.cfg: cannot be read: No such file or directory"));
  EXPECT_THAT(refusal([&] { parse_file("/", options_of(sample_)); }), HasSubstr("is a folder"));
}

TEST_F(ParseFile, ReadsIniTextBackToTheSameValues) {
  Config config;
  config.model.layers = 31;
  config.optim.learning_rate = 1.0 / 3.0;
  config.model.tie_embeddings = true;
  config.run.dir = "runs/with blank = and [bracket]";
  config.model.rope_scaling.factor = 32;
  std::ofstream{path_} << ini_text(options_of(config));
  Config again;
  parse_file(path_, options_of(again));
  EXPECT_EQ(ini_text(options_of(again)), ini_text(options_of(config)));
  EXPECT_EQ(again.optim.learning_rate, config.optim.learning_rate);
  EXPECT_EQ(again.run.dir, config.run.dir);
}

TEST_F(ParseFile, WhatItAcceptsAFileCanKeep) {
  for (std::string const dir : {"\va\f", "a\vb", "[x]", "a = b", "\xff"}) {
    Config config;
    std::ofstream{path_, std::ios::binary} << "[run]\ndir = " << dir << "\n";
    parse_file(path_, options_of(config));
    EXPECT_EQ(config.run.dir, dir);
    EXPECT_THAT(ini_text(options_of(config)), HasSubstr("dir = " + dir + "\n"));
  }
}

TEST(IniText, RefusesValuesThatAFileCannotKeep) {
  for (std::string const dir : {"a#b", " a", "a ", "a\nb", "\ta"}) {
    Config config;
    config.run.dir = dir;
    EXPECT_THAT(refusal([&] { ini_text(options_of(config)); }), HasSubstr("run.dir = " + dir));
  }
}

class ParseArguments : public testing::Test {
protected:
  std::vector<std::string> parse(std::vector<std::string> const& arguments, bool positional = false) {
    return parse_arguments(arguments, options_of(sample_), positional);
  }
  std::string refused(std::vector<std::string> const& arguments, bool positional = false) {
    return refusal([&] { parse(arguments, positional); });
  }
  Sample sample_;
};

TEST_F(ParseArguments, ReadsBothSpellingsAndFlags) {
  parse({"--model.layers", "5", "--run.dir=a=b", "--benchmark", "--model.tied=true"});
  EXPECT_EQ(sample_.layers, 5);
  EXPECT_EQ(sample_.dir, "a=b");
  EXPECT_TRUE(sample_.benchmark);
  EXPECT_TRUE(sample_.tied);
}

TEST_F(ParseArguments, OfAnOptionGivenTwiceTheLastCounts) {
  parse({"--model.layers", "5", "--model.layers=6"});
  EXPECT_EQ(sample_.layers, 6);
}

TEST_F(ParseArguments, RefusesUnknownOptionsAndPrefixes) {
  EXPECT_THAT(refused({"--model.layer", "5"}), HasSubstr("did you mean model.layers?"));
  EXPECT_THAT(refused({"--layers=5"}), HasSubstr("did you mean model.layers?"));
  EXPECT_THAT(refused({"--bench"}), HasSubstr("unknown option bench"));
}

TEST_F(ParseArguments, RefusesMissingAndSurplusValues) {
  EXPECT_THAT(refused({"--model.layers"}), HasSubstr("--model.layers: needs a value"));
  EXPECT_THAT(refused({"--model.layers", "--benchmark"}), HasSubstr("--model.layers: needs a value"));
  EXPECT_THAT(refused({"--benchmark=true"}), HasSubstr("takes no value"));
  EXPECT_THAT(refused({"--model.tied"}), HasSubstr("needs a value"));
}

TEST_F(ParseArguments, PassesNegativeNumbersOnToTheRule) {
  EXPECT_THAT(refused({"--model.layers", "-1"}), HasSubstr("model.layers = -1: must be at least 1"));
  EXPECT_THAT(refused({"--model.layers=-1"}), HasSubstr("model.layers = -1: must be at least 1"));
}

TEST_F(ParseArguments, TakesStrayWordsOnlyWhereAsked) {
  EXPECT_THAT(parse({"a", "--model.layers", "3", "b"}, true), ElementsAre("a", "b"));
  EXPECT_THAT(refused({"a"}), HasSubstr("a: not an option"));
  EXPECT_THAT(refused({"-x"}, true), HasSubstr("-x: not an option"));
  EXPECT_THAT(refused({"--"}, true), HasSubstr("--: not an option"));
}

TEST(FindArgument, TakesTheLastValueInEitherSpelling) {
  std::vector<std::string> const arguments{"--config", "a", "--x", "1", "--config=b"};
  EXPECT_EQ(find_argument(arguments, "config"), "b");
  EXPECT_EQ(find_argument(arguments, "x"), "1");
  EXPECT_EQ(find_argument(arguments, "y"), "");
}

TEST(FindArgument, DoesNotTakeAnOptionForAValue) {
  EXPECT_EQ(find_argument(std::vector<std::string>{"--config", "--x", "1"}, "config"), "");
  EXPECT_EQ(find_argument(std::vector<std::string>{"--config"}, "config"), "");
}

TEST(HelpText, NamesOptionsDefaultsAndChoicesInShortLines) {
  Config config;
  std::string const help = help_text(options_of(config));
  EXPECT_THAT(help, HasSubstr("--model.layers  [8]"));
  EXPECT_THAT(help, HasSubstr("--run.backend cpu|cuda  [cpu]"));
  EXPECT_THAT(help, HasSubstr("\n      number of transformer blocks, L\n"));
  std::istringstream lines{help};
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
}

}  // namespace
}  // namespace jreg::config
