#pragma once

namespace jreg {

/// "0.1.0"
char const* version() noexcept;
/// Git commit of the sources, "-dirty" behind it where they were changed; "unknown" outside a checkout.
char const* commit() noexcept;

}  // namespace jreg
