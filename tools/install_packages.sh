#!/usr/bin/env bash
# Installs the packages of tools/packages.txt that are missing; of the sections named, or of all.
#   tools/install_packages.sh [build] [run] [report] [corpus] [benchmark] [bundle] [test]
# What only tests need and this distribution does not have is left out: those tests are skipped.
set -euo pipefail

list="$(dirname "${BASH_SOURCE[0]}")/packages.txt"
known=$(sed -n 's/^# \[\([a-z]*\)\].*/\1/p' "${list}" | tr '\n' ' ')
sections="${*:-${known}}"
for section in ${sections}; do
  if [[ " ${known}" != *" ${section} "* ]]; then
    echo "install_packages.sh: no section ${section} in ${list}; there are ${known}" >&2
    exit 2
  fi
done

if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
  echo "install_packages.sh: this is no Debian or Ubuntu; install what ${list} names by hand" >&2
  exit 0
fi

missing=()
declare -A section_of
while read -r package section; do
  section_of[${package}]=${section}
  status=$(dpkg-query --show --showformat='${db:Status-Status}' "${package}" 2> /dev/null || true)
  [[ ${status} == installed* ]] || missing+=("${package}")
done < <(awk -v wanted=" ${sections} " '
  /^# \[/ { section = $2; gsub(/[][]/, "", section); next }
  /^#/ || NF == 0 { next }
  index(wanted, " " section " ") { print $1, section }' "${list}")
((${#missing[@]} == 0)) && exit 0

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo > /dev/null; then
    echo "install_packages.sh: neither root nor sudo; ask an administrator for: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update --quiet=2
install=()
for package in "${missing[@]}"; do
  if [[ ${section_of[${package}]} != test ]] || apt-cache show "${package}" > /dev/null 2>&1; then
    install+=("${package}")
  else
    echo "install_packages.sh: ${package} is not to be had here; tests that need it are skipped" >&2
  fi
done
((${#install[@]} == 0)) && exit 0
echo "Installing ${install[*]}"
"${as_root[@]}" apt-get install --quiet=2 --yes --no-install-recommends "${install[@]}" < /dev/null > /dev/null
