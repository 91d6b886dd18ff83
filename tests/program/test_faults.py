"""A save is killed, or refused by the system, at each edge of its system calls: the old or the new checkpoint is whole,
and the run goes on to the same end. Called with the program that has fail points (tests/support/fail_points.cpp).
"""
import itertools
import os
import pathlib
import shutil
import sys
import time

import support

# One checkpoint is kept, so that the second save, of step 4, purges the first.
CHANGES = {"checkpoint__interval": 2, "checkpoint__keep": 1, "jreg__lambda": 0.4, "jreg__penalty": "jump",
           "mesh__zero1": True}
NEW, TEMPORARY, TRASH = "step_00000004", "step_00000004.tmp-*", ".trash-step_00000002"
KILLED = 128 + 9

# Where the save of step 4 is killed on 2 ranks: the edge, and whether step 4 is complete afterwards.
SAVE_EDGES = [
    (f"before mkdir {TEMPORARY}", False),
    (f"after mkdir {TEMPORARY}", False),
    (f"after create {TEMPORARY}/rank_00001.h5 rank=1", False),
    (f"after write {TEMPORARY}/rank_00001.h5 rank=1 count=3", False),
    (f"before sync {TEMPORARY}/rank_00001.h5 rank=1", False),
    (f"after sync {TEMPORARY}/rank_00001.h5 rank=1", False),
    (f"after sync {TEMPORARY}/rank_00000.h5", False),
    (f"before create {TEMPORARY}/index.h5", False),
    (f"after write {TEMPORARY}/index.h5 count=3", False),
    (f"before sync {TEMPORARY}/index.h5", False),
    (f"after sync {TEMPORARY}/index.h5", False),
    (f"after create {TEMPORARY}/manifest.json.tmp", False),
    (f"after write {TEMPORARY}/manifest.json.tmp", False),
    (f"before rename {TEMPORARY}/manifest.json", False),
    (f"after rename {TEMPORARY}/manifest.json", False),
    (f"before sync {TEMPORARY} count=2", False),
    (f"after sync {TEMPORARY} count=2", False),
    (f"before rename {NEW}", False),
    (f"after rename {NEW}", True),
    ("after sync run/checkpoints count=3", True),
    ("after create latest.tmp count=2", True),
    ("after write latest.tmp count=2", True),
    ("before rename latest count=2", True),
    ("after rename latest count=2", True),
    (f"before rename {TRASH}", True),
    (f"after rename {TRASH}", True),
    (f"after remove {TRASH}/*", True),
    (f"after remove {TRASH}/* count=4", True),
]
# Where the files beside the checkpoints are written, on the first rank.
RECORD_EDGES = [
    "after create run.lock", "after write run.lock", "after create log.jsonl", "before rename config.cfg",
    "after rename config.cfg", "after create dynamics.h5.tmp", "before sync dynamics.h5.tmp", "before rename dynamics.h5",
    "after rename dynamics.h5", "after write log.jsonl", "before write log.jsonl count=4",
    *[f"after write dynamics.h5 count={count}" for count in (1, 3, 8, 21, 55, 144)],
]
# What the system refuses in the save of step 4: the call, the error, and a part of the path that the message names.
REFUSALS = [
    (f"mkdir {TEMPORARY}", "ENOSPC", NEW),
    (f"create {TEMPORARY}/rank_00001.h5 rank=1", "ENOSPC", "rank_00001.h5"),
    (f"write {TEMPORARY}/rank_00001.h5 rank=1", "ENOSPC", "rank_00001.h5"),
    (f"write {TEMPORARY}/rank_00000.h5 rank=0 count=4", "EIO", "rank_00000.h5"),
    (f"sync {TEMPORARY}/rank_00001.h5 rank=1", "EIO", "rank_00001.h5"),
    (f"create {TEMPORARY}/index.h5", "EDQUOT", "index.h5"),
    (f"write {TEMPORARY}/index.h5", "ENOSPC", "index.h5"),
    (f"sync {TEMPORARY}/index.h5", "EIO", "index.h5"),
    (f"create {TEMPORARY}/manifest.json.tmp", "ENOSPC", "manifest.json"),
    (f"write {TEMPORARY}/manifest.json.tmp", "EDQUOT", "manifest.json"),
    (f"sync {TEMPORARY}/manifest.json.tmp", "EIO", "manifest.json"),
    (f"rename {TEMPORARY}/manifest.json", "EIO", "manifest.json"),
    (f"sync {TEMPORARY}", "EIO", NEW),
    (f"rename {NEW}", "EIO", NEW),
    ("sync run/checkpoints count=3", "EIO", "run/checkpoints"),
    ("create latest.tmp count=2", "ENOSPC", "latest"),
    ("write latest.tmp count=2", "ENOSPC", "latest"),
    ("rename latest count=2", "EIO", "latest"),
]
TEXTS = {"ENOSPC": os.strerror(28), "EIO": os.strerror(5), "EDQUOT": os.strerror(122)}


def steps_of(run):
    """Names of the checkpoints that have their final names."""
    return sorted(path.name for path in run.glob("checkpoints/step_*") if path.name[5:].isdecimal())


