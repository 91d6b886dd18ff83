"""jreg plan: its last line, what it refuses, and its memory and traffic against those of runs."""
import re

import support

CONFIGS = sorted((support.ROOT / "configs").glob("*.cfg"))
MACHINES = sorted((support.ROOT / "configs" / "machines").glob("*.cfg"))
LAST = re.compile(r"plan: data (\d+) x tensor (\d+)(, sequence parallel)?(, zero1)?, micro batch (\d+), "
                  r"recompute (none|attention|mlp|block); (\d+\.\d\d) GB per rank; (\d+) tokens/s")
# Large enough for megabytes, small enough for seconds.
SHAPE = {"model__layers": 4, "model__hidden": 128, "model__ffn": 344, "model__vocab": 1024,
         "train__sequence_length": 64, "train__micro_batch": 2, "train__steps": 1, "mesh__bucket_mb": 1}
MESHES = ((1, {}), (2, {"mesh__zero1": True}), (2, {"mesh__tensor": 2}),
          (4, {"mesh__tensor": 2, "mesh__sequence_parallel": True, "mesh__zero1": True, "train__recompute": "mlp"}))


class Plan(support.ProgramTest):
    def plan(self, *words, **options):
        return self.jreg("plan", *words, **options)

    def machine(self, **keys):
        """A machine file; keys have __ for the dot."""
        lines = []
        for name, value in {"machine__backend": "cpu", "machine__ranks_per_node": 4, "machine__logits_mb": 8,
                            **keys}.items():
            section, key = name.split("__")
            lines.append(f"[{section}]\n{key} = {value}\n")
        file = self.folder / "machine.cfg"
        file.write_text("".join(lines))
        return file

    def last_line(self, result):
        match = LAST.fullmatch(result.stdout.splitlines()[-1])
        self.assertTrue(match, result.stdout)
        return match

    def test_every_config_plans_on_a_node_of_eight_without_data_or_launcher(self):
        for path in CONFIGS:
            with self.subTest(config=path.name):
                line = self.last_line(self.plan("--config", path, "--rows", 3))
                self.assertEqual(int(line[1]) * int(line[2]), 8)
                self.assertGreater(float(line[7]), 0)
                self.assertLess(float(line[7]), 76)
                self.assertGreater(int(line[8]), 100_000)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["data"])

    def test_every_machine_plans(self):
        self.assertGreaterEqual({path.stem for path in MACHINES}, {"a100", "h100", "h200", "cpu_2cores"})
        quickstart = support.ROOT / "configs" / "quickstart.cfg"
        speeds = {path.stem: int(self.last_line(self.plan("--config", quickstart, "--machine", path))[8])
                  for path in MACHINES}
        self.assertGreater(speeds["h200"], speeds["h100"])
        self.assertGreater(speeds["h100"], speeds["a100"])
        self.assertGreater(speeds["a100"], speeds["cpu_2cores"])

    def test_the_default_machine_is_that_of_its_file(self):
        words = ("--config", support.ROOT / "configs" / "quickstart.cfg", "--nodes", 2)
        file = support.ROOT / "configs" / "machines" / "h100.cfg"
        self.assertEqual(self.plan(*words).stdout, self.plan(*words, "--machine", file).stdout)

    def test_memory_is_that_of_a_run(self):
        for number, (ranks, mesh) in enumerate(MESHES):
            with self.subTest(ranks=ranks, **mesh):
                changes = {**SHAPE, **mesh}
                options = self.options("unused", **changes)
                planned = self.plan("--machine", self.machine(), "--ranks", ranks, *options).stdout
                told = self.jreg("train", *self.options(f"run_{number}", **changes), ranks=ranks).stderr
                real = float(re.search(r"memory per rank: ([\d.]+) MB of tensors", told)[1])
                copy = float(re.search(r"of the copy for checkpoints: ([\d.]+) MB", told)[1])
                self.assertGreater(real, 5)
                self.assertAlmostEqual(float(re.search(r"all tensors +([\d.]+)", planned)[1]), real, delta=0.06)
                self.assertAlmostEqual(float(re.search(r"in host memory +([\d.]+)", planned)[1]), copy, delta=0.06)

    def test_traffic_is_that_of_a_run(self):
        for ranks, mesh in MESHES[1:]:
            with self.subTest(ranks=ranks, **mesh):
                options = self.options("unused", **SHAPE, **mesh)
                planned = {}
                plan = self.plan("--machine", self.machine(), "--ranks", ranks, *options).stdout
                for kind, calls, given, sent in re.findall(
                        r"(all-reduce|reduce-scatter|all-gather) +node +(\d+) +([\d.]+) +([\d.]+)", plan):
                    so_far = planned.setdefault(kind, [0, 0, 0])
                    planned[kind] = [so_far[0] + int(calls), so_far[1] + float(given), so_far[2] + float(sent)]
                real = {}
                run = self.jreg("train", *options, "--benchmark", "--benchmark-steps", 1, ranks=ranks).stdout
                for kind, calls, given, sent in re.findall(
                        r"(all-reduce|reduce-scatter|all-gather) +(\d+) +(\d+) +(\d+)", run):
                    so_far = real.setdefault(kind, [0, 0, 0])
                    real[kind] = [so_far[0] + int(calls), so_far[1] + int(given) / 1e6, so_far[2] + int(sent) / 1e6]
                self.assertEqual(planned.keys(), real.keys())
                for kind, numbers in real.items():
                    self.assertEqual(planned[kind][0], numbers[0], kind)
                    self.assertAlmostEqual(planned[kind][1], numbers[1], delta=0.005)
                    self.assertAlmostEqual(planned[kind][2], numbers[2], delta=0.005)

    def test_what_does_not_fit_is_refused_with_its_term(self):
        large = support.ROOT / "configs" / "llama_3b.cfg"
        machine = self.machine(machine__memory_gb=30, machine__backend="cuda", machine__reserve_gb=1)
        self.assert_refused(self.plan("--config", large, "--machine", machine, "--ranks", 1, check=2),
                            "nothing fits", "moments", "GB of 30.0 GB")
        # With four ranks the optimizer's state can be split, though the config as given here does not.
        result = self.plan("--config", large, "--machine", machine, "--mesh.zero1", "false", "--mesh.tensor", 1)
        self.assertIn("the config's own mesh cannot run: a rank needs", result.stdout)
        self.assertIn("set mesh.zero1 = true", result.stdout)
        self.last_line(result)

    def test_wrong_options_end_with_code_2(self):
        for words, parts in (
                (("--machine", "nowhere.cfg"), ["nowhere.cfg"]),
                (("--machine", self.machine(memory__bandwith_gb=3)), ["memory.bandwith_gb", "memory.bandwidth_gb"]),
                (("--nodes", "0"), ["nodes"]),
                (("--model.hidden", "100", "--model.heads", "3"), ["model.hidden"]),
                (("--train.global_batch", "3", "--model.heads", "2"), ["train.global_batch"]),
                (("--nods", "2"), ["nods", "nodes"])):
            with self.subTest(words=words):
                self.assert_refused(self.plan(*words, check=2), *parts)

    def test_scaling_is_a_table_of_powers_of_two(self):
        options = self.options("unused", train__global_batch=64)
        table = self.plan("--scaling", *options).stdout.splitlines()
        self.assertEqual([int(row.split("|")[1]) for row in table[2:]], [2 ** i for i in range(11)])
        self.assertIn("100.0 %", table[2])
        self.assertIn("train.global_batch = 64", table[-1])

    def test_calibration_gives_a_machine_to_plan_with(self):
        file = self.folder / "measured.cfg"
        options = self.options("unused")
        self.jreg("plan", "--calibrate", file, *options, ranks=2)
        result = self.plan("--machine", file, *options)
        line = self.last_line(result)
        self.assertEqual(int(line[1]) * int(line[2]), 2)
        self.assertRegex(result.stdout, r"gradients +all-reduce +node +\d+")


if __name__ == "__main__":
    support.main()
