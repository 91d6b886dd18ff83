"""The system's calls fail at random below the real program, or do less than they were asked to (libfiu's fiu-run).

A run then ends in order or not at all; what it leaves is whole, and it goes on to the same end as an undisturbed one.
Rounds and the seconds that a run may take can be given as arguments.
"""
import errno
import os
import shutil
import signal
import subprocess
import sys

import support

CHANGES = {"checkpoint__interval": 2, "checkpoint__keep": 1, "jreg__lambda": 0.4, "mesh__zero1": True}
RANKS = 2
ENDED_BY_AN_ERROR = 74
# What fails, how often, and whether the program can do without: a short write it continues, an old folder it leaves.
POINTS = [
    ("posix/io/rw/pwrite/reduce", 0.3, True),
    ("posix/io/rw/pwrite", 0.02, False),
    ("posix/io/sync/fsync", 0.04, False),
    ("posix/io/dir/rename", 0.1, False),
    ("posix/io/dir/unlink", 0.3, True),
]


class IoErrors(support.ProgramTest):
    rounds, seconds = 2, 40
    start = 10  # seconds until a run has begun

    def run_with(self, name, point, probability):
        """A new run `name` in which `point` fails; returns exit code and what it printed."""
        run = self.folder / name
        run.parent.mkdir(exist_ok=True)
        command = ["mpirun", "-n", str(RANKS), "fiu-run", "-x", "-f", "", "-c",
                   f"enable_random name={point},probability={probability},failinfo={errno.EIO}", support.JREG, "train",
                   *self.options(name, **CHANGES)]
        for _ in range(15):
            shutil.rmtree(run, ignore_errors=True)
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  stdin=subprocess.DEVNULL, cwd=self.folder, start_new_session=True) as process:
                for seconds in (self.start, self.seconds):
                    try:
                        text, _ = process.communicate(timeout=seconds)
                        return process.returncode, text
                    except subprocess.TimeoutExpired:
                        if not (run / "dynamics.h5").exists():
                            break
                os.killpg(process.pid, signal.SIGTERM)  # mpirun ends its ranks
                text, _ = process.communicate()
            # libfiu's own locks and the dynamic loader's can wait for one another while Open MPI loads its plug-ins.
            self.assertNotIn("step=", text, "the run hangs")
            self.assertFalse((run / "dynamics.h5").exists(), f"the run hangs:\n{text}")
        return self.fail("fifteen runs hung before they began")

    def test_a_run_with_failing_calls_ends_in_order_and_goes_on_to_the_same_end(self):
        whole = self.train("whole", ranks=RANKS, **CHANGES)
        ended = []

        def check(number, case):
            point, probability, harmless = case
            name = f"{number}/run"
            code, text = self.run_with(name, point, probability)
            self.assertIn(code, (0,) if harmless else (0, ENDED_BY_AN_ERROR), text)
            if code:
                ended.append(point)
                self.assertRegex(text, r"error: .*/run/.*(Input/output error|errno = 5)")
            run = self.folder / name
            for folder in run.glob("checkpoints/step_????????"):
                self.jreg("verify", folder)
            self.train(name, "--resume", "auto", ranks=RANKS, **CHANGES)
            self.assertEqual(support.differences_of_runs(whole, run), [])

        support.in_parallel(self, POINTS * self.rounds, check)
        print(f"{len(ended)} of {self.rounds * len(POINTS)} runs ended by an error")
        self.assertGreater(len(ended), 0, "no call failed")


if __name__ == "__main__":
    if shutil.which("fiu-run") is None:
        if os.environ.get("CI") == "true":
            sys.exit("fiu-run is missing: install fiu-utils")
        print("skipped: fiu-run is missing; install fiu-utils")
        sys.exit(77)
    if len(sys.argv) > 1 and sys.argv[1].isdecimal():
        IoErrors.rounds = int(sys.argv.pop(1))
    if len(sys.argv) > 1 and sys.argv[1].isdecimal():
        IoErrors.seconds = int(sys.argv.pop(1))
    support.main()
