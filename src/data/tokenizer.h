#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace jreg::data {

/// Text <-> token ids. All calls are const and may be made from several threads at once.
class Tokenizer {
public:
  virtual ~Tokenizer() = default;

  /// What a reader of a file's description recognises it by.
  virtual std::string name() const = 0;
  /// Ids are in [0, vocab()).
  virtual std::int64_t vocab() const = 0;
  /// The id that ends a document.
  virtual std::int32_t eos() const = 0;
  /// Text must be well-formed UTF-8.
  virtual bool needs_utf8() const = 0;

  /// The first position >= `from`, > 0 and < text.size() where `text` may be cut in two parts that give the same ids as
  /// the whole; std::string_view::npos when there is none.
  virtual std::size_t next_cut(std::string_view text, std::size_t from) const = 0;
  /// Appends the ids of a part of a document (without EOS); `begins_document`: it is the first part.
  virtual void encode_part(std::string_view part, bool begins_document, std::vector<std::int32_t>& ids) const = 0;
  /// Ids of a whole document, without EOS.
  std::vector<std::int32_t> encode(std::string_view text) const;
  /// The text of these ids; control tokens such as EOS give none.
  virtual std::string decode(std::span<std::int32_t const> ids) const = 0;
  /// Bytes of text that an id stands for, 0 for control tokens; `begins_document`: it is the first of one, where a
  /// space that a model puts before every text is none of the text's. An id for unknown text counts as one byte.
  virtual std::int64_t text_bytes(std::int32_t id, bool begins_document) const = 0;
};

/// One token per byte, and EOS = 256.
class ByteTokenizer : public Tokenizer {
public:
  std::string name() const override { return "byte"; }
  std::int64_t vocab() const override { return 257; }
  std::int32_t eos() const override { return 256; }
  bool needs_utf8() const override { return false; }
  std::size_t next_cut(std::string_view text, std::size_t from) const override;
  void encode_part(std::string_view part, bool begins_document, std::vector<std::int32_t>& ids) const override;
  std::string decode(std::span<std::int32_t const> ids) const override;
  std::int64_t text_bytes(std::int32_t id, bool begins_document) const override;
};

/// "byte", or the path of a SentencePiece model. Throws UserError when there is no such file, DataError when it is not
/// a model with an EOS.
std::unique_ptr<Tokenizer> make_tokenizer(std::string const& name);

}  // namespace jreg::data
