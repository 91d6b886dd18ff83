#!/usr/bin/env bash
# Checks the CUDA backend on a machine with a GPU, which may be bare and without a network, and writes what it found into
# FOLDER/gpu_check.md, with all output in FOLDER/gpu_check.log. It goes on after a step that failed.
#   tools/gpu_check.sh [--output FOLDER] [--steps a,b] [--bundle FILE] [--budget SECONDS] [--python PROGRAM]
#                      [--dry-run | --rehearse]
#
#   --output    default: $OUT, else build/gpu_check
#   --steps     of these, in this order (default: all):
#                 device     the card, its driver, the toolkit
#                 build      preset cuda-release for this card: program and tests
#                 kernels    registers, spills, occupancy (tools/kernel_report.py)
#                 ops        every operation on the card against the oracle
#                 nccl       one rank: tests of the collectives, and a run with NCCL
#                 mesh       1x1, 2x1, 1x2, 2x2 ranks on one card (--run.collective mpi) against the CPU's losses,
#                            fp32 within 1e-5, bf16 within 2e-2 (relative)
#                 memcheck, racecheck   the operations under compute-sanitizer
#                 bench170m, bench1b    jreg and PyTorch in turn (tools/bench_compare.sh), ratios
#   --bundle    what tools/gpu_bundle.sh made; where MPI is missing build/gpu_bundle.tar.gz, unpacked by step build
#   --budget    seconds for all steps (default 570, of a rehearsal 1800); each has a limit of its own, which grows with a
#               larger budget
#   --python    a python3 with numpy, h5py and torch (default: python3, or one that has the first two)
#   --dry-run   prints what each step would run
#   --rehearse  tries this script without a GPU: the CUDA backend on the software device (preset cuda-emulation), with
#               smaller runs, and fewer operations in place of compute-sanitizer's; what needs a card is skipped
#
# Exit code: 0 every step passed, or was skipped for want of a tool; 1 a step failed; 2 wrong option, or no GPU here.
set -euo pipefail
# shellcheck source=../launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../launch/common.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

all_steps=(device build kernels ops nccl mesh memcheck racecheck bench170m bench1b)
declare -A limits=([device]=20 [build]=300 [kernels]=40 [ops]=90 [nccl]=60 [mesh]=120 [memcheck]=90 [racecheck]=90
  [bench170m]=120 [bench1b]=180)
