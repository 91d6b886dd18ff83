#pragma once

#include <filesystem>
#include <memory>

#include "data/tokenizer.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace jreg::data {

/// A SentencePiece model (any kind that the library reads; its normalisation rules apply).
class SentencePieceTokenizer : public Tokenizer {
public:
  /// Throws UserError when the file is not there, otherwise as the constructor.
  static SentencePieceTokenizer from_file(std::filesystem::path const& file);
  /// `model`: the content of a .model file; `name`: what errors call it. Throws DataError for anything else and for a
  /// model without EOS.
  SentencePieceTokenizer(std::string const& model, std::string name);
  SentencePieceTokenizer(SentencePieceTokenizer&&) noexcept;
  ~SentencePieceTokenizer() override;

  std::string name() const override { return name_; }
  std::int64_t vocab() const override;
  std::int32_t eos() const override;
  bool needs_utf8() const override { return true; }
  std::size_t next_cut(std::string_view text, std::size_t from) const override;
  void encode_part(std::string_view part, bool begins_document, std::vector<std::int32_t>& ids) const override;
  std::string decode(std::span<std::int32_t const> ids) const override;
  std::int64_t text_bytes(std::int32_t id, bool begins_document) const override;

  /// The id that begins a text for some users of a model, and that of what it does not know; -1 where it has none.
  std::int32_t bos() const;
  std::int32_t unknown() const;
  std::string piece(std::int32_t id) const;
  /// Whether every text gets a space before it.
  bool adds_space() const;
  /// Whether some texts lose characters, or have them replaced, before they are split into pieces.
  bool normalises() const;

private:
  /// What becomes of the space at which a text is cut.
  enum class Joint { none, drop_space, keep_space };
  Joint find_joint() const;
  std::vector<int> encode_whole(std::string_view text) const;

  std::string name_;
  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  Joint joint_ = Joint::none;
  bool puts_space_ = false;  // before every text
};

/// Trains a BPE model with byte fallback, digits one by one and no normalisation (text comes back byte for byte), on
/// `lines` (well-formed UTF-8), and returns the content of its .model file; the same lines give the same model.
/// Throws UserError when the lines are too few, or their characters too many, for `vocab` pieces.
std::string train_sentencepiece(std::vector<std::string> const& lines, std::int64_t vocab);

/// train_sentencepiece takes no longer lines than this.
inline constexpr std::size_t longest_training_line = 4096;

}  // namespace jreg::data
