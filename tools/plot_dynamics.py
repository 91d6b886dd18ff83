#!/usr/bin/env python3
"""Draws how runs trained: loss, jump rate, displacement per layer at the end and over the updates.

    tools/plot_dynamics.py RUN [RUN ...] --output report.png     (.png, .svg or .pdf)

RUN is a run folder, a dynamics.h5 (it may still be growing) or a checkpoint folder.

panels:
  loss        cross entropy: training (thin: each update, bold: a mean over some) and validation
  jump_rate   zeta_L, of the last layer, and zeta_2, over all layers
  profile     Psi_l per layer, mean over the last twentieth of the updates (--data probe: the last probe)
  heat_map    Psi_l of every layer over the updates, a map a run on one scale
  histograms  how Psi of the single tokens of the probe batch is spread, per layer, at some probes (--probe-steps)
"""
import argparse
import dataclasses
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib import colors, ticker  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402

import dynamics  # noqa: E402

# Okabe and Ito's palette: told apart with every kind of colour vision.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
GREY = "#555555"
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
    "svg.hashsalt": "jreg",  # the same run, the same file
}
LINE_PANELS = ("loss", "jump_rate", "profile")
PANELS = (*LINE_PANELS, "heat_map", "histograms")
SUFFIXES = (".png", ".svg", ".pdf")
WIDE_SPAN = 50  # largest over smallest value from which a logarithmic scale shows more than a linear one
MAP_COLUMNS = 700  # a map of more rows shows means over neighbours
WIDEST_WINDOW = 250  # updates that a smoothed line's point is the mean of
CROWD = 40  # points of a line from which each is drawn small
MAP_COLOURS = plt.get_cmap("cividis").with_extremes(bad="#FFFFFF")


@dataclasses.dataclass
class View:
    """What is drawn, and how, beside the panels themselves."""

    data: str = "train"  # or probe: where displacement and jump rate are from
    log_steps: bool = False
    scale: str = "auto"  # or linear, log

    def columns(self, run):
        return getattr(run, self.data)

    def is_log(self, values):
        """Whether an axis of these values is logarithmic."""
        low, high = span(values)
        return self.scale == "log" and high > 0 or self.scale == "auto" and high > WIDE_SPAN * low > 0


def span(values):
    """(low, high) of the positive values but for the outermost half percent; (0, 0) where there are none."""
    values = np.asarray(values)
    positive = values[np.isfinite(values) & (values > 0)]
    return tuple(np.percentile(positive, [0.5, 99.5])) if len(positive) else (0.0, 0.0)


def means(values):
    """Mean over the rows of what is finite; NaN where nothing is."""
    finite = np.isfinite(values)
    count = finite.sum(axis=0)
    total = np.where(finite, values, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(values.shape[1:], np.nan), where=count > 0)


def smooth(values, width):
    """Mean over a centred window, which shrinks towards the ends; NaN is left out."""
    valid = np.isfinite(values)
    window = np.ones(min(max(1, width), max(1, len(values))))
    half = len(window) // 2
    total = np.convolve(np.where(valid, values, 0.0), window)[half : half + len(values)]
    count = np.convolve(valid.astype(float), window)[half : half + len(values)]
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def step_edges(step):
    """Borders of the cells of a map whose columns stand at these steps."""
    middle = (step[:-1] + step[1:]) / 2
    return np.concatenate([[max(0.0, step[0] - 0.5)], middle, [step[-1] + 0.5]])


def binned(step, values, most, log):
    """(borders, means): neighbouring rows are put together until at most `most` are left, evenly on the axis drawn."""
    if len(step) <= most:
        return step_edges(step), values
    space = np.geomspace if log else np.linspace
    begin = np.unique(np.searchsorted(step, space(max(1, step[0]), step[-1] + 1, most + 1)[:-1]))
    begin[0] = 0
    parts = [means(values[a:b]) for a, b in zip(begin, [*begin[1:], len(step)])]
    borders = np.concatenate([[max(0.0, step[0] - 0.5)], (step[begin[1:] - 1] + step[begin[1:]]) / 2, [step[-1] + 0.5]])
    return borders, np.array(parts)