skipped=77 usual=570
inside='' output=${OUT:-build/gpu_check} steps='' bundle='' budget='' python='' mode=run
while (($# > 0)); do
  case $1 in
    -h | --help)
      sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
      exit
      ;;
    --output | --steps | --bundle | --budget | --python | --inside)
      (($# > 1)) || die "$1 needs a value"
      declare "${1#--}=$2"
      shift 2
      ;;
    --dry-run | --rehearse)
      mode=${1#--}
      shift
      ;;
    *) die "unknown option $1; --help tells the known ones" ;;
  esac
done
if [[ -z ${budget} ]]; then
  budget=${usual}
  if [[ ${mode} == rehearse ]]; then budget=1800; fi
fi
[[ ${budget} =~ ^[1-9][0-9]*$ ]] || die "--budget ${budget}: give a number of seconds"
[[ -z ${bundle} || -r ${bundle} ]] || die "--bundle ${bundle}: cannot be read"
reads_runs() { "$1" -c 'import numpy, h5py' > /dev/null 2>&1; }
if [[ -z ${python} ]]; then
  python=python3
  reads_runs python3 || python=$(find_python 2> /dev/null) || python=python3
fi
preset=cuda-release
if [[ ${mode} == rehearse ]]; then preset=cuda-emulation; fi
build=build/${preset}
unpacked=build/gpu_bundle
jreg=${build}/bin/jreg

# Says what it runs, and runs it unless this is a rehearsal on paper.
run() {
  printf '+ %s\n' "${*@Q}"
  [[ ${mode} == dry-run ]] || "$@"
}
need() { [[ ${mode} == dry-run ]] || command -v "$1" > /dev/null || { echo "skipped: no $1 here" && exit "${skipped}"; }; }
built() { [[ ${mode} == dry-run || -x $1 ]] || { echo "no $1: step build comes first" && exit 1; }; }
only_on_a_card() { [[ ${mode} != rehearse ]] || { echo "skipped: a rehearsal has no card" && exit "${skipped}"; }; }
ranks() {
  local count=$1
  shift
  run mpirun -n "${count}" --bind-to none "$@"
}

step_device() {
  only_on_a_card
  run nvidia-smi --query-gpu=name,compute_cap,memory.total,driver_version,clocks.max.sm --format=csv
  run nvcc --version
  run cmake --version
  run "${python}" -c 'import sys, torch; print(sys.version, torch.__version__, torch.version.cuda)'
}

# NCCL as PyTorch's package brings it has no name to link with; NCCL_ROOT shows CMake a folder that gives it one.
find_nccl() {
  local package root=${PWD}/build/gpu_nccl
  if [[ -n ${NCCL_ROOT:-} ]] || compgen -G '/usr/local/cuda*/include/nccl.h' > /dev/null || [[ -e /usr/include/nccl.h ]]; then
    return
  fi
  package=$("${python}" -c 'import nvidia.nccl; print(nvidia.nccl.__path__[0])' 2> /dev/null) || package=''
  if [[ -z ${package} || ! -e ${package}/include/nccl.h ]]; then
    echo "no NCCL here: built without it"
    configure+=(-DJREG_WITH_NCCL=OFF)
    return
  fi
  mkdir -p "${root}/lib"
  ln -sfn "${package}/include" "${root}/include"
  ln -sf "${package}/lib/libnccl.so.2" "${root}/lib/libnccl.so"
  ln -sf "${package}/lib/libnccl.so.2" "${root}/lib/libnccl.so.2"
  export NCCL_ROOT=${root}
}

step_build() {
  local capability configure=(-DJREG_BUILD_TESTS=ON "-DJREG_PYTHON=$(command -v "${python}" || echo "${python}")")
  if ! command -v mpicc > /dev/null; then
    echo "no mpicc here, and no bundle: tools/gpu_bundle.sh makes one on a Debian machine, --bundle names it"
  fi
  if [[ ${mode} != rehearse ]]; then
    configure+=(-DJREG_WARNINGS_AS_ERRORS=OFF)
    capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2> /dev/null | head -n 1 | tr -d .) || true
    configure+=("-DCMAKE_CUDA_ARCHITECTURES=${capability:-native}")
    if ! command -v nvcc > /dev/null && [[ -x /usr/local/cuda/bin/nvcc ]]; then
      configure+=(-DCMAKE_CUDA_COMPILER=/usr/local/cuda/bin/nvcc)
    fi
    find_nccl
  fi
  run cmake --preset "${preset}" "${configure[@]}"
  run cmake --build --preset "${preset}" --parallel "$(nproc)" --target jreg test_backend test_collective
  run "${jreg}" --version
}

step_kernels() {
  only_on_a_card
  run "${python}" tools/kernel_report.py --build "${build}"
}

step_ops() {
  built "${build}/tests/backend/test_backend"
  run "${build}/tests/backend/test_backend" --gtest_brief=1 "--gtest_filter=*cuda_*"
}

