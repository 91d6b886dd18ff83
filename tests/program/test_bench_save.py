"""tools/bench_save.py measures a small model from end to end."""
import subprocess
import sys

import support

SMALL = {"model.layers": 2, "model.hidden": 32, "model.heads": 4, "model.ffn": 48, "model.vocab": 64,
         "train.sequence_length": 16, "log.interval": 100}


class BenchSave(support.ProgramTest):
    def bench(self, *more):
        words = [word for key, value in SMALL.items() for word in (f"--{key}", str(value))]
        return subprocess.run([sys.executable, support.ROOT / "tools/bench_save.py", "--jreg", support.JREG, "--rounds", "1",
                               "--folder", self.folder, *words, *more], text=True, capture_output=True, check=False)

    def test_it_tells_each_save_and_ends_with_the_ratio(self):
        done = self.bench()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.count("training waited"), 6)  # steps 4, 8 and 12 of two runs
        self.assertRegex(done.stdout.splitlines()[-1], r"^blocked_ratio=\d+\.\d{3}$")
        self.assertEqual(list(self.folder.glob("tmp*")), [])

    def test_what_the_program_refuses_is_shown(self):
        done = self.bench("--model.heads", "5")
        self.assertEqual(done.returncode, 1)
        self.assertIn("model.heads", done.stderr)


if __name__ == "__main__":
    support.main()
