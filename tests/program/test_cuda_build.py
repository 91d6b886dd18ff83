"""The build with CUDA on a machine with or without a GPU: it starts, trains on the CPU, says what is missing, needs no
driver to be loaded, and its kernels keep their registers.

Called with the build folder.
"""
import pathlib
import subprocess
import sys

import support

BUILD = pathlib.Path()
HAS_GPU = any(pathlib.Path("/dev").glob("nvidia[0-9]*"))


class CudaBuild(support.ProgramTest):
    def test_help_needs_no_gpu(self):
        self.assertIn("train", self.jreg("--help").stdout)
        self.assertIn("--run.backend", self.jreg("train", "--help").stdout)

    def test_the_cpu_trains_as_ever(self):
        run = self.train("run", "--backend", "cpu", train__steps=4)
        self.assertEqual(support.read_columns(run)["train/step"].tolist(), [1, 2, 3, 4])

    def test_without_a_gpu_one_line_says_so(self):
        if HAS_GPU:
            self.skipTest("a GPU is here")
        self.assert_refused(self.train("run", "--backend", "cuda", check=2), "run.backend = cuda: this host has no", "--backend cpu")

    def test_the_driver_is_not_linked(self):
        libraries = subprocess.run(["ldd", support.JREG], capture_output=True, text=True, check=True).stdout
        self.assertIn("libcublasLt", libraries)
        self.assertNotIn("libcuda.so", libraries)
        self.assertNotIn("not found", libraries)

    def test_no_kernel_spills(self):
        report = subprocess.run([sys.executable, "-B", support.ROOT / "tools/kernel_report.py", "--build", BUILD],
                                capture_output=True, text=True, check=False)
        self.assertEqual(report.returncode, 0, report.stdout + report.stderr)


if __name__ == "__main__":
    BUILD = pathlib.Path(sys.argv.pop(1))
    support.main()
