"""jreg train --preflight: good launches pass and leave nothing behind; each bad one is told with rank and host."""
import os
import platform
import shlex
import shutil
import signal
import subprocess
import time

import support
import test_watchdog

HOST = platform.node()


class Preflight(support.ProgramTest):
    def preflight(self, *words, ranks=2, check=0, run="run", **changes):
        return self.jreg("train", "--preflight", *self.options(run, **changes), *words, ranks=ranks, check=check)

    def launch_each(self, *commands, check):
        """One rank with each command. mpirun's own colons between them crash that of Debian 13 (Open MPI 5.0.7)."""
        choice = "".join(f"{rank}) exec {shlex.join(map(str, command))} ;; " for rank, command in enumerate(commands))
        words = ["mpirun", "-n", str(len(commands)), "sh", "-c", f"case $OMPI_COMM_WORLD_RANK in {choice} esac"]
        result = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, cwd=self.folder,
                                stdin=subprocess.DEVNULL)
        self.assertEqual(result.returncode, check, result.stderr)
        return result

    def test_good_launches_pass_and_leave_nothing_behind(self):
        before = sorted(path.name for path in self.folder.iterdir())
        for ranks, tensor in ((None, 1), (1, 1), (4, 2)):
            with self.subTest(ranks=ranks):
                result = self.preflight(ranks=ranks, run="new/run", mesh__tensor=tensor)
                self.assertIn("preflight passed", result.stderr)
                self.assertNotIn("error:", result.stderr)
                for name in ("ranks", "program", "libraries", "options and data files", "tokens", "hosts", "devices",
                             "memory", "clocks", "run folder", "links", "sums over data ranks", "speed"):
                    self.assertIn(f"ok: {name}: ", result.stderr)
                self.assertIn("ok: devices: cpu backend", result.stderr)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), before)

    def test_another_executable_on_one_rank(self):
        other = self.folder / "jreg"
        shutil.copy(support.JREG, other)
        with other.open("ab") as file:
            file.write(b"\n")
        words = ["train", "--preflight", *self.options("run")]
        result = self.launch_each([support.JREG, *words], [other, *words], check=2)
        self.assert_error(result, "program", f"rank 1 on host {HOST}", "same build")

    def test_other_options_on_one_rank_are_named(self):
        words = [support.JREG, "train", "--preflight", *self.options("run")]
        result = self.launch_each(words, [*words, "--train.steps", 7, "--optim.clip", 3], check=2)
        self.assert_error(result, f"rank 1 on host {HOST}", "train.steps is '7' there and '6' on rank 0", "optim.clip")
        result = self.launch_each(words, [*words, "--train.stepz", 7], check=2)
        self.assert_error(result, f"rank 1 on host {HOST}", "did you mean train.steps?")

    def test_options_that_every_rank_refuses_are_told_once(self):
        for changes, part in (({"train__global_batch": 7}, "train.global_batch = 7"),
                              ({"data__train": "nowhere"}, "nowhere.idx"), ({"mesh__tensor": 3}, "mesh.tensor = 3")):
            with self.subTest(part=part):
                self.assert_error(self.preflight(check=2, **changes), part)
        self.assert_error(self.preflight("--benchmark", check=2), "--benchmark")

    def test_weights_to_begin_with_are_looked_at(self):
        parent = self.train("parent", checkpoint__interval=6)
        self.preflight("--init", parent)
        self.assert_error(self.preflight("--init", parent, check=2, model__ffn=64), "model.ffn = 64", "put model.ffn = 48")
        self.assert_error(self.preflight("--init", "nowhere", check=2), "nowhere: is not there")

    def test_as_many_ranks_as_slurm_says(self):
        os.environ["SLURM_NTASKS"] = "3"
        self.addCleanup(os.environ.pop, "SLURM_NTASKS")
        self.assert_error(self.preflight(check=2), "MPI has 2 rank(s)", "SLURM_NTASKS = 3", f"host {HOST}")
        self.assert_error(self.preflight(check=2, ranks=None), "MPI has 1 rank(s)", "SLURM_NTASKS = 3")
        os.environ["SLURM_NTASKS"] = "2"
        self.preflight()

    def test_a_run_folder_that_cannot_be_written(self):
        locked = self.folder / "locked"
        locked.mkdir()
        command = ["mpirun", "-n", "2", support.JREG, "train", "--preflight", *self.options("locked/run")]
        if os.geteuid() == 0:  # permissions do not bind root
            mounted = f"mount -t tmpfs -o ro none {locked} && exec \"$@\""
            if subprocess.run(["unshare", "--mount", "sh", "-c", mounted, "sh", "true"], capture_output=True,
                              check=False).returncode != 0:
                self.skipTest("this system lets nobody mount")
            command = ["unshare", "--mount", "sh", "-c", mounted, "sh", *command]
        else:
            locked.chmod(0o555)
            self.addCleanup(locked.chmod, 0o755)
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assert_error(result, "run folder", f"rank 0 on host {HOST}", str(locked), "run.dir")

    def test_a_run_folder_with_checkpoints_or_in_use(self):
        self.train("run", "--stop-at", 2, ranks=2)
        self.assert_error(self.preflight(check=2), "holds checkpoints", "--resume auto")
        self.preflight("--resume", "auto")
        self.assert_error(self.preflight("--resume", "auto", check=2, optim__clip=2), "optim.clip")
        run = test_watchdog.Launched(self, "busy")
        run.wait_for_text("step=3 ")
        self.assert_error(self.preflight(check=2, run="busy"), "in use by process", HOST)
        run.signal(0, signal.SIGUSR1)
        self.assertEqual(run.finish(60), 85, "the preflight left the lock alone")

    def test_more_memory_and_disk_than_there_is(self):
        result = self.preflight(check=2, model__hidden=65536, model__layers=80, model__ffn=200_000)
        lines = [line for line in result.stderr.splitlines() if "error:" in line]
        self.assertEqual(len(lines), 2, result.stderr)
        self.assertIn(f"memory: ranks 0, 1 on host {HOST}", lines[0])
        self.assertIn("bytes are free", lines[1])

    def test_a_rank_that_hangs_is_a_reason_to_try_again(self):
        run = test_watchdog.Launched(self, "run", "--preflight", run__step_deadline=2)
        begin = time.monotonic()
        run.signal(1, signal.SIGSTOP)
        self.assertIn(run.finish(4 + test_watchdog.GRACE), (75, 128 + signal.SIGKILL), run.text())
        self.assertLess(time.monotonic() - begin, 4 + test_watchdog.GRACE)
        self.assertIn(f"rank 0 on host {HOST}", run.text())


if __name__ == "__main__":
    support.main()
