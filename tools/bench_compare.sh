#!/usr/bin/env bash
# Trains the same Llama with jreg and with PyTorch (tools/bench_torch.py) in turn, on one process with the same threads,
# and prints what each took and how they compare; the last line is the ratio of tokens per second, ours by theirs,
# without JREG: the median over the rounds. The machine should have nothing else to do.
#   tools/bench_compare.sh --shape A|B|170m|1b [--device cpu|cuda] [--precision fp32|bf16] [--threads N] [--rounds N]
#                          [--steps N] [--micro-batch N] [--python PATH] [--compile]
# A: hidden 256, 8 layers, 8/4 heads, ffn 688; B: hidden 512, 12 layers, ffn 1376; vocabulary 8192, 8 sequences of 256.
# 170m: 768, 12, 12/12, 3072; 1b: 2048, 22, 32/4, 5632; vocabulary 32000, 8 sequences of 2048.
# A round: --steps updates (10) of each kind by both. --micro-batch: sequences at a time. --python: whose PyTorch;
# --compile: with torch.compile, as it always is on a GPU. There the precision is bf16 unless given, and rounds are 1.
set -euo pipefail
# shellcheck source=../launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../launch/common.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

shape=''
device=cpu
precision=''
threads=$(usable_cores)
rounds=''
steps=10
micro_batch=''
python=''
peer_options=()
while (($# > 0)); do
  case $1 in
    -h | --help)
      sed -n '2,11s/^# \{0,1\}//p' "$0"
      exit
      ;;
    --compile)
      peer_options+=(--compile)
      shift
      ;;
    --shape | --device | --precision | --threads | --rounds | --steps | --micro-batch | --python)
      (($# > 1)) || die "$1 needs a value"
      name=${1#--}
      declare "${name/-/_}=$2"
      shift 2
      ;;
    *) die "unknown option $1; --help tells the known ones" ;;
  esac
done

# The same sizes as SHAPES of bench_torch.py.
case ${shape} in
  A) sizes='256 8 8 4 688 8192 256 8' ;;
  B) sizes='512 12 8 4 1376 8192 256 8' ;;
  170m) sizes='768 12 12 12 3072 32000 2048 8' ;;
  1b) sizes='2048 22 32 4 5632 32000 2048 8' ;;
  tiny) sizes='32 3 4 2 48 96 16 4' ;;
  *) die "--shape ${shape:-(none)}: give A, B, 170m or 1b" ;;
esac
our_options=()
case ${device} in
  cpu) : "${precision:=fp32}" "${rounds:=3}" "${python:=/usr/bin/python3}" ;;
  cuda)
    : "${precision:=bf16}" "${rounds:=1}" "${python:=python3}"
    our_options+=(--backend cuda)
    peer_options+=(--device cuda)
    ;;
  *) die "--device ${device}: give cpu or cuda" ;;
esac
[[ ${precision} == fp32 || ${precision} == bf16 ]] || die "--precision ${precision}: give fp32 or bf16"
for number in threads rounds steps micro_batch; do
  [[ ${!number:-1} =~ ^[1-9][0-9]*$ ]] || die "--${number/_/-} ${!number}: give a number from 1"
done
if [[ -n ${micro_batch} ]]; then
  our_options+=(--train.micro_batch "${micro_batch}")
  peer_options+=(--micro-batch "${micro_batch}")
fi
"${python}" -c 'import torch' 2> /dev/null \
  || die "--python ${python}: has no PyTorch; install python3-torch, or name a python that has one"
read -r hidden layers heads kv_heads ffn vocab sequence batch <<< "${sizes}"
jreg=$(find_jreg "${device}")
out=$(mktemp -d)
trap 'rm -rf "${out}"' EXIT

ours() {
  OMP_NUM_THREADS=${threads} "${jreg}" train --benchmark --benchmark-steps "${steps}" --precision "${precision}" \
    --model.hidden "${hidden}" --model.layers "${layers}" --model.heads "${heads}" --model.kv_heads "${kv_heads}" \
    --model.ffn "${ffn}" --model.vocab "${vocab}" --train.sequence_length "${sequence}" --train.global_batch "${batch}" \
    "${our_options[@]}"
}
theirs() {
  "${python}" tools/bench_torch.py --shape "${shape}" --precision "${precision}" --threads "${threads}" \
    --steps "${steps}" "${peer_options[@]}"
}

# column FILE KIND NUMBER: the NUMBER-th number of the row KIND.
column() {
  awk -v kind="$2" -v number="$3" 'index($0, kind "  ") == 1 { $0 = substr($0, length(kind) + 1); print $number }' "$1"
}
# What a process takes; on a GPU what its tensors take.
megabytes() {
  if [[ ${device} == cpu ]]; then
    grep -oE '[0-9.]+ MB above (start-up|import)' "$1" | cut -d' ' -f1
  else
    grep -oE 'tensors [0-9.]+ MB' "$1" | cut -d' ' -f2
  fi
}
# Of matrix products, in GFLOP/s.
rate() { grep -oE 'matrix product[^0-9]*[0-9.]+' "$1" | grep -oE '[0-9.]+$'; }
median() { sort -g | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }

for ((round = 1; round <= rounds; ++round)); do
  ours > "${out}/ours"
  theirs > "${out}/theirs"
  ((round > 1)) || { cat "${out}/ours"; echo; cat "${out}/theirs"; echo; }
  for work in parameters 'model GFLOP'; do
    mine=$(grep -oE "[0-9.]+ ${work}" "${out}/ours")
    [[ ${mine} == "$(grep -oE "[0-9.]+ ${work}" "${out}/theirs")" ]] || die "the two do not do the same work" 70
  done
  mine=$(column "${out}/ours" 'no statistics' 5)
  other=$(column "${out}/theirs" plain 5)
  printf 'round %d: %-8s%8.0f tokens/s, %s MB, matrix products %s GFLOP/s\n' \
    "${round}" jreg "${mine}" "$(megabytes "${out}/ours")" "$(rate "${out}/ours")" \
    "${round}" PyTorch "${other}" "$(megabytes "${out}/theirs")" "$(rate "${out}/theirs")"
  if awk "BEGIN { exit !($(rate "${out}/theirs") < $(rate "${out}/ours") / 2) }"; then
    say "this PyTorch multiplies matrices at less than half of jreg's rate, which is no fair comparison: another BLAS" \
      "(tools/install_packages.sh benchmark) or another --python may help"
  fi
  awk "BEGIN { print ${mine} / ${other} }" >> "${out}/ratios"
  awk "BEGIN { print $(column "${out}/ours" 'statistics and penalty' 5) / $(column "${out}/theirs" 'jreg function' 5) }" \
    >> "${out}/jreg_ratios"
  awk "BEGIN { print $(megabytes "${out}/ours") / $(megabytes "${out}/theirs") }" >> "${out}/memory_ratios"
done
printf 'peak memory: ratio %.2f\n' "$(median < "${out}/memory_ratios")"
printf 'with JREG (statistics and penalty against the autograd function): ratio %.2f\n' "$(median < "${out}/jreg_ratios")"
printf 'tokens_per_second_ratio=%.2f\n' "$(median < "${out}/ratios")"
