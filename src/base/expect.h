#pragma once

#include <source_location>

namespace jreg {

/// Throws InternalError.
[[noreturn]] void broken_invariant(char const* what, std::source_location where);

/// Checks an invariant. `what` names it and its values.
inline void expect(bool holds, char const* what, std::source_location where = std::source_location::current()) {
  if (!holds) broken_invariant(what, where);
}

}  // namespace jreg
