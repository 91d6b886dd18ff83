#!/usr/bin/env bash
# No shell script gives shellcheck anything to say.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if ! command -v shellcheck > /dev/null; then
  echo "skipped: shellcheck is not installed"
  [[ ${CI:-} == true ]] && exit 1
  exit 77
fi
mapfile -t scripts < <(find launch slurm tools tests -name '*.sh' 2> /dev/null)
shellcheck --external-sources --source-path=SCRIPTDIR "${scripts[@]}" .ci/run