def trend(view, step, values, parts):
    """(step, values) of a line that shows where noisy values go."""
    if view.data == "probe" and len(step) < 4 * parts:
        return step, values
    if not view.log_steps:
        return step, smooth(values, min(len(step) // parts, WIDEST_WINDOW))
    borders, values = binned(step, values, 3 * parts, True)
    return (borders[:-1] + borders[1:]) / 2, values


def short_name(label, most=26):
    """The label with its middle left out where it is long: names of runs differ at their ends."""
    return label if len(label) <= most else f"{label[: most // 2 - 2]} … {label[-(most // 2 - 1):]}"


def step_text(value, _=None):
    return f"{value / 1000:g}k" if abs(value) >= 10000 else f"{value:g}"


def set_step_axis(axes, view, narrow=False):
    axes.set_xlabel("update")
    if view.log_steps:
        # Linear up to 1, so that step 0 has a place.
        axes.set_xscale("symlog", linthresh=1, linscale=0.4)
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.set_xlim(left=0)
    else:
        axes.xaxis.set_major_locator(ticker.MaxNLocator(4 if narrow else 6, integer=True))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(step_text))


def set_value_axis(axes, log, from_zero=True):
    if log:
        axes.set_yscale("log")
        return
    if from_zero:
        axes.set_ylim(bottom=0)


def explain_lines(axes, *entries):
    """What line styles mean, beside the panel's title: nothing of the data lies there."""
    handles = [Line2D([], [], color=GREY, label=label, **style) for label, style in entries]
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, ncol=len(entries),
                handlelength=1.8, columnspacing=1.2, fontsize=8.5)


