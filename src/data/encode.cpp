#include "data/encode.h"

#include <fmt/format.h>

#include <atomic>
#include <exception>
#include <thread>

#include "base/error.h"
#include "base/random.h"
#include "data/sentencepiece_tokenizer.h"
#include "data/utf8.h"

namespace jreg::data {
namespace {

constexpr std::size_t batch_bytes = std::size_t{4} << 20;  // per thread
constexpr std::size_t batch_parts = std::size_t{1} << 14;  // per thread

void check_utf8(EncodeJob const& job, CorpusPart const& part) {
  std::size_t const at = first_invalid_utf8(part.text);
  if (at == std::string_view::npos) return;
  throw DataError("{}: byte {} is not UTF-8; convert the text, or use --tokenizer byte", job.files[part.file].string(),
                  part.offset + static_cast<std::int64_t>(at));
}

/// Replaces a JSON line by the text in it; checks plain text.
void resolve_text(EncodeJob const& job, bool utf8, CorpusPart& part) {
  if (!job.layout.jsonl_field.empty()) {
    auto const place = fmt::format("{}:{}", job.files[part.file].string(), part.line);
    part.text = json_text(part.text, job.layout.jsonl_field, place);
  } else if (utf8) {
    check_utf8(job, part);
  }
}

struct Slot {
  CorpusPart part;
  EncodedPart encoded;
  std::exception_ptr error;
};

void encode_slot(EncodeJob const& job, Tokenizer const& tokenizer, Slot& slot) {
  EncodedPart& out = slot.encoded;
  out.source_bytes = std::ssize(slot.part.text);
  resolve_text(job, tokenizer.needs_utf8(), slot.part);
  out.text_bytes = std::ssize(slot.part.text);
  out.begins_document = slot.part.begins_document;
  out.ends_document = slot.part.ends_document;
  tokenizer.encode_part(slot.part.text, out.begins_document, out.tokens);
  if (out.ends_document) out.tokens.push_back(tokenizer.eos());
}

void encode_batch(EncodeJob const& job, Tokenizer const& tokenizer, std::vector<Slot>& batch) {
  std::atomic<std::size_t> next = 0;
  auto const work = [&] {
    for (std::size_t i = next++; i < batch.size(); i = next++) {
      try {
        encode_slot(job, tokenizer, batch[i]);
      } catch (...) {
        batch[i].error = std::current_exception();
      }
    }
  };
  std::vector<std::jthread> helpers;
  for (int i = 1; i < job.threads && std::cmp_less(i, batch.size()); ++i) helpers.emplace_back(work);
  work();
}  // joins

}  // namespace

void encode_corpus(EncodeJob const& job, Tokenizer const& tokenizer,
                   std::function<void(EncodedPart const&)> const& sink) {
  auto const threads = static_cast<std::size_t>(job.threads);
  CorpusReader reader{job.files, job.layout,
                      [&tokenizer](std::string_view text, std::size_t from) { return tokenizer.next_cut(text, from); }};
  for (bool more = true; more;) {
    std::vector<Slot> batch;
    std::exception_ptr read_error;  // comes after the errors of the text before it
    try {
      std::size_t bytes = 0;
      while (bytes < batch_bytes * threads && batch.size() < batch_parts * threads) {
        Slot slot;
        more = reader.next(slot.part);
        if (!more) break;
        bytes += slot.part.text.size();
        batch.push_back(std::move(slot));
      }
    } catch (...) {
      read_error = std::current_exception();
    }
    encode_batch(job, tokenizer, batch);
    for (Slot const& slot : batch) {
      if (slot.error) std::rethrow_exception(slot.error);
      if (slot.encoded.text_bytes > 0) sink(slot.encoded);
    }
    if (read_error) std::rethrow_exception(read_error);
  }
}

std::vector<std::string> sample_lines(EncodeJob const& job, std::int64_t most_bytes, std::int64_t seed) {
  double total = 0;
  for (auto const& file : job.files) {
    if (!std::filesystem::is_regular_file(file)) {
      throw UserError("{}: --train-vocab reads its input twice and needs a regular file", file.string());
    }
    total += static_cast<double>(std::filesystem::file_size(file));
  }
  double const share = static_cast<double>(most_bytes) / std::max(total, 1.0);
  RandomStream const chosen{static_cast<std::uint64_t>(seed), "tokenizer: lines to train on"};
  std::uint64_t number = 0;
  std::vector<std::string> lines;
  auto const add = [&](std::string_view line) {
    if (line.find_first_not_of(" \t\r") == std::string_view::npos || chosen.uniform(number++) >= share) return;
    while (!line.empty()) {
      auto const piece = line.substr(0, utf8_boundary(line, longest_training_line));
      lines.emplace_back(piece);
      line.remove_prefix(piece.size());
    }
  };
  CorpusReader reader{job.files, job.layout, [](std::string_view text, std::size_t from) {
                        auto const end = text.find('\n', from);
                        return end == std::string_view::npos ? end : end + 1;
                      }};
  CorpusPart part;
  while (reader.next(part)) {
    resolve_text(job, true, part);
    std::string_view text{part.text};
    while (!text.empty()) {
      auto const line = text.substr(0, text.find('\n'));
      text.remove_prefix(std::min(line.size() + 1, text.size()));
      add(line);
    }
  }
  return lines;
}

}  // namespace jreg::data
