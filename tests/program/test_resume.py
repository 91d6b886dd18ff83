"""Stopping and resuming gives the run that was never stopped; damaged checkpoints are passed over."""
import signal
import subprocess
import time

import numpy as np

import support

CHECKPOINTS = {"checkpoint__interval": 2, "jreg__lambda": 0.4, "jreg__penalty": "jump"}
WITHOUT_MASTERS = {"run__precision": "bf16", "optim__master_weights": False}


class Resume(support.ProgramTest):
    def assert_same_run(self, first, second):
        steps = support.TINY["train.steps"]
        self.assertEqual(support.differing_columns(support.read_columns(first), support.read_columns(second)), [])
        last = f"checkpoints/step_{steps:08d}"
        a, b = support.checkpoint_tensors(first / last), support.checkpoint_tensors(second / last)
        self.assertGreater(len(a), 3 * 9 * support.TINY["model.layers"])
        self.assertEqual(support.differing_columns({f"t/{n}": v for n, v in a.items()},
                                                   {f"t/{n}": v for n, v in b.items()}), [])

    def test_stopped_and_resumed_equals_uninterrupted(self):
        for name, ranks, changes in (
                ("one", 1, {}), ("four", 4, {"mesh__tensor": 2, "mesh__zero1": True}),
                ("bf16", 2, {"mesh__zero1": True, "run__precision": "bf16", "model__tie_embeddings": True}),
                ("bf16_alone", 4, {"mesh__tensor": 2, "mesh__zero1": True, **WITHOUT_MASTERS})):
            with self.subTest(mesh=name):
                whole = self.train(f"{name}_whole", ranks=ranks, **CHECKPOINTS, **changes)
                self.train(f"{name}_parts", "--stop-at", "3", ranks=ranks, **CHECKPOINTS, **changes)
                self.assertTrue((self.folder / f"{name}_parts/checkpoints/step_00000003").is_dir())
                parts = self.train(f"{name}_parts", "--resume", "auto", ranks=ranks, **CHECKPOINTS, **changes)
                self.assert_same_run(whole, parts)

    def test_a_checkpoint_goes_on_on_any_other_mesh(self):
        whole = support.read_columns(self.train("whole", **CHECKPOINTS))
        # Data x tensor ranks 1 x 4, 2 x 2, 4 x 1 and 1 x 1, each from the checkpoint of the one before.
        meshes = [(2, 4, {"mesh__tensor": 4, "mesh__sequence_parallel": True}), (3, 4, {"mesh__tensor": 2}), (4, 4, {}),
                  (6, 1, {})]
        for name, zero1_of in (("plain", [False] * 4), ("zero1", [True] * 4), ("mixed", [True, False, True, False])):
            with self.subTest(zero1=name):
                for (stop, ranks, changes), zero1 in zip(meshes, zero1_of):
                    self.train(name, "--resume", "auto", "--stop-at", str(stop), ranks=ranks, mesh__zero1=zero1,
                               **changes, **CHECKPOINTS)
                run = support.read_columns(self.folder / name)
                np.testing.assert_array_equal(run["train/step"], whole["train/step"])
                np.testing.assert_allclose(run["train/loss"], whole["train/loss"], rtol=2e-5)
                np.testing.assert_allclose(run["train/displacement"], whole["train/displacement"], rtol=2e-5, atol=1e-5)

    def test_master_weights_come_and_go_where_that_is_allowed(self):
        step = "checkpoints/step_00000003"

        def weights(run):
            return {name: values for name, values in support.checkpoint_tensors(self.folder / run / step).items()
                    if name.startswith("weights/")}

        with_masters = {**WITHOUT_MASTERS, "optim__master_weights": True}
        for name, before, after in (("leave", with_masters, WITHOUT_MASTERS), ("come", WITHOUT_MASTERS, with_masters)):
            with self.subTest(masters=name):
                self.train(name, "--stop-at", "3", **CHECKPOINTS, **before)
                refused = self.train(name, "--resume", "auto", check=2, **CHECKPOINTS, **after)
                self.assert_refused(refused, "optim.master_weights", "--allow-change")
                stored = weights(name)
                # bf16 numbers have 16 zero bits at the end; fp32 masters hold more.
                exact = all((values.view(np.uint32) & 0xffff == 0).all() for values in stored.values())
                self.assertGreater(len(stored), 9 * support.TINY["model.layers"])
                self.assertEqual(exact, before is WITHOUT_MASTERS)
                run = self.train(name, "--resume", "auto", "--allow-change", "optim.master_weights", **CHECKPOINTS,
                                 **after)
                self.assertTrue(np.isfinite(support.read_columns(run)["train/loss"]).all())
                self.assertEqual(len(support.read_columns(run)["train/loss"]), support.TINY["train.steps"])

    def test_a_killed_run_resumes_from_its_last_checkpoint(self):
        changes = {**CHECKPOINTS, "train__steps": 400, "checkpoint__interval": 10}
        whole = self.train("whole", **changes)
        run = self.folder / "killed"
        with subprocess.Popen([support.JREG, "train", *self.options("killed", **changes)], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 60
            while not list(run.glob("checkpoints/step_*")) and time.monotonic() < deadline:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        self.assertEqual(process.returncode, -signal.SIGKILL)
        rows = len(support.read_columns(run)["train/step"])  # readable as it was left
        self.assertGreaterEqual(rows, 10)
        self.train("killed", "--resume", "auto", **changes)
        self.assertEqual(support.differing_columns(support.read_columns(whole), support.read_columns(run)), [])

    def test_resume_auto_starts_anew_without_a_checkpoint_and_rests_when_complete(self):
        run = self.train("run", "--resume", "auto", train__steps=2)
        before = support.read_columns(run)
        self.train("run", "--resume", "auto", train__steps=2)
        self.assertEqual(support.differing_columns(support.read_columns(run), before), [])

    def damaged(self, change):
        """A run stopped at update 4, in whose newest checkpoint `change` was applied to a shard's bytes."""
        run = self.train("run", "--stop-at", "4", **CHECKPOINTS)
        newest = run / "checkpoints" / "step_00000004"
        shard = sorted(newest.glob("rank_*.h5"))[0]
        shard.write_bytes(change(bytearray(shard.read_bytes())))
        return run, newest, shard

    @staticmethod
    def flip(content):
        content[len(content) // 2] ^= 0x10
        return content

    def test_a_flipped_bit_is_named_and_never_loaded(self):
        _, newest, shard = self.damaged(self.flip)
        self.assert_refused(self.jreg("verify", newest, check=65), shard.name)
        self.assert_error(self.train("run", "--resume", "4", check=65, **CHECKPOINTS), shard.name)

    def assert_passed_over(self, change):
        run, newest, _ = self.damaged(change)
        self.jreg("verify", newest, check=65)
        result = self.jreg("train", *self.options("run", **CHECKPOINTS), "--resume", "auto")
        self.assertIn(newest.name, result.stderr)
        self.assertIn("resumed at step 2", result.stderr)
        self.assert_same_run(self.train("whole", **CHECKPOINTS), run)

    def test_resume_auto_passes_over_a_checkpoint_that_is_not_whole(self):
        self.assert_passed_over(lambda content: content[:-100])

    def test_resume_auto_passes_over_a_checkpoint_with_a_flipped_bit(self):
        self.assert_passed_over(self.flip)

    def test_a_changed_architecture_is_refused(self):
        self.train("run", "--stop-at", "2", **CHECKPOINTS)
        result = self.train("run", "--resume", "auto", check=2, model__ffn=64, **CHECKPOINTS)
        self.assert_refused(result, "model.ffn")

    def test_a_signal_saves_and_returns_85(self):
        changes = {**CHECKPOINTS, "train__steps": 100000, "checkpoint__interval": 0}
        command = ["mpirun", "-n", "2", support.JREG, "train", *self.options("run", **changes)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + 60
            while not (self.folder / "run" / "dynamics.h5").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.5)
            process.send_signal(signal.SIGUSR1)  # mpirun passes it on
            _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 85, errors)
        saved = list((self.folder / "run" / "checkpoints").glob("step_*"))
        self.assertEqual(len(saved), 1)
        self.jreg("verify", saved[0])
        step = int(saved[0].name.removeprefix("step_"))
        self.assertEqual(max(support.read_columns(self.folder / "run")["train/step"], default=0), step)

    def test_a_nan_stops_all_ranks_before_the_update(self):
        # A learning rate that throws the weights out of every range.
        result = self.train("run", ranks=2, check=70, optim__learning_rate=1e30, optim__clip=0, optim__warmup_steps=0,
                            train__steps=50, checkpoint__interval=1)
        self.assert_error(result, "update 2", "gradient norm", "train.on_nonfinite")
        self.assertTrue(np.isfinite(support.read_columns(self.folder / "run")["train/loss"]).all())


if __name__ == "__main__":
    support.main()
