"""What jreg exports, transformers loads and computes alike; what transformers saves, jreg imports and computes alike.

    test_transformers.py PYTHON PARITY      a Python with transformers and torch, and the program huggingface_parity

tests/huggingface.sh runs it.
"""
import json
import shutil
import subprocess
import sys

import numpy as np

import support

PYTHON, PARITY = sys.argv.pop(1), sys.argv.pop(1)
REFERENCE = support.ROOT / "tools/make_hf_reference.py"
CHECK = support.ROOT / "tests/program/transformers_check.py"
MODEL = {"model__vocab": 101, "train__steps": 6, "jreg__lambda": 0.3, "model__init_std": 0.1}
LLAMA3 = {"model.rope_scaling.type": "llama3", "model.rope_scaling.factor": 4, "model__rope_theta": 100,
          "model.rope_scaling.original_max_position_embeddings": 16}


class Transformers(support.ProgramTest):
    def python(self, *words):
        result = subprocess.run([PYTHON, "-B", *map(str, words)], capture_output=True, text=True, check=False, timeout=600,
                                cwd=self.folder)
        self.assertEqual(result.returncode, 0, f"{words}\n{result.stdout[-3000:]}{result.stderr[-3000:]}")
        return result.stdout

    def check(self, *words):
        return json.loads(self.python(CHECK, *words).splitlines()[-1])

    def parity(self, *folders, ranks=1):
        result = subprocess.run(["mpirun", "-n", str(ranks), PARITY, *map(str, folders)], capture_output=True,
                                text=True, check=False, timeout=120)
        print(result.stdout, end="")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual(result.stdout.count(": equal;"), len(folders), result.stdout)

    def trained_and_exported(self, name, *words, **changes):
        run = self.train(name, ranks=2, mesh__tensor=2, **{**MODEL, **changes})
        self.jreg("export", "--checkpoint", run, "--output", f"{name}-out", *words)
        return run / f"checkpoints/step_{MODEL['train__steps']:08}", self.folder / f"{name}-out"

    def test_transformers_computes_what_was_trained_on_two_ranks(self):
        for name, changes in (("untied", {"model__head_size": 10}), ("tied", {"model__tie_embeddings": True, **LLAMA3}),
                              ("sharded", {"model__kv_heads": 4})):
            with self.subTest(name):
                checkpoint, folder = self.trained_and_exported(
                    name, *(["--shard-gb", "3e-5"] if name == "sharded" else []), **changes)
                found = self.check("load", folder)
                self.assertEqual(found, {"misfits": {}, "dtype": "torch.float32", "class": "LlamaForCausalLM",
                                         "generated": 7, "tied": name == "tied"})
                self.python(REFERENCE, folder)
                # The very checkpoint, too, not only what the export made of it.
                shutil.copy(folder / "reference.safetensors", checkpoint)
                for ranks in (1, 2):
                    self.parity(folder, checkpoint, ranks=ranks)

    def test_bf16_stays_bf16(self):
        _, folder = self.trained_and_exported("half", "--dtype", "bf16", **LLAMA3)
        self.assertEqual(self.check("load", folder)["dtype"], "torch.bfloat16")
        self.python(REFERENCE, folder)
        self.parity(folder)

    def test_what_transformers_saves_is_computed_alike_when_imported(self):
        self.python(REFERENCE, "--output", "saved")
        folders = sorted((self.folder / "saved").iterdir())
        self.assertEqual(len(folders), 4)
        imported = []
        for folder in folders:
            imported.append(self.folder / f"imported-{folder.name}")
            self.jreg("import", "--input", folder, "--output", imported[-1])
            shutil.copy(folder / "reference.safetensors", imported[-1])
        self.parity(*folders, *imported)
        self.parity(*[folder for folder in folders + imported if "odd" not in folder.name], ranks=2)

    def test_a_sentencepiece_model_gives_transformers_the_same_ids(self):
        text = self.folder / "text"
        lines = [f"some words of {i} lines, and {i * i} more" for i in range(500)]
        text.write_text("\n".join([*lines, "  Zwei  Räume\t\n\n日本語 🙂 é </x>"]), encoding="utf-8")
        self.jreg("tokenize", "--train-vocab", "330", "--output", "tokens", text)
        ours = np.fromfile(self.folder / "tokens.bin", dtype="<u2").tolist()
        _, folder = self.trained_and_exported("run", "--tokenizer", "tokens.model", model__vocab=330)
        found = self.check("encode", folder, text)
        self.assertEqual(found["ids"], ours[:-1])
        self.assertEqual((found["bos"], found["eos"], ours[-1]), (1, 2, 2))
        self.assertTrue(found["text_again"])
        print(f"{len(ours) - 1} ids of {found['class']} are those of jreg tokenize")

    def test_lm_evaluation_harness_scores_an_export(self):
        if subprocess.run([PYTHON, "-c", "import lm_eval"], capture_output=True, check=False).returncode != 0:
            self.skipTest("lm_eval is not installed")
        text = self.folder / "text"
        text.write_text("\n".join(f"some words of {i} lines, and {i * i} more" for i in range(500)))
        self.jreg("tokenize", "--train-vocab", "300", "--output", "tokens", text)
        _, folder = self.trained_and_exported("run", "--tokenizer", "tokens.model", model__vocab=300,
                                              data__train="tokens", data__validation="tokens")
        found = self.check("lm_eval", folder)
        print("lm_eval's log-likelihoods", found["harness"])
        np.testing.assert_allclose(found["harness"], found["by_hand"], atol=1e-3)


if __name__ == "__main__":
    support.main()
