"""SIGKILL at random moments after the second checkpoint, resumed each time: the run ends as if nothing had been.

    test_kills.py [ROUNDS [SEED]]      the program in the environment's JREG
"""
import pathlib
import random
import signal
import subprocess
import sys
import time

import support

ROUNDS, SEED = 50, 1
KILLS_PER_RUN = 5
CHANGES = {"train__steps": 320, "checkpoint__interval": 8, "checkpoint__keep": 2, "eval__interval": 40,
           "probe__interval": 60, "jreg__lambda": 0.4, "log__interval": 50, "mesh__zero1": True}


def children_of(process):
    """Ids of the ranks that an mpirun started."""
    found = []
    for task in pathlib.Path(f"/proc/{process.pid}/task").glob("*/children"):
        found += [int(child) for child in task.read_text().split()]
    return found


class Kills(support.ProgramTest):
    def start(self, run, ranks):
        launcher = [] if ranks == 1 else ["mpirun", "-n", str(ranks)]
        command = [*launcher, support.JREG, "train", *self.options(run, **CHANGES), "--resume", "auto"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def wait_for_saves(self, process, run, count):
        """Until `count` more checkpoints are complete, or the run has ended."""
        pointer = self.folder / run / "checkpoints" / "latest"
        seen, saves = None, -1
        deadline = time.monotonic() + 60
        while saves < count and process.poll() is None and time.monotonic() < deadline:
            now = pointer.read_text() if pointer.exists() else ""
            if now != seen:
                seen, saves = now, saves + 1
            time.sleep(0.001)

    def kill_once(self, run, ranks, chance):
        """Starts or resumes the run and kills one of its ranks; whether it had not ended before."""
        process = self.start(run, ranks)
        with process:
            self.wait_for_saves(process, run, 2)
            time.sleep(chance.uniform(0, 0.12))
            if process.poll() is not None:
                self.assertEqual(process.returncode, 0, process.stderr.read())
                return False
            victims = [process.pid] if ranks == 1 else children_of(process)
            self.assertEqual(len(victims), ranks)
            subprocess.run(["kill", "-KILL", str(chance.choice(victims))], check=False, capture_output=True)
            process.communicate(timeout=60)
        self.assertIn(process.returncode, (-signal.SIGKILL, 128 + signal.SIGKILL))
        return True

    def test_a_run_killed_at_random_ends_as_if_nothing_had_been(self):
        whole = {ranks: self.train(f"whole{ranks}", ranks=ranks, **CHANGES) for ranks in (1, 2)}
        kills, done = [], 0  # ranks of each run that was killed

        def check(number, ranks):
            chance = random.Random(SEED * 1_000_000 + number)
            name = f"run{number}_{ranks}"
            for _ in range(KILLS_PER_RUN):
                if not self.kill_once(name, ranks, chance):
                    break
                kills.append(ranks)
                support.read_columns(self.folder / name)  # readable as it was left
                for checkpoint in (self.folder / name / "checkpoints").glob("step_*[0-9]"):
                    if checkpoint.name[5:].isdecimal():
                        self.jreg("verify", checkpoint)
            process = self.start(name, ranks)
            _, errors = process.communicate(timeout=120)
            self.assertEqual(process.returncode, 0, errors)
            self.assertEqual(support.differences_of_runs(whole[ranks], self.folder / name), [],
                             f"seed {SEED}, run {number}")

        while len(kills) < ROUNDS and done < ROUNDS:
            runs = -(-(ROUNDS - len(kills)) // KILLS_PER_RUN)
            support.in_parallel(self, [1 + (number + done) % 2 for number in range(runs)],
                                lambda number, ranks, done=done: check(done + number, ranks), workers=3)
            done += runs
        print(f"killed {kills.count(1)} times on 1 rank, {kills.count(2)} times on 2")
        self.assertGreaterEqual(len(kills), ROUNDS)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    ROUNDS, SEED = (numbers + [ROUNDS, SEED][len(numbers):])[:2]
    del sys.argv[1:]
    support.main()