def draw_loss(axes, runs, view):
    dots = {"linestyle": "none", "marker": "o", "markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.8}
    probes = {**dots, "marker": "D", "markersize": 4}
    for run, colour in zip(runs, COLOURS):
        step, loss = run.train["step"], run.train["loss"]
        axes.plot(step, loss, color=colour, alpha=0.22, linewidth=0.7, rasterized=len(step) > 5000)
        axes.plot(*trend(dataclasses.replace(view, data="train"), step, loss, 40), color=colour)
        for columns, marks in [(run.validation, dots)] + ([(run.probe, probes)] if view.data == "probe" else []):
            size = {"markersize": 2.5, "markeredgewidth": 0} if len(columns["step"]) > CROWD else {}
            axes.plot(columns["step"], columns["loss"], color=colour, zorder=3, **{**marks, **size})
    set_step_axis(axes, view)
    set_value_axis(axes, view.is_log(np.concatenate([run.train["loss"] for run in runs])), from_zero=False)
    axes.set(title="Loss", ylabel="cross entropy (nats per token)")
    explain_lines(axes, ("training", {}), ("validation", dots), *([("probe", probes)] if view.data == "probe" else []))


def draw_jump_rate(axes, runs, view):
    dashes = {"linestyle": (0, (4, 2)), "linewidth": 1.1}
    for run, colour in zip(runs, COLOURS):
        step, rate = view.columns(run)["step"], view.columns(run)["jump_rate"]
        dots = {"marker": "o", "markersize": 3} if view.data == "probe" and len(step) <= CROWD else {}
        if run.layers > 1:  # one layer has no jump rate
            axes.plot(*trend(view, step, rate[:, -1], 60), color=colour, **dots)
            axes.plot(*trend(view, step, rate[:, 1], 60), color=colour, **dashes, **dots)
    set_step_axis(axes, view)
    set_value_axis(axes, view.scale == "log")
    axes.set(title="Jump rate", ylabel="rise of displacement (percentage points)")
    explain_lines(axes, (r"$\zeta_L$, last layer", {}), (r"$\zeta_2$, all layers", dashes))


def final_displacement(run, view=View()):
    """Each layer's Psi: mean over the last twentieth of the updates, or that of the last probe."""
    psi = view.columns(run)["displacement"]
    rows = 1 if view.data == "probe" else max(1, len(psi) // 20)
    return means(psi[-rows:])


def draw_profile(axes, runs, view):
    same_depth = len({run.layers for run in runs}) == 1
    for run, colour in zip(runs, COLOURS):
        layer = np.arange(1, run.layers + 1)
        axes.plot(layer if same_depth else layer / run.layers, final_displacement(run, view), color=colour, marker="o",
                  markersize=4 if run.layers <= 16 else 3)
    set_value_axis(axes, view.is_log(np.concatenate([final_displacement(run, view) for run in runs])))
    axes.set(title="Displacement at the end", xlabel="layer" if same_depth else "layer / number of layers",
             ylabel=r"$\Psi_l$ (0 same direction, 1 opposite)")
    if same_depth:
        axes.set_xticks(layer_ticks(runs[0].layers))


def layer_ticks(layers):
    """At most some eight numbers of layers, the first and the last among them."""
    apart = -(-layers // 8)
    return sorted({1, *range(apart, layers - apart // 2, apart), layers})


def heat_map_norm(runs, view):
    """One scale of colours for the displacement of all runs."""
    values = np.concatenate([view.columns(run)["displacement"].ravel() for run in runs])
    low, high = span(values)
    if view.is_log(values):
        return colors.LogNorm(low, max(high, 1.001 * low)), "both"
    return colors.Normalize(0, high or 1.0), "max"


def draw_heat_map(axes, run, view, norm, narrow):
    """Displacement of every layer over the updates."""
    columns = view.columns(run)
    borders, psi = binned(columns["step"].astype(float), columns["displacement"], MAP_COLUMNS, view.log_steps)
    image = axes.pcolormesh(borders, np.arange(run.layers + 1) + 0.5, psi.T, norm=norm, cmap=MAP_COLOURS,
                            rasterized=True)
    set_step_axis(axes, view, narrow)
    axes.set_xlim(borders[0], borders[-1])
    axes.set(title=short_name(run.label) if narrow else f"Displacement, {short_name(run.label, 50)}", ylabel="layer",
             yticks=layer_ticks(run.layers))
    axes.grid(False)
    return image


def draw_heat_maps(figure, runs, view):
    rows, columns = map_grid(len(runs))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    norm, extend = heat_map_norm(runs, view)
    images = [draw_heat_map(at, run, view, norm, columns > 2) for at, run in zip(axes, runs)]
    for at in axes[len(runs):]:
        at.set_visible(False)
    if columns > 2:
        figure.suptitle("Displacement", x=0.01, ha="left", fontsize=11, fontweight="bold")
    figure.colorbar(images[0], ax=list(axes), label=r"displacement $\Psi_l$", extend=extend, pad=0.01,
                    aspect=12 * rows + 8)


def map_grid(runs):
    """(rows, columns) of the heat maps."""
    columns = runs if runs <= 4 else -(-runs // 2)
    return -(-runs // columns), columns


def probe_rows(step, wanted):
    """Rows of the probes nearest to the wanted steps; to the first, the last and two between where none are wanted."""
    if wanted is None:
        wanted = [0, step[-1] ** (1 / 3), step[-1] ** (2 / 3), step[-1]]
    return sorted({int(np.argmin(np.abs(step - at))) for at in wanted})


def draw_histograms(figure, runs, wanted):
    """A row a run, a column a probe: the share of tokens whose Psi lies in each bin, layer by layer."""
    picked = [probe_rows(run.probe["step"], wanted) for run in runs]
    counts = [run.probe["displacement_histogram"][rows] for run, rows in zip(runs, picked)]
    tokens = max(int(c.sum(axis=2).max()) for c in counts)
    used = max(int(np.flatnonzero(c.sum(axis=(0, 1))).max(initial=0)) for c in counts) + 1
    norm = colors.LogNorm(100 / max(2, tokens), 100)
    grid = figure.subplots(len(runs), max(map(len, picked)), squeeze=False)
    for run, rows, histogram, line in zip(runs, picked, counts, grid):
        for axes in line[len(rows):]:
            axes.set_visible(False)
        edges = np.linspace(0, 1, histogram.shape[2] + 1)[: used + 1]
        for axes, row, layers in zip(line, rows, histogram):
            share = 100 * layers[:, :used] / np.maximum(1, layers.sum(axis=1, keepdims=True))
            share[share == 0] = np.nan
            image = axes.pcolormesh(edges, np.arange(run.layers + 1) + 0.5, share, norm=norm, cmap=MAP_COLOURS,
                                    rasterized=True)
            axes.set_title(f"update {step_text(run.probe['step'][row])}", fontsize=9.5, fontweight="normal")
            axes.set(yticks=layer_ticks(run.layers))
            axes.grid(False)
        line[0].set_ylabel(f"{short_name(run.label)}\nlayer" if len(runs) > 1 else "layer")
    for axes in grid[-1]:
        axes.set_xlabel(r"$\Psi$ of a token")
    figure.suptitle("Displacement of single tokens", x=0.01, ha="left", fontsize=11, fontweight="bold")
    bar = figure.colorbar(image, ax=list(grid.ravel()), label="tokens (%)", pad=0.01, aspect=12 * len(runs) + 8,
                          ticks=[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100], format="%g")
    bar.minorticks_off()


def draw_names(figure, runs):
    """Which colour is which run."""
    handles = [Line2D([], [], color=colour, label=run.label, linewidth=3) for run, colour in zip(runs, COLOURS)]
    figure.legend(handles=handles, loc="center left", bbox_to_anchor=(0.005, 0.5), ncol=name_columns(runs), fontsize=10)


def name_columns(runs):
    """How many names fit side by side."""
    return max(1, min(len(runs), 130 // (max(len(run.label) for run in runs) + 8)))


def figure_of(runs, panels=PANELS[:4], view=View(), probe_steps=None):
    """The figure of all `runs`, to be closed by the caller."""
    lines = [panel for panel in LINE_PANELS if panel in panels]
    parts = [("names", 0.3 * -(-len(runs) // name_columns(runs)))]
    if lines:
        parts.append(("lines", 4.0))
    if "heat_map" in panels:
        parts.append(("heat_map", 0.3 + 3.0 * map_grid(len(runs))[0]))
    if "histograms" in panels:
        parts.append(("histograms", 0.6 + 2.2 * len(runs)))
    width = 13.5 if len(lines) > 1 or len(runs) > 1 or "histograms" in panels else 7.5
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(width, sum(height for _, height in parts)), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.06)
        blocks = figure.subfigures(len(parts), 1, height_ratios=[height for _, height in parts], squeeze=False)[:, 0]
        for block, (name, _) in zip(blocks, parts):
            if name == "names":
                draw_names(block, runs)
            elif name == "lines":
                for axes, panel in zip(block.subplots(1, len(lines), squeeze=False)[0], lines):
                    {"loss": draw_loss, "jump_rate": draw_jump_rate, "profile": draw_profile}[panel](axes, runs, view)
            elif name == "heat_map":
                draw_heat_maps(block, runs, view)
            else:
                draw_histograms(block, runs, probe_steps)
    return figure


def draw(runs, output, *arguments):
    """Writes figure_of(runs, *arguments) to `output`; the suffix names the format. Raises OSError."""
    figure = figure_of(runs, *arguments)
    try:
        with plt.rc_context(STYLE):
            figure.savefig(output, dpi=150, metadata={"Date": None} if str(output).lower().endswith(".svg") else None)
    finally:
        plt.close(figure)


def check_probes(runs):
    for run in runs:
        if len(run.probe["step"]) == 0 or "displacement_histogram" not in run.probe:
            raise dynamics.UserError(f"{run.file}: has no probes to draw; leave out histograms and --data probe")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, epilog=dynamics.EXIT_CODES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run or checkpoint folder, or a file of theirs")
    parser.add_argument("--output", default="report.png", help="figure to write (default: report.png)")
    parser.add_argument("--labels", nargs="+", help="names of the runs (default: their folders)")
    parser.add_argument("--panels", nargs="+", choices=PANELS, default=PANELS[:4], metavar="PANEL",
                        help=f"what to draw, of the panels above (default: {' '.join(PANELS[:4])})")
    parser.add_argument("--log-steps", action="store_true", help="a logarithmic axis of updates, for the early ones")
    parser.add_argument("--data", choices=("train", "probe"), default="train",
                        help="displacement and jump rate of each update's batch (default), or of the held-out batch at "
                             "the probes, from step 0")
    parser.add_argument("--scale", choices=("auto", "linear", "log"), default="auto",
                        help="axes of values and colours; auto (default) is logarithmic for loss and displacement "
                             f"whose largest is more than {WIDE_SPAN} times the smallest")
    parser.add_argument("--probe-steps", nargs="+", type=int, metavar="STEP",
                        help="histograms of the probes nearest to these (at most 6; default: the first, the last and "
                             "two between)")
    options = parser.parse_args()
    if len(options.runs) > len(COLOURS):
        parser.error(f"at most {len(COLOURS)} runs in one figure")
    if options.labels and len(options.labels) != len(options.runs):
        parser.error(f"{len(options.labels)} labels for {len(options.runs)} runs")
    if options.probe_steps and (len(options.probe_steps) > 6 or "histograms" not in options.panels):
        parser.error("--probe-steps takes at most 6 steps, and needs --panels with histograms")
    if pathlib.Path(options.output).suffix.lower() not in SUFFIXES:
        parser.error(f"--output {options.output}: ends in none of {' '.join(SUFFIXES)}")
    return options


def main():
    options = parse_options()
    runs = dynamics.load_runs(options.runs, options.labels)
    if options.data == "probe" or "histograms" in options.panels:
        check_probes(runs)
    view = View(options.data, options.log_steps, options.scale)
    draw(runs, options.output, options.panels, view, options.probe_steps)
    return 0


if __name__ == "__main__":
    sys.exit(dynamics.run_tool("plot_dynamics.py", main))
