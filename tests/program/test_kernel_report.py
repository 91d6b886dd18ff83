"""tools/kernel_report.py: what it reads from cuobjdump and from ptxas, and the occupancy that it computes."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import kernel_report  # noqa: E402

ROW, SPILL = "_ZN4jreg7backend4cuda12_GLOBAL__N_13rowIfLi256EEEvPKT_i", "_ZN4jreg7backend4cuda5spillEPf"
RESOURCES = f"""
Fatbin elf code:
================
arch = sm_80
code version = [1,8]

Resource usage:
 Common:
  GLOBAL:0
 Function {ROW}:
  REG:40 STACK:0 SHARED:2048 LOCAL:0 CONSTANT[0]:372 TEXTURE:0 SURFACE:0 SAMPLER:0

Fatbin elf code:
================
arch = sm_90
 Function {ROW}:
  REG:42 STACK:0 SHARED:3072 LOCAL:0 CONSTANT[0]:548 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function {SPILL}:
  REG:255 STACK:16 SHARED:1024 LOCAL:0 CONSTANT[0]:548 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
ELF = f"""
Fatbin elf code:
================
arch = sm_80
.nv.info.{ROW}
\t<0x1>
\tAttribute:\tEIATTR_PARAM_CBANK
\tFormat:\tEIFMT_SVAL
\tValue:\t0x6 0x140160
\t<0x2>
\tAttribute:\tEIATTR_MAX_THREADS
\tFormat:\tEIFMT_SVAL
\tValue:\t0x100 0x1 0x1
"""
PTXAS = f"""ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '{SPILL}' for 'sm_90'
ptxas info    : Function properties for {SPILL}
    16 bytes stack frame, 24 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 512 bytes smem
ptxas info    : Compiling entry function '{ROW}' for 'sm_90'
ptxas info    : Function properties for {ROW}
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 42 registers, used 0 barriers, 372 bytes cmem[0]
"""


class Report(unittest.TestCase):
    def test_reads_what_cuobjdump_prints(self):
        found = [(kernel.symbol, kernel.architecture, kernel.registers, kernel.local, kernel.shared)
                 for kernel in kernel_report.read_resources(RESOURCES)]
        self.assertEqual(found, [(ROW, 80, 40, 0, 2048), (ROW, 90, 42, 0, 2048), (SPILL, 90, 255, 16, 0)])
        self.assertEqual(kernel_report.read_launch_bounds(ELF), {(80, ROW): 256})

    def test_reads_what_ptxas_prints(self):
        found = [(kernel.symbol, kernel.architecture, kernel.registers, kernel.local, kernel.shared)
                 for kernel in kernel_report.read_ptxas(PTXAS)]
        self.assertEqual(found, [(SPILL, 90, 255, 24, 512), (ROW, 90, 42, 0, 0)])

    def test_names_are_short(self):
        for name, wanted in (
                ("void jreg::backend::cuda::(anonymous namespace)::row<float, 256>(float const*, int)", "row<float, 256>"),
                ("jreg::backend::cuda::spill(float*)", "spill"),
                ("void jreg::backend::cuda::f<__nv_bfloat16, (int)64, (bool)1>(A<(int)2>)", "f<bf16, 64, true>")):
            self.assertEqual(kernel_report.short_name(name), wanted)

    def test_occupancy_is_that_of_nvidias_calculator(self):
        def blocks(architecture, registers, threads, shared=0):
            return kernel_report.blocks_resident(kernel_report.Kernel("", architecture, registers, 0, shared, threads))
        self.assertEqual(blocks(80, 32, 256), (8, "threads"))
        self.assertEqual(blocks(80, 64, 256), (4, "registers"))
        self.assertEqual(blocks(90, 255, 128), (2, "registers"))
        self.assertEqual(blocks(80, 168, 128), (3, "registers"))
        self.assertEqual(blocks(80, 16, 32), (32, "blocks"))
        self.assertEqual(blocks(80, 32, 128, 48 * 1024), (3, "shared memory"))
        self.assertEqual(blocks(90, 32, 128, 48 * 1024), (4, "shared memory"))
        self.assertEqual(blocks(90, 32, 128, 227 * 1024), (1, "shared memory"))

    def test_launches_tell_threads_and_dynamic_shared_memory(self):
        kernel = kernel_report.Kernel(ROW, 90, 42, 0, 2048)
        with tempfile.NamedTemporaryFile("w") as file:
            name = "void jreg::backend::cuda::(anonymous namespace)::row<float, 256>(float const*, int)"
            file.write(f"128 512 {name}\n96 70000 {name}\n")
            file.flush()
            kernel_report.complete([kernel], kernel_report.read_launches(pathlib.Path(file.name)))
        self.assertEqual((kernel.name, kernel.threads, kernel.dynamic), ("row<float, 256>", 128, 70000))
        self.assertEqual(kernel_report.blocks_resident(kernel), (3, "shared memory"))

    def test_a_kernel_that_spills_fails_the_report(self):
        with tempfile.TemporaryDirectory() as folder:
            tool = pathlib.Path(folder) / "cuobjdump"
            for text, code in ((RESOURCES, 1), (RESOURCES.replace("STACK:16", "STACK:0"), 0)):
                (pathlib.Path(folder) / "text").write_text(text)
                (pathlib.Path(folder) / "elf").write_text(ELF)
                tool.write_text(f'#!/bin/sh\ncase $1 in --dump-elf) cat {folder}/elf ;; *) cat {folder}/text ;; esac\n')
                tool.chmod(0o755)
                result = subprocess.run([sys.executable, ROOT / "tools/kernel_report.py", "--cuobjdump", tool, "--launches", f"{folder}/none",
                                         "any.o"],
                                        capture_output=True, text=True, check=False)
                self.assertEqual(result.returncode, code, result.stderr)
                self.assertIn("| `row<float, 256>` | 40 / 42 | 0 | 256 / ? | 2048 + ? | 75% / ? | registers / ? |", result.stdout)
                self.assertEqual("spill for sm_90" in result.stderr, code == 1)
            nothing = subprocess.run([sys.executable, ROOT / "tools/kernel_report.py", "--build", folder],
                                     capture_output=True, text=True, check=False)
            self.assertEqual((nothing.returncode, len(nothing.stderr.splitlines())), (2, 1))


if __name__ == "__main__":
    unittest.main()
