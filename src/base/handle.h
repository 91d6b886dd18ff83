#pragma once

#include <utility>

namespace jreg {

/// The one owner of a C handle, move-only.
/// Traits: `using Raw`, `static Raw null()`, `static void close(Raw) noexcept`.
template <class Traits> class UniqueHandle {
public:
  using Raw = typename Traits::Raw;
  UniqueHandle() = default;
  explicit UniqueHandle(Raw raw) noexcept : raw_{raw} {}
  UniqueHandle(UniqueHandle&& from) noexcept : raw_{std::exchange(from.raw_, Traits::null())} {}
  UniqueHandle& operator=(UniqueHandle from) noexcept {
    std::swap(raw_, from.raw_);
    return *this;
  }
  ~UniqueHandle() {
    if (raw_ != Traits::null()) Traits::close(raw_);
  }

  Raw get() const noexcept { return raw_; }
  /// Gives the handle away; the caller closes it.
  Raw release() noexcept { return std::exchange(raw_, Traits::null()); }
  explicit operator bool() const noexcept { return raw_ != Traits::null(); }

private:
  Raw raw_ = Traits::null();
};

}  // namespace jreg
