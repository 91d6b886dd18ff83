#include "base/version.h"

#include "base/version_values.h"

namespace jreg {

char const* version() noexcept {
  return JREG_VERSION;
}
char const* commit() noexcept {
  return JREG_COMMIT;
}

}  // namespace jreg
