#!/usr/bin/env bash
# Packs what a GPU machine without a network lacks to build jreg into one file: MPI, HDF5, Boost.Program_options, fmt,
# nlohmann-json, oneDNN, SentencePiece, xxhash, GoogleTest and pkg-config, from this machine's Debian packages, with the
# libraries that those need. C++, CMake, Ninja, CUDA and Python with numpy and h5py are taken to be there.
#   tools/gpu_bundle.sh [--output FILE] [--limit MIB]       build/gpu_bundle.tar.gz, at most 40 MiB
# There, in any folder:   tar -xf gpu_bundle.tar.gz && source gpu_bundle/env.sh    (tools/gpu_check.sh does)
# The other machine's C library must be as new as this one's: Debian 12, Ubuntu 24.04 or later.
set -euo pipefail
# shellcheck source=../launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../launch/common.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

output=build/gpu_bundle.tar.gz limit=40
while (($# > 0)); do
  case $1 in
    -h | --help)
      sed -n '2,7s/^# \{0,1\}//p' "$0"
      exit
      ;;
    --output | --limit)
      (($# > 1)) || die "$1 needs a value"
      declare "${1#--}=$2"
      shift 2
      ;;
    *) die "unknown option $1; --help tells the known ones" ;;
  esac
done
[[ ${limit} =~ ^[1-9][0-9]*$ ]] || die "--limit ${limit}: give a number of MiB"
command -v dpkg-query > /dev/null || die "takes the files of Debian packages, and this is no Debian"
for tool in patchelf readelf g++; do
  command -v "${tool}" > /dev/null || die "no ${tool}; tools/install_packages.sh build bundle installs it"
done
triple=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2> /dev/null || gcc -print-multiarch)

folder=$(mktemp -d)
trap 'rm -rf "${folder}"' EXIT
root=${folder}/gpu_bundle
lib=${root}/lib/${triple}
mkdir -p "${root}/bin" "${lib}"

packages=(libopenmpi-dev libopenmpi3 openmpi-bin openmpi-common libhdf5-dev libhdf5-103-1 libhdf5-hl-100 libfmt-dev
  libfmt9 nlohmann-json3-dev libdnnl-dev libdnnl2 libsentencepiece-dev libsentencepiece0 libxxhash-dev libxxhash0
  libgtest-dev libgmock-dev libboost-program-options1.74-dev libboost-program-options1.74.0 libpmix2 pkgconf-bin pkg-config)

# Files of the packages: not for other languages, no plug-ins for networks and batch systems, no static libraries.
files() {
  local package
  for package in "${packages[@]}"; do
    dpkg-query --listfiles "${package}" 2> /dev/null || die "package ${package} is not installed; \
tools/install_packages.sh build run test installs what is needed"
  done
  # What the packages leave to dpkg's alternatives.
  printf '%s\n' /usr/bin/{mpicc,mpicxx,mpirun,mpiexec} "/usr/lib/${triple}/libmpi.so" "/usr/include/${triple}/mpi"
  # CMake's files of Boost name these; its headers come below.
  find "/usr/lib/${triple}/cmake" -path '*/Boost*' -o -path '*/BoostDetectToolset*' -o -path '*/boost_headers*'
}
unwanted='/(share/(doc|man|lintian|bash-completion|perl5|vim|emacs|aclocal)|java|fortran)/|\.(mod|java|jar|f90|inc|settings)$'
unwanted+='|(fortran|_cpp|mpi_cxx|mpifh|usempi|java|oshmem|ompitrace|verbs|_ofi|_ucx|monitoring|psm2?'
unwanted+='|openib|flux|jsm|gridengine|memheap|spml|sshmem|scoll|atomic_basic)[^/]*\.(so|a|la)[^/]*$'
unwanted+='|bin/(osh|shmem|aggregate|profile2mat|mpijava)|/pmix2/include'

