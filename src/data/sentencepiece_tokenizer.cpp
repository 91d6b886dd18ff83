#include "data/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "data/mapped_file.h"

namespace jreg::data {
namespace {

constexpr std::string_view meta_space = "\xe2\x96\x81";  // U+2581, which SentencePiece writes for a space
// Words up to this length are looked up among those that the part has had before: most of a text repeats itself.
constexpr std::size_t longest_repeated_word = 32;

/// "Internal: src/file.cc(1) [condition] What is wrong." -> "What is wrong."
std::string reason_of(sentencepiece::util::Status const& status) {
  std::string text = status.ToString();
  if (auto const bracket = text.rfind("] "); bracket != std::string::npos) text.erase(0, bracket + 2);
  return text.substr(0, text.find(" Increase vocab_size"));  // advice that names options of another program
}

/// Blanks and what normalisation rules may turn into blanks.
bool blank_before(std::string_view text, std::size_t at) {
  auto const head = text.substr(0, at);
  return head.empty() || static_cast<unsigned char>(head.back()) <= ' ' || head.ends_with("\xc2\xa0") ||
         head.ends_with("\xe3\x80\x80") || (at >= 3 && head[at - 3] == '\xe2');
}
bool blank_at(std::string_view text, std::size_t at) {
  auto const tail = text.substr(at);
  return tail.empty() || static_cast<unsigned char>(tail.front()) <= ' ' || tail.starts_with("\xc2\xa0") ||
         tail.starts_with("\xe3\x80\x80") || tail.front() == '\xe2';
}

class Lines : public sentencepiece::SentenceIterator {
public:
  explicit Lines(std::vector<std::string> const& lines) : lines_{lines} {}
  bool done() const override { return at_ == lines_.size(); }
  void Next() override { ++at_; }
  std::string const& value() const override { return lines_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

private:
  std::vector<std::string> const& lines_;
  std::size_t at_ = 0;
};

}  // namespace

SentencePieceTokenizer SentencePieceTokenizer::from_file(std::filesystem::path const& file) {
  MappedFile const content{file};
  auto const bytes = content.bytes();
  return {std::string{reinterpret_cast<char const*>(bytes.data()), bytes.size()}, file.string()};
}

SentencePieceTokenizer::SentencePieceTokenizer(std::string const& model, std::string name)
    : name_{std::move(name)}, processor_{std::make_unique<sentencepiece::SentencePieceProcessor>()} {
  if (auto const status = processor_->LoadFromSerializedProto(model); model.empty() || !status.ok()) {
    throw DataError("{}: is not a SentencePiece model", name_);
  }
  if (processor_->eos_id() < 0) {
    throw DataError("{}: the model has no end-of-sentence piece, which ends each document; train it with eos_id >= 0",
                    name_);
  }
  joint_ = find_joint();
  auto const word = encode_whole("one");
  puts_space_ = !word.empty() && processor_->IdToPiece(word.front()).starts_with(meta_space);
}

SentencePieceTokenizer::SentencePieceTokenizer(SentencePieceTokenizer&&) noexcept = default;
SentencePieceTokenizer::~SentencePieceTokenizer() = default;

std::int64_t SentencePieceTokenizer::vocab() const {
  return processor_->GetPieceSize();
}
std::int32_t SentencePieceTokenizer::eos() const {
  return processor_->eos_id();
}

std::int32_t SentencePieceTokenizer::bos() const {
  return processor_->bos_id();
}
std::int32_t SentencePieceTokenizer::unknown() const {
  return processor_->unk_id();
}
std::string SentencePieceTokenizer::piece(std::int32_t id) const {
  expect(id >= 0 && id < vocab(), "SentencePieceTokenizer::piece: the id lies in the vocabulary");
  return processor_->IdToPiece(id);
}

bool SentencePieceTokenizer::adds_space() const {
  auto const ids = encode_whole("x");
  return !ids.empty() && processor_->IdToPiece(ids.front()).starts_with(meta_space);
}

bool SentencePieceTokenizer::normalises() const {
  // The ligature fi, which compatibility rules take apart; and spaces, which may be joined or cut off.
  return encode_whole("\xEF\xAC\x81") == encode_whole("fi") || encode_whole("a  b") == encode_whole("a b") ||
         encode_whole("a ") == encode_whole("a");
}

std::vector<int> SentencePieceTokenizer::encode_whole(std::string_view text) const {
  std::vector<int> ids;
  auto const status = processor_->Encode(text, &ids);
  if (!status.ok()) throw DataError("{}: cannot encode a text: {}", name_, reason_of(status));
  return ids;
}

SentencePieceTokenizer::Joint SentencePieceTokenizer::find_joint() const {
  for (int id = 0; id < processor_->GetPieceSize(); ++id) {
    std::string_view piece = processor_->IdToPiece(id);
    while (piece.starts_with(meta_space)) piece.remove_prefix(meta_space.size());
    // A piece that reaches over a space ties the words on its sides together.
    if (piece.find(meta_space) != std::string_view::npos) return Joint::none;
  }
  auto const whole = encode_whole("one two");
  auto const joined = [&](std::string_view second) {
    auto ids = encode_whole("one");
    auto const more = encode_whole(second);
    ids.insert(ids.end(), more.begin(), more.end());
    return ids;
  };
  // Most models put a space before every text, so the one at the cut comes back by itself.
  if (joined("two") == whole) return Joint::drop_space;
  return joined(" two") == whole ? Joint::keep_space : Joint::none;
}

std::size_t SentencePieceTokenizer::next_cut(std::string_view text, std::size_t from) const {
  if (joint_ == Joint::none) return std::string_view::npos;
  // Before a single space between two words: no piece reaches over it.
  for (auto at = text.find(' ', from); at != std::string_view::npos; at = text.find(' ', at + 1)) {
    if (!blank_before(text, at) && !blank_at(text, at + 1)) return at;
  }
  return std::string_view::npos;
}

void SentencePieceTokenizer::encode_part(std::string_view part, bool begins_document,
                                         std::vector<std::int32_t>& ids) const {
  struct Range {
    std::size_t begin;
    std::size_t count;
  };
  std::unordered_map<std::string_view, Range> seen;  // word -> where in `ids` its tokens stand
  bool first = begins_document;
  while (!part.empty()) {
    std::size_t const cut = std::min(next_cut(part, 1), part.size());
    auto word = part.substr(0, cut);
    part.remove_prefix(cut);
    if (!first && joint_ == Joint::drop_space && word.starts_with(' ')) word.remove_prefix(1);
    first = false;
    if (auto const again = seen.find(word); again != seen.end()) {
      auto const [begin, count] = again->second;
      ids.resize(ids.size() + count);
      std::copy_n(ids.data() + begin, count, ids.data() + ids.size() - count);
      continue;
    }
    auto const more = encode_whole(word);
    if (word.size() <= longest_repeated_word) seen.emplace(word, Range{ids.size(), more.size()});
    ids.insert(ids.end(), more.begin(), more.end());
  }
}

std::string SentencePieceTokenizer::decode(std::span<std::int32_t const> ids) const {
  for (std::int32_t const id : ids) {
    expect(id >= 0 && id < vocab(), "SentencePieceTokenizer::decode: the id lies in the vocabulary");
  }
  std::string text;
  auto const status = processor_->Decode(std::vector<int>(ids.begin(), ids.end()), &text);
  if (!status.ok()) throw DataError("{}: cannot decode: {}", name_, reason_of(status));
  return text;
}

std::int64_t SentencePieceTokenizer::text_bytes(std::int32_t id, bool begins_document) const {
  expect(id >= 0 && id < vocab(), "SentencePieceTokenizer::text_bytes: the id lies in the vocabulary");
  if (processor_->IsControl(id) || processor_->IsUnused(id)) return 0;
  if (processor_->IsByte(id) || processor_->IsUnknown(id)) return 1;
  std::string_view const piece = processor_->IdToPiece(id);
  std::int64_t bytes = std::ssize(piece);
  for (auto at = piece.find(meta_space); at != piece.npos; at = piece.find(meta_space, at + meta_space.size())) {
    bytes -= std::ssize(meta_space) - 1;
  }
  return begins_document && puts_space_ && piece.starts_with(meta_space) ? bytes - 1 : bytes;
}

std::string train_sentencepiece(std::vector<std::string> const& lines, std::int64_t vocab) {
  std::unordered_map<std::string, std::string> const settings{
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(vocab)},
      {"character_coverage", "0.9995"},
      {"byte_fallback", "true"},
      {"split_digits", "true"},
      {"allow_whitespace_only_pieces", "true"},
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"max_sentence_length", std::to_string(longest_training_line)},
      {"num_threads", "1"},  // written into the model, and most of the training is serial anyway
      {"minloglevel", "2"},  // its progress and hints are not ours to print
  };
  Lines iterator{lines};
  std::string model;
  auto const status = sentencepiece::SentencePieceTrainer::Train(settings, &iterator, &model);
  if (!status.ok()) {
    throw UserError("a vocabulary of {} cannot be trained on this text: {} (choose another --train-vocab or more text)",
                    vocab, reason_of(status));
  }
  return model;
}

}  // namespace jreg::data
