#include "data/windows.h"

#include <algorithm>

#include "base/error.h"

namespace jreg::data {

Windows::Windows(std::int64_t tokens, std::int64_t length) : Windows{tokens, length, length, (tokens - 1) / length} {}

Windows Windows::sliding(std::int64_t tokens, std::int64_t length, std::int64_t stride) {
  expect(stride > 0 && stride <= length, "a stride is positive and not beyond the window");
  std::int64_t const behind_first = std::max<std::int64_t>(0, tokens - 1 - length);
  return Windows{tokens, length, stride, 1 + (behind_first + stride - 1) / stride};
}

Windows::Windows(std::int64_t tokens, std::int64_t length, std::int64_t stride, std::int64_t count)
    : tokens_{tokens}, length_{length}, stride_{stride}, count_{count} {
  if (tokens - 1 < length) {
    throw UserError(
        "{} tokens do not fill one sequence of train.sequence_length = {} and its next token; use more text or shorter "
        "sequences",
        tokens, length);
  }
}

Windows::Window Windows::at(std::int64_t index) const {
  expect(index >= 0 && index < count_, "the window is there");
  std::int64_t const offset = index * stride_;
  return {offset, std::min(length_, tokens_ - 1 - offset), index == 0 ? 0 : length_ - stride_};
}

std::int64_t Windows::counted(std::int64_t windows) const {
  if (windows == 0) return 0;
  Window const last = at(windows - 1);
  return last.offset + last.inputs;
}

}  // namespace jreg::data
