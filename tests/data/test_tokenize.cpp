#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "commands/tokenize.h"
#include "data/scratch.h"
#include "data/token_file.h"
#include "data/tokenizer.h"

namespace jreg::commands {
namespace {

using data::message_of;
using data::read_text;
using data::Scratch;
using data::TokenFile;
using testing::HasSubstr;

std::vector<std::int32_t> document(TokenFile const& file, std::int64_t i, std::int64_t vocab = 257) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(file.document_begin(i + 1) - file.document_begin(i)));
  file.read(file.document_begin(i), ids, vocab);
  return ids;
}

/// Many small files of different text.
std::string write_corpus(Scratch const& folder, int files) {
  for (int i = 0; i < files; ++i) {
    std::string text;
    for (int k = 0; k < 200; ++k) text += "word" + std::to_string(i * k % 97) + (k % 11 == 0 ? "\n" : " ");
    folder.write("text/" + std::to_string(1000 + i) + ".txt", text);
  }
  return folder / "text";
}

TEST(Tokenize, WritesOneDocumentPerFileWithEos) {
  Scratch const folder;
  std::string const a = folder.write("a.txt", "ab");
  std::string const b = folder.write("b.txt", "c");
  EXPECT_EQ(tokenize({"--input", a, "--output", folder / "out", b}), 0);
  TokenFile const file{folder / "out"};
  ASSERT_EQ(file.documents(), 2);
  EXPECT_EQ(document(file, 0), (std::vector<std::int32_t>{'a', 'b', 256}));
  EXPECT_EQ(document(file, 1), (std::vector<std::int32_t>{'c', 256}));
  auto const sidecar = nlohmann::json::parse(read_text(folder / "out.json"));
  EXPECT_EQ(sidecar["tokenizer"], "byte");
  EXPECT_EQ(sidecar["files"][0]["tokens"], 5);
  EXPECT_EQ(sidecar["files"][0]["documents"], 2);
}

TEST(Tokenize, ResultDoesNotDependOnThreads) {
  Scratch const folder;
  std::string const corpus = write_corpus(folder, 12);
  for (std::string const threads : {"1", "2", "5"}) {
    tokenize(
        {corpus, "--output", folder / threads, "--train-vocab", "275", "--validation", "0.3", "--threads", threads});
    for (std::string const end : {".model", "_train.bin", "_train.idx", "_validation.bin", "_validation.idx"}) {
      EXPECT_FALSE(read_text((folder / threads) + end).empty()) << end;
      EXPECT_TRUE(read_text((folder / threads) + end) == read_text((folder / "1") + end)) << threads << end;
    }
  }
}

TEST(Tokenize, TrainedModelDecodesTheTextAgain) {
  Scratch const folder;
  std::string const corpus = write_corpus(folder, 3);
  tokenize({corpus, "--output", folder / "out", "--train-vocab", "275"});
  auto const tokenizer = data::make_tokenizer(folder / "out.model");
  TokenFile const file{folder / "out"};
  ASSERT_EQ(file.documents(), 3);
  auto const ids = document(file, 1, tokenizer->vocab());
  EXPECT_EQ(ids.back(), tokenizer->eos());
  EXPECT_EQ(tokenizer->decode(ids), read_text(corpus + "/1001.txt"));
  EXPECT_LT(std::ssize(ids), std::ssize(read_text(corpus + "/1001.txt")));

  // the written model gives the same tokens
  tokenize({corpus, "--output", folder / "again", "--tokenizer", folder / "out.model"});
  EXPECT_TRUE(read_text(folder / "out.bin") == read_text(folder / "again.bin"));
}

TEST(Tokenize, SplitsByDocumentAndLosesNone) {
  Scratch const folder;
  std::string const corpus = write_corpus(folder, 60);
  tokenize({corpus, "--output", folder / "all"});
  tokenize({corpus, "--output", folder / "out", "--validation", "0.25", "--seed", "4"});
  tokenize({corpus, "--output", folder / "other", "--validation", "0.25", "--seed", "5"});
  TokenFile const all{folder / "all"};
  TokenFile const train{folder / "out_train"};
  TokenFile const validation{folder / "out_validation"};
  EXPECT_GT(validation.documents(), 5);
  EXPECT_LT(validation.documents(), 30);
  ASSERT_EQ(train.documents() + validation.documents(), 60);
  std::int64_t t = 0;
  std::int64_t v = 0;
  for (std::int64_t i = 0; i < 60; ++i) {  // each document of the whole is the next one of either part
    auto const ids = document(all, i);
    if (t < train.documents() && document(train, t) == ids) {
      ++t;
    } else {
      ASSERT_LT(v, validation.documents());
      EXPECT_EQ(document(validation, v++), ids);
    }
  }
  EXPECT_FALSE(read_text(folder / "out_validation.bin") == read_text(folder / "other_validation.bin"));
}

