"""tools/gpu_check.sh and tools/gpu_bundle.sh as far as they go without a GPU: what they would do, and what they refuse."""
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def call(tool, *words, **more):
    return subprocess.run([ROOT / "tools" / tool, *map(str, words)], capture_output=True, text=True, check=False,
                          timeout=100, stdin=subprocess.DEVNULL, **more)


class GpuCheck(unittest.TestCase):
    def test_without_a_gpu_one_line_says_so(self):
        if any(pathlib.Path("/dev").glob("nvidia[0-9]*")):
            self.skipTest("a GPU is here")
        result = call("gpu_check.sh")
        self.assertEqual((result.returncode, len(result.stderr.splitlines())), (2, 1), result.stderr)
        self.assertIn("no GPU", result.stderr)

    def test_a_dry_run_tells_every_step_in_order_and_runs_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            result = call("gpu_check.sh", "--dry-run", "--output", folder)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
            steps = [line.split("] ")[1] for line in result.stderr.splitlines() if line.startswith("[")]
            self.assertEqual(steps, ["device", "build", "kernels", "ops", "nccl", "mesh", "memcheck", "racecheck",
                                     "bench170m", "bench1b"])
            for part in ("'cmake' '--preset' 'cuda-release'", "kernel_report.py", "'--mesh.tensor' '2'",
                         "'--run.collective' 'mpi'", "'--tolerance' '1e-5'", "'--tolerance' '2e-2'",
                         "'compute-sanitizer' '--tool' 'racecheck'", "bench_compare.sh' '--device' 'cuda'"):
                self.assertIn(part, result.stdout)
            self.assertFalse((pathlib.Path(folder) / "gpu_check.md").exists())

    def test_what_is_wrong_is_named(self):
        for words, part in ((["--steps", "build,fly"], "fly"), (["--budget", "x"], "--budget"), (["--fast"], "--fast")):
            result = call("gpu_check.sh", *words)
            self.assertEqual((result.returncode, len(result.stderr.splitlines())), (2, 1), result.stderr)
            self.assertIn(part, result.stderr)

    def test_a_step_that_fails_or_takes_too_long_does_not_end_the_others(self):
        with tempfile.TemporaryDirectory() as folder:
            python = pathlib.Path(folder) / "python"
            python.write_text("#!/bin/sh\nexit 3\n")
            python.chmod(0o755)
            # A machine whose card is a script.
            for name, text in (("nvidia-smi", "echo 'GPU 0: none'"), ("nvcc", "exit 0")):
                (pathlib.Path(folder) / name).write_text(f"#!/bin/sh\n{text}\n")
                (pathlib.Path(folder) / name).chmod(0o755)
            result = call("gpu_check.sh", "--steps", "device,kernels", "--output", f"{folder}/out", "--python", python,
                          env={"PATH": f"{folder}:/usr/bin:/bin"})
            self.assertEqual(result.returncode, 1, result.stderr)
            report = (pathlib.Path(folder) / "out" / "gpu_check.md").read_text()
            self.assertIn("| device | FAILED: exit code 3 |", report)
            self.assertIn("| kernels | FAILED: exit code 3 |", report)

    def test_the_bundle_refuses_what_it_does_not_know(self):
        for words, part in ((["--limit", "x"], "--limit"), (["--small"], "--small")):
            result = call("gpu_bundle.sh", *words)
            self.assertEqual((result.returncode, len(result.stderr.splitlines())), (2, 1), result.stderr)
            self.assertIn(part, result.stderr)


if __name__ == "__main__":
    unittest.main()
