#!/usr/bin/env python3
"""Measures how the speed of training depends on one size at a time, and draws it: `jreg train --benchmark` over model
size, layers, sequence length, batch, threads and ranks.

    tools/bench_sweep.py [--axis NAME ...] [--steps N] [--results FILE] [--document PAGE] [--figure FILE] [--jreg PATH]

Without --axis all are measured, some ten minutes on two cores; the machine should have nothing else to do. What is
measured is added to --results (build/bench_sweep.json), so that axes can be measured one by one; then tables of
everything there replace those between the marks of --document (docs/performance.md), and --figure
(docs/performance_sweep.png) is drawn. --steps 0 measures nothing.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

import page

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORES = len(os.sched_getaffinity(0))

# The model that the others differ from in one size: A of bench_compare.sh.
BASE = {"hidden": 256, "layers": 8, "ffn": 688, "sequence": 256, "batch": 8, "ranks": 1, "threads": CORES}
HEADS = "--model.heads 8 --model.kv_heads 4 --model.vocab 8192".split()


def powers(largest):
    return [2**i for i in range(largest.bit_length()) if 2**i <= largest]


def splits():
    """Ways to give the cores to ranks and threads."""
    return [{"ranks": ranks, "threads": CORES // ranks} for ranks in powers(CORES) if CORES % ranks == 0 and ranks <= 8]


# Title, what a point is called, and how the points differ from BASE.
AXES = {
    "model": ("model size", "hidden",
              [{"hidden": h, "ffn": f} for h, f in ((128, 344), (256, 688), (512, 1376), (768, 2048))]),
    "layers": ("layers, each with JREG", "layers", [{"layers": n} for n in (2, 4, 8, 16)]),
    "sequence": ("sequence length, 2048 tokens an update", "sequence",
                 [{"sequence": n, "batch": 2048 // n} for n in (64, 128, 256, 512, 1024, 2048)]),
    "batch": ("sequences an update", "batch", [{"batch": n} for n in (1, 2, 4, 8, 16)]),
    "threads": ("threads of one rank", "threads", [{"threads": n} for n in powers(CORES)]),
    "ranks": ("data parallel ranks on all cores", "ranks", splits()),
}
PRECISIONS = ("fp32", "bf16")


def environment(threads):
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def measure(jreg, point, precision, steps):
    size = {**BASE, **point}
    command = [jreg, "train", "--benchmark", "--benchmark-steps", str(steps), "--precision", precision, *HEADS,
               "--model.hidden", str(size["hidden"]), "--model.layers", str(size["layers"]),
               "--model.ffn", str(size["ffn"]), "--train.sequence_length", str(size["sequence"]),
               "--train.global_batch", str(size["batch"])]
    if size["ranks"] > 1:
        # Each rank on cores of its own.
        command = ["mpirun", "-n", str(size["ranks"]), "--map-by", f"slot:PE={size['threads']}", "--bind-to", "core",
                   *command]
    result = subprocess.run(command, env=environment(size["threads"]), capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(result.stderr)
    return {**size, "precision": precision, **parse(result.stdout)}


def parse(text):
    """The numbers of one benchmark."""
    def row(kind):
        line = next(line for line in text.splitlines() if line.startswith(kind + "  "))
        return [float(number.rstrip("%")) for number in line[len(kind):].split()]

    plain, penalty = row("no statistics"), row("statistics and penalty")
    products, arithmetic = map(float, re.search(
        r"matrix products ([\d.]+) GFLOP/s, arithmetic on registers ([\d.]+)", text).groups())
    return {"milliseconds": plain[0], "tokens_per_second": plain[4], "gflops": plain[5], "of_products": plain[6],
            "of_peak": plain[7], "jreg": penalty[8], "products": products, "arithmetic": arithmetic,
            "megabytes": float(re.search(r"([\d.]+) MB above start-up", text)[1])}


def tables(results):
    lines = []
    for axis, (title, key, _) in AXES.items():
        points = results.get(axis)
        if not points:
            continue
        lines += [f"### {title[0].upper()}{title[1:]}", "",
                  f"| {key} | precision | tokens/s | GFLOP/s | floor, ms | update, ms | of peak | JREG | MB |",
                  "|---|---|---|---|---|---|---|---|---|"]
        for p in points:
            floor = p["milliseconds"] * p["of_peak"] / 100
            lines.append(f"| {p[key]} | {p['precision']} | {p['tokens_per_second']:.0f} | {p['gflops']:.0f} | "
                         f"{floor:.1f} | {p['milliseconds']:.1f} | {p['of_peak']:.0f}% | {p['jreg']:+.1f}% | "
                         f"{p['megabytes']:.0f} |")
        lines.append("")
    return "\n".join(lines)


def draw(results, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    measured = [axis for axis in AXES if results.get(axis)]
    figure, panels = plt.subplots(2, (len(measured) + 1) // 2, squeeze=False, layout="constrained",
                                  figsize=(3.6 * ((len(measured) + 1) // 2), 6.4), sharey=True)
    for panel in panels.flat[len(measured):]:
        panel.set_visible(False)
    for panel, axis in zip(panels.flat, measured):
        title, key, _ = AXES[axis]
        for precision, colour in zip(PRECISIONS, ("#0072B2", "#D55E00")):
            points = sorted((p for p in results[axis] if p["precision"] == precision), key=lambda p: p[key])
            x = [p[key] for p in points]
            panel.plot(x, [p["of_peak"] for p in points], "o-", color=colour, label=f"{precision}, update")
            panel.plot(x, [100 * p["products"] / p["arithmetic"] for p in points], "--", color=colour, linewidth=1,
                       label=f"{precision}, one large product")
            panel.set_xscale("log", base=2)
            panel.set_xticks(x, [str(value) for value in x])
        panel.set_title(title, fontsize=10)
        panel.set_ylim(0, 100)
        panel.grid(color="#E2E2E2")
    for row in panels:
        row[0].set_ylabel("% of the peak on registers")
    panels[0][0].legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axis", choices=AXES, action="append", help="measure this one; again for more (all)")
    parser.add_argument("--precision", choices=PRECISIONS, action="append", help="measure in this one (both)")
    parser.add_argument("--steps", type=int, default=5, help="updates of each kind")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "build/bench_sweep.json")
    parser.add_argument("--document", type=pathlib.Path, default=ROOT / "docs/performance.md")
    parser.add_argument("--figure", type=pathlib.Path, default=ROOT / "docs/performance_sweep.png")
    parser.add_argument("--jreg", default=str(ROOT / "build/cpu-release/bin/jreg"))
    options = parser.parse_args()
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    for axis in options.axis or AXES if options.steps > 0 else ():
        key = AXES[axis][1]
        for precision in options.precision or PRECISIONS:
            for point in AXES[axis][2]:
                new = measure(options.jreg, point, precision, options.steps)
                print(f"{axis:<10}{key} {new[key]:>6} {precision}: {new['tokens_per_second']:>9.0f} tokens/s, "
                      f"{new['of_peak']:.1f}% of peak, JREG {new['jreg']:+.2f}%", flush=True)
                others = [p for p in results.get(axis, []) if (p[key], p["precision"]) != (new[key], precision)]
                results[axis] = sorted([*others, new], key=lambda p: (p[key], p["precision"]))
                options.results.write_text(json.dumps(results, indent=1) + "\n")
    page.write_between_marks(options.document, "bench_sweep", tables(results))
    draw(results, options.figure)


if __name__ == "__main__":
    main()