copy() {  # a path under /usr or /etc, or what stands for it there
  local path=$1 real target
  if [[ ! -e ${path} || -d ${path} ]]; then return; fi
  real=$(realpath "${path}")
  target=${root}${real#/usr}
  if [[ ! -e ${target} ]]; then
    mkdir -p "$(dirname "${target}")"
    cp "${real}" "${target}"
  fi
  path=${root}/${path#/usr/}
  if [[ ! -e ${path} ]]; then
    mkdir -p "$(dirname "${path}")"
    ln -s "$(realpath --relative-to "$(dirname "${path}")" "${target}")" "${path}"
  fi
}
while read -r path; do
  if [[ ${path} =~ ${unwanted} ]]; then continue; fi
  if [[ ${path} == *.a && ${path} != */libg*.a ]]; then continue; fi
  copy "${path}"
done < <(files | sort -u)

# Of Boost's headers those that ours reach.
mkdir -p "${root}/include"
g++ -std=c++20 -M -xc++ - <<< '#include <boost/program_options.hpp>
#include <boost/version.hpp>' | tr ' ' '\n' | grep '^/usr/include/boost/' | while read -r path; do copy "${path}"; done
[[ -f ${root}/include/boost/program_options.hpp ]] || die "no headers of Boost; install libboost-program-options-dev"

# Libraries that those need, but for C's and C++'s own.
own='^(libc|libm|libdl|librt|libutil|libresolv|libpthread|libstdc\+\+|libgcc_s|libgomp|ld-linux-x86-64|linux-vdso)\.'
while read -r name path; do
  if [[ ! ${name} =~ ${own} && ! -e ${lib}/${name} ]]; then cp --dereference "${path}" "${lib}/${name}"; fi
done < <(find "${root}" -type f \( -name '*.so*' -o -path '*/bin/*' \) -exec ldd {} + 2> /dev/null \
  | awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }' | sort -u)

# Each finds the others from where it lies, so that no LD_LIBRARY_PATH hands old libraries to other programs.
# shellcheck disable=SC2016  # the loader expands $ORIGIN
find "${root}" -type f \( -name '*.so*' -o -path '*/bin/*' \) | while read -r file; do
  if [[ $(head --bytes 4 "${file}" | tr -d '\0') != $'\x7fELF' ]]; then continue; fi
  place='$ORIGIN:$ORIGIN/..:$ORIGIN/../..:$ORIGIN/../../..'
  if [[ ${file} == */bin/* ]]; then place=\$ORIGIN/../lib/${triple}; fi
  patchelf --set-rpath "${place}" "${file}"
  strip --strip-unneeded "${file}" 2> /dev/null || true
done
# A program is linked with folder/libNAME.so and looks in that folder for the name that the library gives itself.
find "${lib}"/*/ -name 'lib*.so' | while read -r file; do
  name=$(readelf --dynamic "${file}" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
  if [[ -n ${name} && ! -e $(dirname "${file}")/${name} ]]; then
    ln -s "$(realpath --relative-to "$(dirname "${file}")" "${file}")" "$(dirname "${file}")/${name}"
  fi
done
if [[ ! -e ${lib}/libpmix.so.2 ]]; then ln -s pmix2/lib/libpmix.so.2 "${lib}/libpmix.so.2"; fi

# pkg-config's files name /usr; CMake's find their way from where they lie.
find "${root}" -type f -name '*.pc' | while read -r file; do
  above=$(realpath --relative-to "$(dirname "${file}")" "${root}")
  sed -i "s|^prefix=.*|prefix=\${pcfiledir}/${above}|; s|=/usr/|=\${prefix}/|" "${file}"
done
newest=$(find "${root}" -type f \( -name '*.so*' -o -path '*/bin/*' \) -exec readelf --version-info {} + 2> /dev/null \
  | grep -oE '\bGLIBC_2\.[0-9]+' | sort -uV | tail -n 1)
cat > "${root}/env.sh" << END
# shellcheck shell=bash
# To be sourced: lets CMake, pkg-config and mpirun find what lies beside this file.
jreg_bundle=\$(cd "\$(dirname "\${BASH_SOURCE[0]}")" && pwd)
jreg_library=\${jreg_bundle}/lib/${triple}
jreg_needs=${newest#GLIBC_}
if [[ \$(printf '%s\n' "\${jreg_needs}" "\$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)" | sort -V | head -n 1) != "\${jreg_needs}" ]]; then
  echo "gpu_bundle: made for a C library \${jreg_needs} or later; this machine has \$(getconf GNU_LIBC_VERSION)" >&2
  return 2
fi
END
cat >> "${root}/env.sh" << 'END'
export PATH=${jreg_bundle}/bin${PATH:+:${PATH}}
export CMAKE_PREFIX_PATH=${jreg_bundle}${CMAKE_PREFIX_PATH:+:${CMAKE_PREFIX_PATH}}
export CMAKE_INCLUDE_PATH=${jreg_bundle}/include/hdf5/serial CMAKE_LIBRARY_PATH=${jreg_library}/hdf5/serial:${jreg_library}
export PKG_CONFIG_PATH=${jreg_library}/pkgconfig:${jreg_bundle}/share/pkgconfig${PKG_CONFIG_PATH:+:${PKG_CONFIG_PATH}}
export PKG_CONFIG=${jreg_bundle}/bin/pkg-config
# Open MPI and PMIx were configured for /usr.
export OPAL_PREFIX=${jreg_bundle} OPAL_BINDIR=${jreg_bundle}/bin OPAL_SYSCONFDIR=${jreg_bundle}/etc/openmpi
export OPAL_LIBDIR=${jreg_library}/openmpi/lib OPAL_PKGLIBDIR=${jreg_library}/openmpi/lib/openmpi3
export OPAL_INCLUDEDIR=${jreg_library}/openmpi/include OPAL_PKGINCLUDEDIR=${jreg_library}/openmpi/include/openmpi
export OPAL_DATAROOTDIR=${jreg_bundle}/share OPAL_DATADIR=${jreg_bundle}/share OPAL_PKGDATADIR=${jreg_bundle}/share/openmpi
export PMIX_PREFIX=${jreg_library}/pmix2 PMIX_PKGLIBDIR=${jreg_library}/pmix2/lib/pmix
export PMIX_DATADIR=${jreg_library}/pmix2/share PMIX_PKGDATADIR=${jreg_library}/pmix2/share/pmix
# Without ssh: all ranks on this machine.
command -v ssh > /dev/null || export OMPI_MCA_plm=isolated
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
END

mkdir -p "$(dirname "${output}")"
tar -C "${folder}" --sort=name --owner=0 --group=0 --mtime=2000-01-01 -cf - gpu_bundle | gzip -9 > "${output}.tmp"
bytes=$(stat --format %s "${output}.tmp")
if ((bytes > limit << 20)); then
  du --apparent-size --all "${root}" | sort -nr | head -n 20 >&2
  rm "${output}.tmp"
  die "the bundle would have $(((bytes >> 20) + 1)) MiB, more than --limit ${limit}; the largest parts (KiB unpacked) stand above" 70
fi
mv "${output}.tmp" "${output}"
say "${output}: $((bytes >> 20)) MiB, $(du --summarize --block-size=1M "${root}" | cut -f1) MiB unpacked, for a C library" \
  "${newest#GLIBC_} or later"
