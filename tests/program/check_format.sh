#!/usr/bin/env bash
# The sources are formatted as .clang-format says. Another version of clang-format would break lines elsewhere.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if ! command -v clang-format-14 > /dev/null; then
  echo "skipped: clang-format-14 is not installed"
  [[ ${CI:-} == true ]] && exit 1
  exit 77
fi
find src tests \( -name '*.h' -o -name '*.cpp' \) -print0 | xargs -0 clang-format-14 --dry-run -Werror
