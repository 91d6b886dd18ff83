"""A full disk: a message with path and system's text, exit 74, and the older checkpoint as it was."""
import contextlib
import os
import shutil
import subprocess
import sys
import time

import support

SKIPPED = 77


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system of `size` mounted at `folder`; needs root."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True,
                          text=True, check=False)
    if done.returncode != 0:
        raise OSError(done.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


class DiskFull(support.ProgramTest):
    def test_a_checkpoint_that_does_not_fit_leaves_the_older_one(self):
        with small_disk(self.folder / "disk", "4m") as disk:
            changes = {"checkpoint__interval": 200, "checkpoint__keep": 1, "eval__interval": 0, "probe__interval": 0,
                       "train__steps": 1_000_000, "run__dir": disk / "run"}
            stop = ["--stop-at", "2000"]
            checkpoints = disk / "run" / "checkpoints"
            with subprocess.Popen([support.JREG, "train", *self.options("run", **changes), *stop],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
                deadline = time.monotonic() + 60
                while not (checkpoints / "step_00000200").is_dir() and time.monotonic() < deadline:
                    time.sleep(0.005)
                free = shutil.disk_usage(disk).free
                (disk / "ballast").write_bytes(b"\0" * max(0, free - 100_000))
                _, errors = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 74, errors)
            self.assertIn(str(disk / "run"), errors)
            self.assertIn("No space left on device", errors)
            names = [path.name for path in checkpoints.iterdir() if path.is_dir()]
            self.assertEqual(len(names), 1, names)
            self.jreg("verify", checkpoints / names[0])
            os.truncate(disk / "ballast", (disk / "ballast").stat().st_size - 65536)  # room for a line of the log
            self.assert_error(self.jreg("train", *self.options("run", **changes), *stop, "--resume", "auto", check=74),
                              str(disk / "run"), "bytes are free", "needs about")
            (disk / "ballast").unlink()
            self.jreg("train", *self.options("run", **changes), *stop, "--resume", "auto")

    def test_too_little_space_is_refused_at_the_start_with_the_estimate(self):
        with small_disk(self.folder / "disk", "1m") as disk:
            for ranks in (None, 2):
                result = self.jreg("train", *self.options("run", run__dir=disk / "run", checkpoint__interval=2), check=74,
                                   ranks=ranks)
                self.assert_error(result, str(disk / "run"), "3 more checkpoint(s)", "checkpoint.keep")
            self.assertEqual(list((disk / "run" / "checkpoints").iterdir()), [])
            self.jreg("train", *self.options("run", run__dir=disk / "run", checkpoint__interval=0))

    def test_a_disk_that_fills_up_during_a_run_ends_it_and_every_checkpoint_stays(self):
        with small_disk(self.folder / "disk", "4m") as disk:
            run = disk / "run"
            options = self.options("run", run__dir=run, checkpoint__interval=1, checkpoint__keep=0, train__steps=40)
            result = self.jreg("train", *options, ranks=2, check=74)
            self.assertIn("No space left on device", result.stderr)
            names = sorted(path.name for path in (run / "checkpoints").glob("step_*"))
            self.assertEqual(names, [f"step_{step:08d}" for step in range(1, len(names) + 1)])
            self.assertGreater(len(names), 2)
            for name in names:
                self.jreg("verify", run / "checkpoints" / name)
            for name in names[:2]:  # make room
                shutil.rmtree(run / "checkpoints" / name)
            self.jreg("train", *options, "--resume", "auto", "--stop-at", len(names) + 1, ranks=2)

    def test_a_run_folder_on_a_full_disk_is_refused_by_name(self):
        with small_disk(self.folder / "disk", "256k") as disk:
            with contextlib.suppress(OSError), open(disk / "ballast", "wb") as ballast:
                while True:
                    ballast.write(b"\0" * 4096)
                    ballast.flush()
            result = self.jreg("train", *self.options("run", run__dir=disk / "run"), check=74)
            self.assertIn(str(disk / "run"), result.stderr)

    def test_weights_that_do_not_fit_leave_nothing(self):
        run = self.train("run", model__vocab=4000)
        self.jreg("export", "--checkpoint", run, "--output", "whole")
        with small_disk(self.folder / "disk", "512k") as disk:
            for words in (("export", "--checkpoint", run), ("import", "--input", "whole")):
                result = self.jreg(*words, "--output", disk / "out", check=74)
                self.assert_error(result, str(disk / "out"), "No space left on device")
                self.assertEqual(list(disk.iterdir()), [])


if __name__ == "__main__":
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if os.geteuid() != 0 or probe.returncode != 0:
        print("skipped: mounting a small disk needs root")
        sys.exit(1 if os.environ.get("CI") == "true" else SKIPPED)
    # HDF5 keeps the memory of what it could not write when it closes a file.
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    support.main()
