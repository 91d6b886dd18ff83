#!/usr/bin/env python3
"""Draws how runs trained: loss, jump rate, displacement per layer over the updates and at the end.

    tools/plot_dynamics.py RUN [RUN ...] --output report.png     (.png, .svg or .pdf)

RUN is a run folder or a dynamics.h5; it may still be growing.
"""
import argparse
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

import dynamics  # noqa: E402

# Okabe and Ito's palette: told apart with every kind of colour vision.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "font.size": 9.5,
    "grid.color": "#E2E2E2",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
}


def smooth(values, width):
    """Mean over a centred window, which shrinks towards the ends; NaN is left out."""
    valid = np.isfinite(values)
    window = np.ones(max(1, width))
    half = len(window) // 2
    total = np.convolve(np.where(valid, values, 0.0), window)[half : half + len(values)]
    count = np.convolve(valid.astype(float), window)[half : half + len(values)]
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def draw_loss(axes, runs):
    for run, colour in zip(runs, COLOURS):
        step, loss = run.train["step"], run.train["loss"]
        axes.plot(step, loss, color=colour, alpha=0.22, linewidth=0.7)
        axes.plot(step, smooth(loss, len(step) // 40), color=colour, label=f"{run.label}, training")
        if len(run.validation["step"]):
            axes.plot(run.validation["step"], run.validation["loss"], color=colour, linestyle="none", marker="o",
                      markersize=4.5, markeredgecolor="white", label=f"{run.label}, validation")
    axes.set(title="Loss", xlabel="update", ylabel="cross entropy (nats per token)")
    axes.legend()


def draw_jump_rate(axes, runs):
    for run, colour in zip(runs, COLOURS):
        rate, step = run.train["jump_rate"], run.train["step"]
        width = len(step) // 60
        axes.plot(step, smooth(rate[:, -1], width), color=colour, label=rf"{run.label}, $\zeta_L$ (last layer)")
        axes.plot(step, smooth(rate[:, 1], width), color=colour, linestyle=(0, (4, 2)), linewidth=1.1,
                  label=rf"{run.label}, $\zeta_2$ (all layers)")
    axes.set(title="Jump rate", xlabel="update", ylabel="rise of displacement (percentage points)")
    axes.set_ylim(bottom=0)
    axes.legend()


def final_displacement(run):
    """Mean of each layer's Psi over the last twentieth of the updates."""
    rows = max(1, len(run.train["step"]) // 20)
    return np.nanmean(run.train["displacement"][-rows:], axis=0)


def draw_profile(axes, runs):
    for run, colour in zip(runs, COLOURS):
        layer = np.arange(1, run.layers + 1)
        axes.plot(layer, final_displacement(run), color=colour, marker="o", markersize=4, label=run.label)
    axes.set(title="Displacement at the end", xlabel="layer", ylabel=r"$\Psi_l$ (0 same direction, 1 opposite)")
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()


def draw_heat_map(axes, run, top):
    """Displacement of every layer over the updates, on a scale from 0 to `top` that all runs share."""
    step, psi = run.train["step"], run.train["displacement"]
    image = axes.imshow(psi.T, aspect="auto", origin="lower", cmap="cividis", vmin=0, vmax=top,
                        interpolation="nearest", extent=(step[0] - 0.5, step[-1] + 0.5, 0.5, run.layers + 0.5))
    axes.set(title=f"Displacement, {run.label}", xlabel="update", ylabel="layer")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.grid(False)
    return image


def draw(runs, output):
    """Writes the figure of all `runs` to `output`; the suffix names the format."""
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(13.5, 7.6), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
        upper, lower = figure.subfigures(2, 1, height_ratios=[1.15, 1], hspace=0.04)
        loss, rate, profile = upper.subplots(1, 3)
        draw_loss(loss, runs)
        draw_jump_rate(rate, runs)
        draw_profile(profile, runs)
        top = max(np.nanpercentile(run.train["displacement"], 99.5) for run in runs)
        maps = lower.subplots(1, len(runs), squeeze=False)[0]
        images = [draw_heat_map(axes, run, top) for axes, run in zip(maps, runs)]
        lower.colorbar(images[0], ax=list(maps), label=r"$\Psi_l$", extend="max", pad=0.01)
        figure.savefig(output, dpi=150)
        plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder or dynamics.h5")
    parser.add_argument("--output", default="report.png", help="figure to write (default: report.png)")
    parser.add_argument("--labels", nargs="+", help="names of the runs (default: their folders)")
    options = parser.parse_args()
    if len(options.runs) > len(COLOURS):
        parser.error(f"at most {len(COLOURS)} runs in one figure")
    if options.labels and len(options.labels) != len(options.runs):
        parser.error(f"{len(options.labels)} labels for {len(options.runs)} runs")
    try:
        draw(dynamics.load_runs(options.runs, options.labels), options.output)
    except (OSError, ValueError) as error:
        print(f"plot_dynamics.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