# Tokens of this project's own texts, for runs of some updates.
corpus=build/gpu_check_data/corpus
step_tokens() {
  mkdir -p "$(dirname "${corpus}")"
  if [[ ! -r ${corpus}_validation.idx ]]; then
    run "${jreg}" tokenize --validation 0.1 --document-bytes 1500 --overwrite --output "${corpus}" README.md docs/*.md src/README.md
  fi
}

# train NAME RANKS BACKEND PRECISION [OPTION ...]: some updates of a small Llama.
train() {
  local name=$1 count=$2
  local size=(--model.layers 4 --model.hidden 256 --model.heads 4 --model.kv_heads 2 --model.ffn 688 --model.vocab 512
    --train.sequence_length 128 --train.global_batch 8 --train.steps 10 --eval.interval 5 --probe.interval 5)
  # The software device does about 0.6 GFLOP/s. Heads keep their 64 columns, and with them their kernels.
  if [[ ${mode} == rehearse ]]; then
    size=(--model.layers 2 --model.hidden 128 --model.heads 2 --model.kv_heads 1 --model.ffn 352 --model.vocab 320
      --train.sequence_length 64 --train.global_batch 4 --train.steps 4 --eval.interval 2 --probe.interval 2)
  fi
  if [[ ${mode} != dry-run ]]; then rm -rf "build/gpu_check_runs/$1"; fi
  ranks "${count}" "${jreg}" train --backend "$3" --precision "$4" --run.dir "build/gpu_check_runs/${name}" \
    --data.train "${corpus}_train" --data.validation "${corpus}_validation" "${size[@]}" --optim.warmup_steps 2 \
    --optim.learning_rate 1e-3 --jreg.lambda 0.3 --eval.batches 2 --probe.sequences 2 --checkpoint.interval 0 "${@:5}"
}

can_compare() {
  [[ ${mode} == dry-run ]] || reads_runs "${python}" || { echo "error: ${python} has no numpy or no h5py" && exit 1; }
}

# same NAME_A NAME_B TOLERANCE: their losses agree.
same() {
  if [[ ${mode} == dry-run ]]; then
    run tools/compare_runs.py --tolerance "$3" "$1" "$2"
  elif run "${python}" tools/compare_runs.py --tolerance "$3" "build/gpu_check_runs/$1" "build/gpu_check_runs/$2"; then
    echo "- $2: losses within $3 of $1"
  else
    echo "- $2: LOSSES DIFFER from $1 by more than $3"
    failed=1
  fi
}

step_nccl() {
  failed=0
  built "${jreg}"
  can_compare
  step_tokens
  ranks 1 "${build}/tests/backend/test_collective" --gtest_brief=1
  train cpu_fp32 1 cpu fp32
  train nccl_fp32 1 cuda fp32
  same cpu_fp32 nccl_fp32 1e-5
  return "${failed}"
}

step_mesh() {
  local precision tolerance mesh data tensor failed=0 name
  built "${jreg}"
  can_compare
  step_tokens
  for precision in fp32 bf16; do
    tolerance=1e-5
    if [[ ${precision} == bf16 ]]; then tolerance=2e-2; fi
    train "cpu_${precision}" 1 cpu "${precision}" || return
    for mesh in 1x1 2x1 1x2 2x2; do
      data=${mesh%x*} tensor=${mesh#*x} name=cuda_${precision}_${mesh}
      if train "${name}" $((data * tensor)) cuda "${precision}" --mesh.tensor "${tensor}" --run.collective mpi; then
        same "cpu_${precision}" "${name}" "${tolerance}"
      else
        echo "- ${name}: THE RUN FAILED"
        failed=1
      fi
    done
    name=cuda_${precision}_2x2_split
    train "${name}" 4 cuda "${precision}" --mesh.tensor 2 --run.collective mpi --mesh.sequence_parallel true \
      --mesh.zero1 true && same "cpu_${precision}" "${name}" "${tolerance}" || failed=1
  done
  return "${failed}"
}

# In four parts at once: a sanitizer keeps a processor busier than the card.
sanitize() {
  local part parts=4 failed=0 jobs=() log operations='*cuda_*' tool=(compute-sanitizer --tool "$1" --error-exitcode 9)
  if [[ ${mode} == rehearse ]]; then
    tool=(env) operations='*SwiGlu*cuda_*:*Embedding*cuda_*'
  else
    need compute-sanitizer
  fi
  built "${build}/tests/backend/test_backend"
  for ((part = 0; part < parts; ++part)); do
    log=build/gpu_check_$1.${part}
    GTEST_TOTAL_SHARDS=${parts} GTEST_SHARD_INDEX=${part} run "${tool[@]}" \
      "${build}/tests/backend/test_backend" --gtest_brief=1 "--gtest_filter=${operations}" > "${log}" 2>&1 &
    jobs+=($!)
  done
  for ((part = 0; part < parts; ++part)); do
    wait "${jobs[part]}" || failed=1
    tail -n 60 "build/gpu_check_$1.${part}"
  done
  [[ ${mode} != rehearse ]] || echo "rehearsed without compute-sanitizer, by a program built with AddressSanitizer"
  return "${failed}"
}
step_memcheck() { sanitize memcheck; }
step_racecheck() { sanitize racecheck; }

bench() {
  only_on_a_card
  built "${jreg}"
  JREG=${PWD}/${jreg} run tools/bench_compare.sh --device cuda --shape "$1" --steps "$2" --rounds 1 --python "${python}"
}
step_bench170m() { bench 170m 10; }
step_bench1b() { bench 1b 5; }

# Where it is given, or MPI is missing.
use_bundle() {
  local from=${bundle:-build/gpu_bundle.tar.gz}
  if [[ -z ${bundle} ]] && command -v mpicc > /dev/null; then return; fi
  if [[ ${inside} == build && -r ${from} && ${mode} != dry-run ]]; then
    rm -rf "${unpacked}"
    tar -C build -xf "${from}"
  fi
  # shellcheck source=/dev/null
  if [[ -r ${unpacked}/env.sh ]]; then source "${unpacked}/env.sh"; fi
}

# One step, in a process of its own that can be ended.
if [[ -n ${inside} ]]; then
  quiet_mpirun
  export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
  export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl=self,vader
  export OMPI_MCA_btl_vader_single_copy_mechanism=none PYTHONUNBUFFERED=1
  if [[ ${mode} == rehearse ]]; then
    # Open MPI keeps memory to its end; ranks share few cores.
    export ASAN_OPTIONS=detect_leaks=0 OMP_NUM_THREADS=1
  fi
  allow_root
  use_bundle
  "step_${inside}"
  exit
fi

IFS=, read -r -a chosen <<< "${steps:-$(IFS=,; echo "${all_steps[*]}")}"
for step in "${chosen[@]}"; do
  [[ -n ${limits[${step}]:-} ]] || die "--steps ${step}: there are ${all_steps[*]}"
done
if [[ ${mode} == run ]] && ! nvidia-smi -L 2> /dev/null | grep -q '^GPU'; then die "nvidia-smi finds no GPU here"; fi
mkdir -p "${output}" build
log=${output}/gpu_check.log report=${output}/gpu_check.md
: > "${log}"

# Of a step's output what belongs into the report.
# shellcheck disable=SC2016  # Markdown's own quotes
excerpt() {
  case $1 in
    kernels) sed -n '/^| kernel/,$p' "$2" ;;
    mesh | nccl) grep -E '^- |error:' "$2" || true ;;
    bench*) printf '```\n%s\n```\n' "$(grep -v '^+' "$2")" ;;
    *) printf '```\n%s\n```\n' "$(grep -v '^+' "$2" | tail -n 12)" ;;
  esac
}

subject='this machine' success=passed
if [[ ${mode} == rehearse ]]; then subject='the software device: a rehearsal' success=rehearsed; fi
summary='' details='' bad=0 passed=0
part=$(mktemp)
trap 'rm -f "${part}"' EXIT
write_report() {
  {
    printf '# The CUDA backend on %s\n\n%s, commit %s, %d s\n\n| step | result | seconds |\n|---|---|---|\n' \
      "${subject}" "$(date -u +%FT%TZ)" "$(git rev-parse --short=12 HEAD 2> /dev/null || echo unknown)" "${SECONDS}"
    printf '%s%s\n' "${summary}" "${details}"
  } > "${report}"
}
for step in "${chosen[@]}"; do
  begin=${SECONDS} code=0
  left=$((budget - SECONDS))
  limit=${limits[${step}]}
  if ((budget > usual)); then limit=$((limit * budget / usual)); fi
  if ((limit > left)); then limit=${left}; fi
  say "[${SECONDS} s] ${step}"
  if ((limit < 5)); then
    echo "the budget of ${budget} s is used up" > "${part}"
    code=124
  else
    words=(--output "${output}" --python "${python}" --inside "${step}")
    if [[ -n ${bundle} ]]; then words+=(--bundle "${bundle}"); fi
    if [[ ${mode} != run ]]; then words+=("--${mode}"); fi
    timeout --kill-after=5 "${limit}" bash "tools/gpu_check.sh" "${words[@]}" > "${part}" 2>&1 < /dev/null || code=$?
  fi
  printf '===== %s: exit code %d\n' "${step}" "${code}" >> "${log}"
  cat "${part}" >> "${log}"
  if [[ ${mode} == dry-run ]]; then sed 's/^/    /' "${part}"; fi
  case ${code} in
    0) result=${success} passed=$((passed + 1)) ;;
    "${skipped}") result=$(grep '^skipped' "${part}" | head -n 1) ;;
    124 | 137) result="FAILED: not done within ${limit} s" bad=$((bad + 1)) ;;
    *) result="FAILED: exit code ${code}" bad=$((bad + 1)) ;;
  esac
  say "        ${result}, $((SECONDS - begin)) s"
  summary+="| ${step} | ${result} | $((SECONDS - begin)) |"$'\n'
  details+=$'\n'"## ${step}"$'\n\n'$(excerpt "${step}" "${part}")$'\n'
  if [[ ${mode} != dry-run ]]; then write_report; fi  # what is there stays, should this end here
done
if [[ ${mode} == dry-run ]]; then exit; fi
say "${report}: ${passed} ${success}, ${bad} failed of ${#chosen[@]} steps"
((bad == 0)) || exit 1
