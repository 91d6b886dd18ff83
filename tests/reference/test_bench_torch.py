"""tools/bench_torch.py trains the model that the reference defines, and tools/bench_compare.sh compares it with jreg.

    test_bench_torch.py          JREG: the program, for the comparison; without it that one is left out
"""
import os
import pathlib
import re
import subprocess
import sys
import unittest

import torch

import llama_reference as reference

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import bench_torch  # noqa: E402

STRENGTH = 0.7


class Peer(unittest.TestCase):
    def setUp(self):
        torch.set_default_dtype(torch.float64)
        self.addCleanup(torch.set_default_dtype, torch.float32)
        self.addCleanup(setattr, bench_torch, "HAS_ATTENTION", bench_torch.HAS_ATTENTION)

    def check(self, tied):
        """Loss, R and all gradients in float64, with each way to the penalty."""
        model = reference.Model(tie_embeddings=tied)
        generator = torch.Generator().manual_seed(5)
        weights = reference.random_weights(model, generator)
        tokens = torch.randint(0, model.vocab, (3, 8), generator=generator)
        wanted = reference.update_gradients(weights, tokens, model, reference.Jreg(strength=STRENGTH), 0, None)
        shape = bench_torch.Shape(model.layers, model.hidden, model.heads, model.kv_heads, model.head_size, model.ffn,
                                  model.vocab, 7, 3, tied, model.rope_theta, model.norm_eps)
        for displacement in (bench_torch.naive_displacement, bench_torch.Displacement.apply):
            peer = bench_torch.Llama(shape)
            peer.load(weights)
            loss, states = peer(tokens[:, :-1], tokens[:, 1:])
            jreg = bench_torch.penalty(states, displacement)
            (loss + STRENGTH * jreg).backward()
            torch.testing.assert_close(loss, wanted.forward.cross_entropy, rtol=1e-12, atol=0)
            torch.testing.assert_close(jreg, wanted.jreg, rtol=1e-9, atol=0)
            named = set()
            for names, parameter in peer.parts():
                gradient = torch.cat([wanted.gradients[name] for name in names])
                torch.testing.assert_close(parameter.grad, gradient, rtol=1e-8, atol=1e-11, msg=str(names))
                named.update(names)
            self.assertEqual(named, set(weights))

    def test_equals_the_reference(self):
        for tied in (False, True):
            for fused in {bench_torch.HAS_ATTENTION, False}:
                with self.subTest(tied=tied, scaled_dot_product_attention=fused):
                    bench_torch.HAS_ATTENTION = fused
                    self.check(tied)

    def test_the_environment_is_tuned_but_for_what_it_says_itself(self):
        tuned = bench_torch.tuned_environment({}, 3)
        self.assertEqual(tuned["OMP_NUM_THREADS"], "3")
        own = bench_torch.tuned_environment({"OPENBLAS_CORETYPE": "Zen", "GLIBC_TUNABLES": "a=1", "PATH": "/bin"}, 3)
        self.assertEqual(own["GLIBC_TUNABLES"], "a=1")
        self.assertEqual(own.get("OPENBLAS_CORETYPE", "Zen"), "Zen")
        self.assertNotIn("PATH", own)
        haswell = bench_torch.tuned_environment({"OPENBLAS_CORETYPE": "Haswell"}, 3)
        self.assertEqual(haswell.get("OPENBLAS_CORETYPE"), tuned.get("OPENBLAS_CORETYPE", "Haswell"))


class Compare(unittest.TestCase):
    def test_the_comparison_ends_with_the_ratio(self):
        if not os.environ.get("JREG"):
            self.skipTest("JREG is not set")
        result = subprocess.run(
            [ROOT / "tools/bench_compare.sh", "--shape", "tiny", "--precision", "bf16", "--threads", "1",
             "--rounds", "2", "--steps", "1", "--python", sys.executable],
            capture_output=True, text=True, timeout=250, check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        lines = result.stdout.splitlines()
        ours = [float(value) for value in re.findall(r"^round \d: jreg +([\d.]+) tokens/s", result.stdout, re.M)]
        theirs = [float(value) for value in re.findall(r"^round \d: PyTorch +([\d.]+) tokens/s", result.stdout, re.M)]
        self.assertEqual((len(ours), len(theirs)), (2, 2), result.stdout)
        ratio = float(re.fullmatch(r"tokens_per_second_ratio=([\d.]+)", lines[-1])[1])
        ratios = sorted(a / b for a, b in zip(ours, theirs))
        self.assertAlmostEqual(ratio, sum(ratios) / 2, delta=0.02 * ratio + 0.01)

    def test_unknown_options_are_refused(self):
        result = subprocess.run([ROOT / "tools/bench_compare.sh", "--shape", "C"], capture_output=True, text=True,
                                check=False)
        self.assertEqual(result.returncode, 2)
        self.assertIn("--shape", result.stderr)


if __name__ == "__main__":
    unittest.main()
