#!/usr/bin/env bash
# Writes docs/scaling.md: what `jreg plan --scaling` predicts for the shipped sizes.
#     tools/scaling_tables.sh [JREG]        JREG: the program, build/cpu-release/bin/jreg by default
set -euo pipefail
cd "$(dirname "$0")/.."
jreg=${1:-build/cpu-release/bin/jreg}
file=docs/scaling.md

{
  cat <<'TEXT'
# Scaling from 1 to 1024 GPUs: predictions, not measurements

No GPU has run any of this: the CUDA backend has been timed on none yet. The tables are what `jreg plan` predicts for
it, on nodes of 8 H100 SXM with 80 GB, NVLink within a node and 8 x 400 Gbit/s InfiniBand between nodes.
`tools/scaling_tables.sh` writes this page; each table is one call of `jreg plan --scaling`, named above it.

What is exact: memory per rank, the operations of an update and the bytes that each rank sends are those of the
program's own code, which a plan rehearses without computing (on the CPU backend tests hold both to the byte).

What is not: the speed of a rank. `configs/machines/h100.cfg` says what share of the datasheet each kind of operation is
taken to reach, with its source; most shares of links, and those of passes over memory, are estimates. Nothing is lost
between operations, so read the column *of peak* as a ceiling: published trainers of 1B models reach 35 to 48 % of the
datasheet on H100. Ratios between rows depend less on these shares than rows do.

Each row is the fastest mesh that fits, at the config's own global batch (strong scaling): with 1024 GPUs few sequences
are left for each, and what does not shrink with the batch (the optimizer, gradients on the wire) begins to count.

TEXT
  for size in 170m 1b 3b; do
    config=configs/llama_$size.cfg
    tokens=$("$jreg" plan --config "$config" --rows 0 | sed -n '1s/.*; \([0-9]*\) tokens an update/\1/p')
    printf '## %s\n\n    jreg plan --config %s --scaling\n\n%s tokens an update.\n\n' "llama_$size" "$config" "$tokens"
    "$jreg" plan --config "$config" --scaling
    printf '\n'
  done
} >"$file.new"
# One empty line at the end, not two.
sed -i -e '$ d' "$file.new"
mv "$file.new" "$file"
