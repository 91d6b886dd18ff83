"""tools/plot_dynamics.py: what figures show, of runs of any depth, length and number."""
import unittest

import h5py
import numpy as np

from test_reports import ToolTest, dynamics, write_dynamics

import plot_dynamics  # test_reports has its folder on the path


class Figures(ToolTest):
    def test_figure_is_written_in_the_format_of_its_suffix(self):
        result = self.call("plot_dynamics.py", *self.runs, "--output", str(self.folder / "report.png"))
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        content = (self.folder / "report.png").read_bytes()
        self.assertTrue(content.startswith(b"\x89PNG"))
        self.assertGreater(len(content), 20000)
        plot_dynamics.draw(dynamics.load_runs(self.runs), self.folder / "report.svg")
        content = (self.folder / "report.svg").read_bytes()
        self.assertTrue(content.startswith(b"<?xml"))
        for text in (b"Jump rate", b"baseline", b"jreg", b"nats per token"):
            self.assertIn(text, content)

    def test_one_run_of_one_update_is_drawn(self):
        run = self.load("young", steps=1)
        for log_steps in (False, True):
            self.figure([run], plot_dynamics.PANELS, plot_dynamics.View(log_steps=log_steps))

    def test_smoothing_leaves_a_constant_alone_and_skips_nan(self):
        values = np.full(50, 3.0)
        values[7] = np.nan
        for width in (1, 2, 5, 8):
            smoothed = plot_dynamics.smooth(values, width)
            self.assertEqual(len(smoothed), 50)
            self.assertTrue(np.allclose(smoothed[8:], 3.0))

    def load(self, name, **changes):
        return dynamics.load_run(write_dynamics(self.folder / name, **changes))

    def figure(self, runs, *arguments):
        figure = plot_dynamics.figure_of(runs, *arguments)
        self.addCleanup(plot_dynamics.plt.close, figure)
        figure.canvas.draw()
        return figure

    def assert_no_text_overlaps(self, figure):
        """No two texts that are drawn cover each other, but for tick labels of neighbours that touch."""
        boxes = [(text.get_text(), text.get_window_extent().shrunk(0.9, 0.7)) for text in texts_of(figure)]
        for at, (name, box) in enumerate(boxes):
            for other, other_box in boxes[:at]:
                self.assertFalse(box.overlaps(other_box), f"{name!r} lies over {other!r}")

    def test_texts_do_not_overlap_with_one_run_or_four_of_three_to_28_layers(self):
        runs = [self.load("base", steps=300, layers=3), self.load("with_a_name_of_many_letters_lambda_0.05", layers=28),
                self.load("late", steps=20000, layers=12), self.load("strong", jump=0.5)]
        everything = (plot_dynamics.PANELS, plot_dynamics.View(log_steps=True), None)
        for some in (runs[:1], runs):
            self.assert_no_text_overlaps(self.figure(some, *everything))
            self.assert_no_text_overlaps(self.figure(some))

    def test_probes_from_step_0_are_drawn_on_a_logarithmic_axis(self):
        figure = self.figure([self.load("run")], ("jump_rate", "heat_map"), plot_dynamics.View("probe", True))
        rate, heat_map = (axes for axes in axes_of(figure) if axes.get_xlabel() == "update")
        self.assertEqual({axes.get_xscale() for axes in (rate, heat_map)}, {"symlog"})
        self.assertEqual(rate.lines[0].get_xdata().tolist(), [0, 1, 2, 4, 8, 16, 32, 64])
        mesh = heat_map.collections[0]
        self.assertEqual(mesh.get_array().size, 8 * 6)
        self.assertEqual(mesh.get_coordinates()[0, :3, 0].tolist(), [0, 0.5, 1.5])

    def test_values_of_a_large_span_get_a_logarithmic_scale(self):
        for jump, scale, kind in ((0.2, "auto", "Normalize"), (5.0, "auto", "LogNorm"), (5.0, "linear", "Normalize")):
            run = self.load("run", jump=jump)
            norm, _ = plot_dynamics.heat_map_norm([run], plot_dynamics.View(scale=scale))
            self.assertEqual(type(norm).__name__, kind)

    def test_a_long_map_shows_means_of_neighbouring_updates(self):
        step, values = np.arange(1, 5001.0), np.arange(5000.0)[:, None]
        for log in (False, True):
            borders, parts = plot_dynamics.binned(step, values, 100, log)
            self.assertLessEqual(len(parts), 100)
            self.assertEqual((len(borders), borders[0], borders[-1]), (len(parts) + 1, 0.5, 5000.5))
            counts = np.diff(borders)
            self.assertAlmostEqual(float((parts[:, 0] * counts).sum()), values.sum(), places=3)

    def test_histograms_are_of_the_probes_nearest_to_the_steps_asked_for(self):
        figure = self.figure([self.load("run")], ("histograms",), plot_dynamics.View(), [0, 30])
        shown = [axes for axes in axes_of(figure) if axes.get_title(loc="left")]
        self.assertEqual([axes.get_title(loc="left") for axes in shown], ["update 0", "update 32"])
        share = shown[0].collections[0].get_array().reshape(6, 6)
        self.assertEqual(share[2].tolist(), [None, None, None, 93.75, None, 6.25])

    def test_nan_and_a_single_layer_are_drawn_and_listed_in_silence(self):
        path = write_dynamics(self.folder / "nan")
        with h5py.File(path / "dynamics.h5", "r+") as file:
            file["train/loss"][40:] = np.nan
            file["train/displacement"][60:] = np.nan
        runs = [str(path), str(write_dynamics(self.folder / "flat", layers=1))]
        for arguments in (["plot_dynamics.py", "--log-steps", "--panels", *plot_dynamics.PANELS, "--output",
                           str(self.folder / "report.svg")], ["run_table.py"]):
            result = self.call(arguments[0], *runs, *arguments[1:])
            self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_wrong_options_are_named_and_end_in_2(self):
        run = str(write_dynamics(self.folder / "blind", probes=()))
        self.assert_one_line(self.call("plot_dynamics.py", run, "--data", "probe"), 2, "blind/dynamics.h5", "no probes")
        self.assert_one_line(self.call("plot_dynamics.py", run, "--output", str(self.folder / "no/where.png")), 2,
                             "no/where.png: No such file")
        for words, part in ((["--output", "report.doc"], "report.doc"), (["--probe-steps", "4"], "--probe-steps")):
            result = self.call("plot_dynamics.py", run, *words)
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertIn(part, result.stderr)


def axes_of(figure):
    """Axes of a figure of subfigures that are drawn."""
    return [axes for block in figure.subfigs for axes in block.axes if axes.get_visible()]


def texts_of(figure):
    """Titles, labels, legends and tick labels in view."""
    texts = [text for block in figure.subfigs for legend in block.legends for text in legend.get_texts()]
    for axes in axes_of(figure):
        texts += [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
        texts += axes.get_legend().get_texts() if axes.get_legend() else []
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [tick.label1 for tick in axis.get_major_ticks()
                      if tick.label1.get_visible() and low <= tick.get_loc() <= high]
            texts += [tick.label2 for tick in axis.get_major_ticks()
                      if tick.label2.get_visible() and low <= tick.get_loc() <= high]
    return [text for text in texts if text.get_text().strip()]


if __name__ == "__main__":
    unittest.main()
