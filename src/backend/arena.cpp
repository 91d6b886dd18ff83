#include "backend/arena.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace jreg::backend {

Tensor Placer::tensor(DType dtype, std::int64_t rows, std::int64_t columns) {
  constexpr std::size_t alignment = 64;
  Tensor const placed{base_ == nullptr ? nullptr : base_ + used_, dtype, rows, columns};
  used_ += (static_cast<std::size_t>(placed.bytes()) + alignment - 1) / alignment * alignment;
  return placed;
}

void Placer::overlay(std::function<void()> const& one, std::function<void()> const& other) {
  std::size_t const begin = used_;
  one();
  std::size_t const end = std::exchange(used_, begin);
  other();
  used_ = std::max(used_, end);
}

Arena::Arena(Backend& backend, std::function<void(Placer&)> const& place, std::string const& what) {
  Placer measure{nullptr};
  place(measure);
  buffer_ = Buffer{backend, measure.used_, what};
  Placer hand_out{static_cast<char*>(buffer_.data())};
  place(hand_out);
  expect_equal(hand_out.used_, measure.used_, "an arena is laid out twice alike");
}

}  // namespace jreg::backend