TEST(Tokenize, KeepsExistingFilesUnlessToldToOverwrite) {
  Scratch const folder;
  std::string const a = folder.write("a.txt", "first");
  std::string const b = folder.write("b.txt", "second");
  tokenize({a, "--output", folder / "out"});
  EXPECT_THAT(message_of<UserError>([&] { tokenize({b, "--output", folder / "out"}); }), HasSubstr("--overwrite"));
  EXPECT_EQ(TokenFile{folder / "out"}.tokens(), 6);
  tokenize({b, "--output", folder / "out", "--overwrite"});
  EXPECT_EQ(TokenFile{folder / "out"}.tokens(), 7);
}

TEST(Tokenize, DoesNotReadItsOwnOutput) {
  Scratch const folder;
  folder.write("text/a.txt", "some text");
  for (int i = 0; i < 2; ++i) tokenize({folder / "text", "--output", folder / "text/out", "--overwrite"});
  EXPECT_EQ(TokenFile{folder / "text/out"}.documents(), 1);
}

TEST(Tokenize, LeavesNothingBehindWhenTheTextIsBad) {
  Scratch const folder;
  std::string const corpus = write_corpus(folder, 3);
  tokenize({corpus, "--output", folder / "m/model", "--train-vocab", "275"});
  folder.write("text/2000.txt", "broken \xff text");
  std::filesystem::create_directory(folder / "out");
  std::string const text = message_of<DataError>([&] {
    tokenize({corpus, "--output", folder / "out/x", "--tokenizer", folder / "m/model.model", "--validation", "0.5"});
  });
  EXPECT_THAT(text, HasSubstr("2000.txt: byte 7 is not UTF-8"));
  EXPECT_TRUE(std::filesystem::is_empty(folder / "out"));
  tokenize({corpus, "--output", folder / "out/x"});  // bytes take any text
  EXPECT_EQ(TokenFile{folder / "out/x"}.documents(), 4);
}

TEST(Tokenize, RefusesWrongOptionsByName) {
  Scratch const folder;
  std::string const a = folder.write("a.txt", "text");
  std::string const out = folder / "out";
  auto const refusal = [&](std::vector<std::string> const& arguments) {
    return message_of<UserError>([&] { tokenize(arguments); });
  };
  EXPECT_THAT(refusal({"--output", out}), HasSubstr("--input"));
  EXPECT_THAT(refusal({a}), HasSubstr("--output"));
  EXPECT_THAT(refusal({a, "--output", folder / "x/"}), HasSubstr("needs a name behind the folder"));
  EXPECT_THAT(refusal({a, "--output", out, "--train-vocab", "300", "--tokenizer", "x.model"}), HasSubstr("choose one"));
  EXPECT_THAT(refusal({a, "--output", out, "--jsonl-field", "text", "--document-bytes", "5"}),
              HasSubstr("--document-bytes"));
  EXPECT_THAT(refusal({a, "--output", out, "--validation", "1"}), HasSubstr("validation = 1"));
  EXPECT_THAT(refusal({a, "--output", out, "--validation", "nan"}), HasSubstr("validation = nan"));
  EXPECT_THAT(refusal({a, "--output", out, "--threads", "-1"}), HasSubstr("threads = -1"));
  EXPECT_THAT(refusal({a, "--output", out, "--validation", "0.5"}), HasSubstr("none of the 1 documents"));
  EXPECT_THAT(refusal({a, "--output", out, "--inptu", a}), HasSubstr("did you mean input?"));
  EXPECT_THAT(refusal({folder / "none", "--output", out}), HasSubstr("none: no such file"));
  EXPECT_EQ(folder.entries(), 1);
}

TEST(Tokenize, RefusesAnEmptyCorpus) {
  Scratch const folder;
  std::string const a = folder.write("a.txt", "");
  EXPECT_THAT(message_of<DataError>([&] { tokenize({a, "--output", folder / "out"}); }), HasSubstr("holds no text"));
  EXPECT_THAT(message_of<UserError>([&] {
                tokenize({a, "--output", folder / "out", "--train-vocab", "300"});
              }),
              HasSubstr("no text to train a tokenizer on"));
  EXPECT_EQ(folder.entries(), 1);
}

TEST(Tokenize, HelpNamesEveryOption) {
  TokenizeOptions options;
  std::string const help = tokenize_help();
  for (auto const& option : config::options_of(options)) EXPECT_THAT(help, HasSubstr("--" + option.name));
}

}  // namespace
}  // namespace jreg::commands
