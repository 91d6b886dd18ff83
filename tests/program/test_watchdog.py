"""A rank that hangs or dies takes all others with it in time; one that is asked to end leaves with a checkpoint."""
import contextlib
import os
import pathlib
import platform
import signal
import subprocess
import time

import numpy as np

import support

LONG = {"train__steps": 1_000_000, "checkpoint__interval": 0, "eval__interval": 0, "probe__interval": 0,
        "log__interval": 1}
GRACE = 30  # seconds beside the deadline until everything must be gone
RETRY, SIGNALLED = 75, 85


def environment(pid):
    with contextlib.suppress(OSError):
        words = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return dict(word.decode(errors="replace").split("=", 1) for word in words if b"=" in word)
    return {}


def parent(pid):
    with contextlib.suppress(OSError, ValueError):
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return -1


def is_running(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def children(pid):
    return [int(entry.name) for entry in pathlib.Path("/proc").iterdir()
            if entry.name.isdigit() and parent(int(entry.name)) == pid]


def ranks_below(launcher):
    """{rank: pid} of the processes that a running mpirun has started."""
    ranks = {}
    for child in children(launcher):
        rank = environment(child).get("OMPI_COMM_WORLD_RANK")
        if rank is not None:
            ranks[int(rank)] = child
    return ranks


def wait_for(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited in vain")
        time.sleep(0.002)


def write_long_validation(folder):
    support.write_tokens(folder / "long", support.sample_documents(3, 6000))


class Launched:
    """jreg train on some ranks, while it runs."""

    def __init__(self, test, run, *words, ranks=2, **changes):
        self.test, self.run = test, test.folder / run
        self.log = test.folder / f"{run}.log"
        command = ["mpirun", "-n", str(ranks), support.JREG, "train",
                   *test.options(run, **{**LONG, **changes}), *words]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                            cwd=test.folder)
        test.addCleanup(self.clean_up)
        self.ranks = {}
        wait_for(lambda: len(self.find_ranks()) == ranks)

    def find_ranks(self):
        self.ranks = ranks_below(self.process.pid)
        return self.ranks

    def text(self):
        return self.log.read_text(errors="replace")

    def wait_for_text(self, text):
        def seen():
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}:\n{self.text()}")
            return text in self.text()
        wait_for(seen)

    def signal(self, rank, number):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.ranks[rank], number)

    def finish(self, seconds):
        """Exit code; everything must be gone within `seconds`."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.test.fail(f"still there after {seconds} s:\n{self.text()}")
        wait_for(lambda: not any(is_running(pid) for pid in self.ranks.values()), 5)
        return code

    def clean_up(self):
        for rank in self.ranks:
            self.signal(rank, signal.SIGKILL)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class HangsAndDeaths(support.ProgramTest):
    DEADLINE = 3

    def assert_told(self, launched, rank, phase):
        lines = [line for line in launched.text().splitlines() if "no progress" in line]
        self.assertTrue(any(f"rank {rank} on host {platform.node()}, step " in line and phase in line for line in lines),
                        launched.text())

    def test_a_stopped_rank_ends_all_in_time_and_the_others_tell_where_they_wait(self):
        for stopped in (0, 1):
            with self.subTest(stopped=stopped):
                run = Launched(self, f"run{stopped}", run__step_deadline=self.DEADLINE)
                run.wait_for_text("step=3 ")
                run.signal(stopped, signal.SIGSTOP)
                self.assertIn(run.finish(self.DEADLINE + GRACE), (RETRY, 128 + signal.SIGKILL))
                self.assert_told(run, 1 - stopped, "phase ")

    def test_a_rank_stopped_in_start_up_ends_all_too(self):
        run = Launched(self, "run", run__step_deadline=self.DEADLINE)
        run.signal(1, signal.SIGSTOP)
        self.assertIn(run.finish(2 * self.DEADLINE + GRACE), (RETRY, 128 + signal.SIGKILL))

    def test_a_rank_stopped_in_an_evaluation_ends_all_too(self):
        write_long_validation(self.data)
        run = Launched(self, "run", run__step_deadline=self.DEADLINE, data__validation=self.data / "long",
                       eval__interval=2, eval__batches=100_000)
        run.wait_for_text("step=2 ")
        time.sleep(0.2)
        run.signal(1, signal.SIGSTOP)
        self.assertIn(run.finish(self.DEADLINE + GRACE), (RETRY, 128 + signal.SIGKILL))
        self.assert_told(run, 0, "phase evaluation")

    def test_a_rank_stopped_in_a_save_ends_all_and_leaves_the_checkpoint_before(self):
        for name, behind in (("waiting", False), ("behind", True)):
            with self.subTest(checkpoint__async=behind):
                run = Launched(self, name, run__step_deadline=self.DEADLINE, model__hidden=192, model__ffn=768,
                               checkpoint__interval=1, checkpoint__keep=1, checkpoint__async=behind)
                run.wait_for_text("step=2 checkpoint=")
                wait_for(lambda: list(run.run.glob("checkpoints/step_*.tmp-*")))
                run.signal(1, signal.SIGSTOP)
                self.assertIn(run.finish(2 * self.DEADLINE + GRACE), (RETRY, 128 + signal.SIGKILL))
                self.assert_told(run, 0, "phase ")
                whole = sorted(run.run.glob("checkpoints/step_????????"))
                self.assertGreaterEqual(len(whole), 1)
                for folder in whole:
                    self.jreg("verify", folder)

    def test_a_killed_rank_ends_all_with_the_launchers_code(self):
        run = Launched(self, "run")
        run.wait_for_text("step=3 ")
        run.signal(1, signal.SIGKILL)
        self.assertEqual(run.finish(GRACE), 128 + signal.SIGKILL)

    def test_a_run_suspended_as_a_whole_goes_on(self):
        run = Launched(self, "run", "--stop-at", "400", run__step_deadline=self.DEADLINE)
        run.wait_for_text("step=3 ")
        for number, rest in ((signal.SIGSTOP, 3 * self.DEADLINE), (signal.SIGCONT, 0)):
            for rank in run.ranks:
                run.signal(rank, number)
            time.sleep(rest)
        self.assertEqual(run.finish(90), 0, run.text())

    def test_a_slow_rank_is_warned_of_and_goes_on(self):
        run = Launched(self, "run", "--stop-at", "200", log__interval=10)
        run.wait_for_text("step=10 ")
        while run.process.poll() is None:  # the rank computes a tenth of the time
            run.signal(1, signal.SIGSTOP)
            time.sleep(0.02)
            run.signal(1, signal.SIGCONT)
            time.sleep(0.002)
        self.assertEqual(run.finish(60), 0)
        warnings = [line for line in run.text().splitlines() if "is slow" in line]
        self.assertTrue(any(f"rank 1 on host {platform.node()}" in line for line in warnings), run.text())
        self.assertLess(len(warnings), 12)


class Signals(support.ProgramTest):
    def checkpoints(self, run):
        return sorted(path.name for path in (run.run / "checkpoints").glob("step_????????"))

    def assert_left_at(self, run, code=SIGNALLED, seconds=30):
        """All ranks left with the code; returns the one checkpoint's step, which is the last one recorded."""
        self.assertEqual(run.finish(seconds), code, run.text())
        names = self.checkpoints(run)
        self.assertEqual(len(names), 1, names)
        self.jreg("verify", run.run / "checkpoints" / names[0])
        step = int(names[0].removeprefix("step_"))
        self.assertEqual(max(support.read_columns(run.run)["train/step"], default=0), step)
        return step

    def test_one_signal_or_two_to_one_rank_alone_is_enough(self):
        for name, number, times in (("one", signal.SIGUSR1, 1), ("two", signal.SIGTERM, 2)):
            with self.subTest(signals=name):
                run = Launched(self, name)
                run.wait_for_text("step=5 ")
                for _ in range(times):
                    run.signal(1, number)
                    time.sleep(0.01)
                self.assertGreaterEqual(self.assert_left_at(run), 5)

    def test_a_third_signal_ends_at_once_without_a_checkpoint(self):
        run = Launched(self, "run", eval__interval=1, eval__batches=1000)
        run.wait_for_text("step=2 ")
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):  # equal ones that wait together count once
            run.signal(1, number)
        self.assertEqual(run.finish(20), RETRY)
        self.assertIn("error: a third signal: this rank ends at once, and makes no checkpoint", run.text())

    def test_sigusr1_is_a_request_however_often_it_comes(self):
        run = Launched(self, "run")
        run.wait_for_text("step=5 ")
        for _ in range(20):
            run.signal(1, signal.SIGUSR1)
            time.sleep(0.001)
        self.assert_left_at(run)

    def test_a_signal_before_the_first_update_leaves_a_checkpoint_of_step_0(self):
        write_long_validation(self.data)
        changes = {**LONG, "data__validation": self.data / "long"}
        run = Launched(self, "run", **{**changes, "probe__sequences": 20_000})
        wait_for(lambda: (run.run / "dynamics.h5").exists())
        run.signal(1, signal.SIGUSR1)
        self.assertEqual(self.assert_left_at(run, seconds=5), 0)
        whole = support.read_columns(self.train("whole", "--stop-at", "4", ranks=2, **changes))
        self.train("run", "--stop-at", "4", "--resume", "auto", ranks=2, **changes)
        self.assertEqual(support.differing_columns(support.read_columns(run.run), whole), [])

    def test_a_signal_in_start_up_is_not_lost(self):
        run = Launched(self, "run")
        wait_for(lambda: (run.run / "run.lock").exists())
        run.signal(0, signal.SIGTERM)
        self.assertLessEqual(self.assert_left_at(run), 1)

    def test_a_long_evaluation_ends_on_a_signal_and_is_made_up_for(self):
        write_long_validation(self.data)
        changes = {**LONG, "data__validation": self.data / "long", "eval__interval": 2}
        run = Launched(self, "run", **{**changes, "eval__batches": 100_000})
        run.wait_for_text("step=2 ")
        time.sleep(0.1)
        run.signal(1, signal.SIGUSR1)
        self.assertEqual(self.assert_left_at(run, seconds=5), 2)
        self.assertEqual(len(support.read_columns(run.run)["validation/step"]), 0)
        whole = support.read_columns(self.train("whole", "--stop-at", "4", ranks=2, **changes))
        self.train("run", "--stop-at", "4", "--resume", "auto", ranks=2, **changes)
        self.assertEqual(support.differing_columns(support.read_columns(run.run), whole), [])

    def test_a_signal_during_a_save_is_answered_after_it(self):
        run = Launched(self, "run", model__hidden=512, model__ffn=2048, checkpoint__interval=2, checkpoint__keep=1)
        wait_for(lambda: list(run.run.glob("checkpoints/step_*.tmp-*")))
        run.signal(1, signal.SIGUSR1)
        step = self.assert_left_at(run, seconds=60)
        self.assertIn(f"step={step} checkpoint=", run.text())
        np.testing.assert_array_equal(support.read_columns(run.run)["train/step"], np.arange(1, step + 1))


if __name__ == "__main__":
    support.main()
