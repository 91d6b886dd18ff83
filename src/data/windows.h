#pragma once

#include <cstdint>

namespace jreg::data {

/// Windows of a token stream in file order, to look at without training. A window has `length` inputs, each of which
/// predicts the token that follows it; some predictions may only be there to give the others their context.
class Windows {
public:
  /// Side by side, whole ones only: every prediction counts. Throws UserError when `tokens` do not fill one window and
  /// its next token.
  Windows(std::int64_t tokens, std::int64_t length);
  /// Each begins `stride` tokens behind the one before, and only those predictions count that the one before does not
  /// have: the last `stride`. The last window ends with the stream and may be shorter, so that every token but the
  /// first is predicted once, each from at least length - stride tokens, or all there are. 0 < stride <= length.
  static Windows sliding(std::int64_t tokens, std::int64_t length, std::int64_t stride);

  std::int64_t length() const noexcept { return length_; }
  std::int64_t count() const noexcept { return count_; }

  struct Window {
    std::int64_t offset;   // in the stream, of the first input
    std::int64_t inputs;   // at most length(); the token behind them is in the stream
    std::int64_t counted;  // the first input whose prediction counts
  };
  /// Window `index`, in [0, count()).
  Window at(std::int64_t index) const;

  /// Predictions that count in the first `windows` windows: those of tokens 1, 2, ... of the stream.
  std::int64_t counted(std::int64_t windows) const;

private:
  Windows(std::int64_t tokens, std::int64_t length, std::int64_t stride, std::int64_t count);

  std::int64_t tokens_;
  std::int64_t length_;
  std::int64_t stride_;
  std::int64_t count_;
};

}  // namespace jreg::data