def processes_of(folder):
    """Ids of processes that still run with `folder` in their arguments."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "cmdline").read_bytes():
                found.append(process.name)
        except OSError:  # it ended meanwhile
            pass
    return found


class Faults(support.ProgramTest):
    def assert_gone(self, run):
        """No process of the run is left soon after its launcher has ended: a rank that is told to end takes a moment."""
        end = time.monotonic() + 10
        while processes_of(run) and time.monotonic() < end:
            time.sleep(0.1)
        self.assertEqual(processes_of(run), [])

    def setUp(self):
        super().setUp()
        self.ranks = 2

    def whole(self):
        return self.train("whole", ranks=self.ranks, **CHANGES)

    def run_with(self, fail, check, number=0):
        """A new run in NUMBER/run with a fail point."""
        name = f"{number}/run"
        (self.folder / str(number)).mkdir(exist_ok=True)
        result = self.jreg("train", *self.options(name, **CHANGES), ranks=self.ranks, check=check, fail=fail)
        return self.folder / name, result

    def assert_goes_on(self, run, whole):
        """Nothing partial looks complete; resumed, the run comes to the same end and leaves nothing behind."""
        for name in steps_of(run):
            self.jreg("verify", run / "checkpoints" / name)
        if (run / "dynamics.h5").exists():
            self.assertEqual(len(set(support.read_columns(run)["train/step"].tolist())),
                             len(support.read_columns(run)["train/step"]))
        name = run.relative_to(self.folder)
        self.jreg("train", *self.options(name, **CHANGES), "--resume", "auto", ranks=self.ranks)
        self.assertEqual(support.differences_of_runs(whole, run), [])
        self.assertEqual(sorted(path.name for path in (run / "checkpoints").iterdir()), ["latest", "step_00000006"])
        shutil.rmtree(run)

    def test_a_save_killed_at_any_edge_leaves_the_old_or_the_new_checkpoint(self):
        whole = self.whole()

        def check(number, case):
            edge, complete = case
            run, _ = self.run_with(f"{edge} kill", KILLED, number)
            self.assertEqual(NEW in steps_of(run), complete)
            if not complete or "trash" not in edge:
                self.assertIn("step_00000002", steps_of(run))
            self.assert_goes_on(run, whole)

        support.in_parallel(self, SAVE_EDGES, check)

    def test_a_run_killed_while_it_writes_its_records_goes_on(self):
        whole = self.whole()

        def check(number, edge):
            run, _ = self.run_with(f"{edge} rank=0 kill", KILLED, number)
            self.assert_goes_on(run, whole)

        support.in_parallel(self, RECORD_EDGES, check)

    def test_a_refused_save_is_told_and_the_old_checkpoint_stays(self):
        whole = self.whole()

        def check(number, case):
            edge, error, path = case
            run, result = self.run_with(f"before {edge} {error}", 74, number)
            self.assert_error(result, path, TEXTS[error])
            self.assert_gone(run)
            names = {path.name for path in (run / "checkpoints").iterdir()}
            self.assertLessEqual({"latest", "step_00000002"}, names)
            self.assertLessEqual(names, {"latest", "step_00000002", NEW})
            self.assert_goes_on(run, whole)

        support.in_parallel(self, REFUSALS, check)

    def test_refused_records_end_the_run_and_it_goes_on(self):
        whole = self.whole()

        def check(number, case):
            edge, error, path = case
            run, result = self.run_with(f"before {edge} {error}", 74, number)
            self.assert_error(result, path, TEXTS[error])
            self.assert_gone(run)
            self.assert_goes_on(run, whole)

        support.in_parallel(self, (("write dynamics.h5 count=60", "ENOSPC", "dynamics.h5"),
                                   ("write log.jsonl count=5", "EIO", "log.jsonl"),
                                   ("rename dynamics.h5", "EIO", "dynamics.h5"),
                                   ("create config.cfg.tmp", "EDQUOT", "config.cfg")), check)

    def test_an_old_checkpoint_that_cannot_be_removed_does_not_end_the_run(self):
        run, result = self.run_with(f"before rename {TRASH} EIO", 0)
        self.assertIn("warning", result.stderr)
        self.assertIn("step_00000002", result.stderr)
        self.assertEqual(steps_of(run), ["step_00000002", "step_00000006"])

    def test_one_rank_killed_before_every_single_call_of_a_save(self):
        """Every call that changes something below checkpoints/ in the save of step 4 and its purge; of HDF5's many
        writes each tenth."""
        self.ranks = None
        whole = self.whole()
        first = self.train("first", "--stop-at", "2", **CHANGES)

        def check(number, case):
            call, path, stride, least = case
            run = self.folder / str(number) / "run"
            for count in itertools.count(1, stride):
                shutil.rmtree(run, ignore_errors=True)
                shutil.copytree(first, run)
                edge = f"before {call} {path} count={count}"
                result = self.jreg("train", *self.options(run, **CHANGES), "--resume", "auto", "--stop-at", "4",
                                   check=None, fail=f"{edge} kill")
                if result.returncode == 0:  # there are fewer calls
                    break
                self.assertEqual(result.returncode, -9, f"{edge}: {result.stderr}")
                self.assert_goes_on(run, whole)
            print(f"{call} {path}: calls 1 to {count - stride}")
            self.assertGreater(count, least * stride)

        support.in_parallel(self, (("*", "checkpoints/*", 1, 8), ("[!w]*", "checkpoints/*/*", 1, 10),
                                   ("write", "checkpoints/*/*", 10, 5)), check)


if __name__ == "__main__":
    support.JREG = sys.argv.pop(1)
    support.main()
