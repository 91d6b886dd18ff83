"""Weights in Hugging Face's format: what is exported, imported and trained on are the same numbers."""
import json
import os
import shutil
import signal
import subprocess
import time

import h5py
import numpy as np

import safetensors_files as st
import support

VOCAB = 101  # no multiple of the ranks: the rows that pad it must not come out
MODEL = {"model__vocab": VOCAB, "train__steps": 4, "jreg__penalty": "jump", "jreg__lambda": 0.3,
         "checkpoint__log_spaced": True}
REFERENCES = support.ROOT / "tests/reference/hf"


def weights_of(checkpoint):
    """{name: array} of a checkpoint's weights, by h5py."""
    tensors = support.checkpoint_tensors(checkpoint)
    return {name.split("/", 1)[1]: array for name, array in tensors.items() if name.startswith("weights/")}


def expected_names(layers, tied):
    names = {"model.embed_tokens.weight", "model.norm.weight"} | (set() if tied else {"lm_head.weight"})
    for layer in range(layers):
        block = f"model.layers.{layer}."
        names |= {block + "input_layernorm.weight", block + "post_attention_layernorm.weight"}
        names |= {f"{block}self_attn.{part}_proj.weight" for part in "qkvo"}
        names |= {f"{block}mlp.{part}_proj.weight" for part in ("gate", "up", "down")}
    return names


class Huggingface(support.ProgramTest):
    def export(self, checkpoint, output, *words, check=0):
        result = self.jreg("export", "--checkpoint", checkpoint, "--output", output, *words, check=check)
        return self.folder / output if check == 0 else result

    def import_(self, source, output, *words, check=0):
        result = self.jreg("import", "--input", source, "--output", output, *words, check=check)
        return self.folder / output if check == 0 else result

    def assert_nothing_left(self):
        self.assertEqual([path for path in self.folder.iterdir() if "tmp-" in path.name or "trash" in path.name], [])

    def assert_same_files(self, first, second):
        self.assertEqual(sorted(first), sorted(second))
        for name, (dtype, array) in first.items():
            self.assertEqual(dtype, second[name][0], name)
            self.assertEqual(array.shape, second[name][1].shape, name)
            self.assertEqual(array.tobytes(), second[name][1].tobytes(), name)


class Export(Huggingface):
    def assert_exported(self, folder, checkpoint, tied):
        """Every tensor bit by bit as h5py finds it in the checkpoint."""
        exported, weights = st.read_folder(folder), weights_of(checkpoint)
        self.assertEqual(set(exported), expected_names(support.TINY["model.layers"], tied))
        self.assertEqual(set(weights), set(exported))
        for name, (dtype, array) in exported.items():
            self.assertEqual(dtype, "F32")
            self.assertEqual(array.shape, weights[name].shape, name)
            self.assertEqual(array.tobytes(), weights[name].astype("<f4").tobytes(), name)
        self.assertEqual(exported["model.embed_tokens.weight"][1].shape, (VOCAB, support.TINY["model.hidden"]))

    def test_of_a_run_of_any_mesh_it_has_the_very_bits_of_the_checkpoint(self):
        for ranks, tied, mesh in ((1, False, {}), (2, True, {"mesh__tensor": 2}),
                                  (4, False, {"mesh__tensor": 2, "mesh__zero1": True, "mesh__sequence_parallel": True}),
                                  (4, True, {"mesh__tensor": 4})):
            with self.subTest(ranks=ranks, tied=tied):
                run = self.train(f"run{ranks}{tied}", ranks=ranks, model__tie_embeddings=tied, **mesh, **MODEL)
                folder = self.export(run, f"out{ranks}{tied}")
                self.assert_exported(folder, run / "checkpoints/step_00000004", tied)
                self.assertEqual(json.loads((folder / "config.json").read_text())["tie_word_embeddings"], tied)
                self.import_(folder, f"back{ranks}{tied}")
                self.assert_exported(folder, self.folder / f"back{ranks}{tied}", tied)
        self.assert_nothing_left()

    def test_config_json_has_old_and_new_keys(self):
        scaling = {"model__rope_scaling.type": "llama3", "model__rope_scaling.factor": 4,
                   "model__rope_scaling.original_max_position_embeddings": 16}
        run = self.train("run", model__rope_theta=500.5, model__head_size=6, data__eos=7,
                         **{key.replace("__", "."): value for key, value in scaling.items()}, **MODEL)
        folder = self.export(run, "out")
        config = json.loads((folder / "config.json").read_text())
        for key, value in {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32,
                           "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": VOCAB,
                           "num_key_value_heads": 2, "head_dim": 6, "hidden_act": "silu", "rms_norm_eps": 1e-5,
                           "max_position_embeddings": 16, "attention_bias": False, "mlp_bias": False,
                           "rope_theta": 500.5, "torch_dtype": "float32", "dtype": "float32", "eos_token_id": 7,
                           "bos_token_id": None}.items():
            self.assertEqual(config[key], value, key)
        llama3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                  "original_max_position_embeddings": 16}
        self.assertEqual(config["rope_scaling"], llama3)
        self.assertEqual(config["rope_parameters"], {**llama3, "rope_theta": 500.5})
        self.assertEqual(json.loads((folder / "generation_config.json").read_text())["eos_token_id"], 7)
        self.assertEqual(sorted(path.name for path in folder.iterdir()),
                         ["README.md", "config.json", "generation_config.json", "model.safetensors"])

    def test_the_model_card_shows_the_last_probe(self):
        run = self.train("run", **MODEL)
        text = (self.export(run, "out") / "README.md").read_text()
        probe = support.read_columns(run)
        for layer in range(3):
            zeta = probe["probe/jump_rate"][-1, layer]
            line = f"| {layer + 1} | {probe['probe/displacement'][-1, layer]:.6f} | "
            self.assertIn(line + ("" if layer == 0 else f"{zeta:.4f}") + " |", text)
        for part in ("2601.18302", "Trained for 4 updates on 512 tokens", "penalty `jump`", "lambda 0.3", "# out"):
            self.assertIn(part, text)
        step = self.export(run / "checkpoints/step_00000002", "step") / "README.md"
        self.assertIn(f"| 3 | {probe['probe/displacement'][2, 2]:.6f} |", step.read_text())

    def test_it_rounds_to_bf16_and_shards(self):
        run = self.train("run", **MODEL)
        whole, shards = st.read_folder(self.export(run, "whole")), self.export(run, "shards", "--shard-gb", "2e-5")
        self.assert_same_files(whole, st.read_folder(shards))
        files = sorted(shards.glob("*.safetensors"))
        self.assertGreater(len(files), 3)
        self.assertEqual([file.name for file in files],
                         [f"model-{i + 1:05}-of-{len(files):05}.safetensors" for i in range(len(files))])
        for file in files:
            self.assertLessEqual(sum(array.nbytes for _, array in st.read_file(file).values()), 20_000)
        index = json.loads((shards / "model.safetensors.index.json").read_text())
        self.assertEqual(index["metadata"]["total_size"], sum(array.nbytes for _, array in whole.values()))
        half = self.export(run, "half", "--dtype", "bf16", "--shard-gb", "1e-5")
        rounded = st.read_folder(half)
        for name, (dtype, array) in rounded.items():
            self.assertEqual(dtype, "BF16")
            self.assertEqual(array.tobytes(), st.to_bfloat16(whole[name][1]).tobytes(), name)
        config = json.loads((half / "config.json").read_text())
        self.assertEqual((config["torch_dtype"], config["dtype"]), ("bfloat16", "bfloat16"))
        self.import_(half, "back")
        self.assert_same_files(rounded, st.read_folder(self.export("back", "again")))
        widened = st.read_folder(self.export("back", "wide", "--dtype", "fp32"))
        for name, (dtype, array) in widened.items():
            self.assertEqual(dtype, "F32")
            self.assertEqual(array.tobytes(), st.as_float(*rounded[name]).tobytes(), name)

    def test_what_it_would_write_over_is_kept_unless_told_otherwise(self):
        run = self.train("run", **MODEL)
        folder = self.export(run, "out/")
        before = (folder / "model.safetensors").read_bytes()
        self.assert_refused(self.export(run, "out", check=2), "--output out", "--overwrite")
        self.export(run / "checkpoints/step_00000000", "out", "--overwrite")
        self.assertNotEqual((folder / "model.safetensors").read_bytes(), before)
        shutil.copytree(REFERENCES / "grouped_heads", self.folder / "model")
        for foreign in ("run", "data", run / "checkpoints/step_00000004", "model"):
            self.assert_refused(self.export(run, foreign, "--overwrite", check=2), "is no output of this command")
        (self.folder / "empty").mkdir()
        self.export(run, "empty")
        self.assert_nothing_left()

    def test_a_signal_leaves_nothing(self):
        run = self.train("run", **{**MODEL, "model__vocab": 40_000, "model__hidden": 64, "train__steps": 1,
                                      "model__tie_embeddings": True, "train__global_batch": 1, "eval__interval": 0,
                                      "checkpoint__log_spaced": False})
        with subprocess.Popen([support.JREG, "export", "--checkpoint", run, "--output", "out"], cwd=self.folder,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and not list(self.folder.glob("out.tmp-*")):
                time.sleep(0.001)
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
        if process.returncode == 0:  # it was faster
            self.assertTrue((self.folder / "out").is_dir())
        else:
            self.assertEqual(process.returncode, -signal.SIGTERM)
            self.assertFalse((self.folder / "out").exists())
        self.assert_nothing_left()

    def test_wrong_calls_and_damage_are_told_in_a_line(self):
        run = self.train("run", **MODEL)
        checkpoint = run / "checkpoints/step_00000004"
        self.assert_refused(self.jreg("export", "--output", "out", check=2), "--checkpoint")
        self.assert_refused(self.jreg("export", "--checkpoint", run, check=2), "--output")
        self.assert_refused(self.export("nowhere", "out", check=2), "nowhere")
        self.assert_refused(self.export(self.data, "out", check=2), "is no model")
        self.assert_refused(self.export(run, "out", "--dtype", "fp16", check=2), "dtype", "fp16")
        self.assert_refused(self.export(run, "out", "--shard-gb", "0", check=2), "shard-gb")
        self.assert_refused(self.export(run, "out", "--tokenizer", "nowhere", check=2), "--tokenizer nowhere")
        self.assert_refused(self.export(run, "out", "--tokenizer", self.data, check=2), "tokenizer.json")
        shard = checkpoint / "rank_00000.h5"
        content = bytearray(shard.read_bytes())
        content[-100] ^= 1
        shard.write_bytes(content)
        self.assert_refused(self.export(checkpoint, "out", check=65), str(shard))
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["data", "run"])


class Tokenizers(Huggingface):
    def test_files_of_a_tokenizer_are_copied_and_tell_the_special_ids(self):
        run = self.train("run", **MODEL)
        source = self.folder / "tokenizer"
        source.mkdir()
        tokens = [{"id": 99, "content": "<end>"}, {"id": 98, "content": "<begin>"}]
        (source / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0}}, "added_tokens": tokens}))
        (source / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<end>"},
                                                                  "bos_token": "<begin>"}))
        (source / "special_tokens_map.json").write_text("{}")
        (source / "weights.bin").write_text("not a tokenizer's")
        folder = self.export(run, "out", "--tokenizer", source)
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            self.assertEqual((folder / name).read_bytes(), (source / name).read_bytes())
        self.assertFalse((folder / "weights.bin").exists())
        config = json.loads((folder / "config.json").read_text())
        self.assertEqual((config["bos_token_id"], config["eos_token_id"]), (98, 99))
        tokens[0]["id"] = VOCAB
        (source / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
        self.assert_refused(self.export(run, "more", "--tokenizer", source, check=2), "has ids up to 101", "101")
        (source / "tokenizer.json").write_text("[]")
        self.assert_refused(self.export(run, "more", "--tokenizer", source, check=65), "is no JSON object")

    def test_a_sentencepiece_model_becomes_a_tokenizer(self):
        text = self.folder / "text"
        text.write_text("\n".join(f"some words of {i} lines, and {i * i} more" for i in range(500)))
        self.jreg("tokenize", "--train-vocab", "300", "--output", "tokens", text)
        run = self.train("run", **{**MODEL, "model__vocab": 300})
        folder = self.export(run, "out", "--tokenizer", "tokens.model")
        self.assertEqual((folder / "tokenizer.model").read_bytes(), (self.folder / "tokens.model").read_bytes())
        config = json.loads((folder / "tokenizer_config.json").read_text())
        for key, value in {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>",
                           "unk_token": "<unk>", "add_bos_token": False, "add_prefix_space": True}.items():
            self.assertEqual(config[key], value)
        model = json.loads((folder / "config.json").read_text())
        self.assertEqual((model["bos_token_id"], model["eos_token_id"]), (1, 2))
        small = self.train("small", **MODEL)
        self.assert_refused(self.export(small, "more", "--tokenizer", "tokens.model", check=2), "ids up to 299")
        self.assert_refused(self.export(run, "more", "--tokenizer", text, check=65), "is not a SentencePiece model")


class Import(Huggingface):
    def test_it_keeps_every_bit_of_every_form(self):
        for source in sorted(REFERENCES.iterdir()):
            with self.subTest(source=source.name):
                checkpoint = self.import_(source, source.name)
                theirs, ours = st.read_folder(source), weights_of(checkpoint)
                self.assertEqual(set(ours), set(theirs))
                for name, (dtype, array) in theirs.items():
                    self.assertEqual(ours[name].astype("<f4").tobytes(), st.as_float(dtype, array).tobytes(), name)
                self.assertIn("weights only", self.jreg("info", checkpoint).stdout)
                self.jreg("verify", checkpoint)
                again = st.read_folder(self.export(checkpoint, "again-" + source.name))
                if "f16" in source.name and "bf16" not in source.name:
                    continue  # checkpoints have no such type
                self.assert_same_files(theirs, again)
        self.assert_nothing_left()

    def test_every_number_of_half_precision_is_converted_exactly(self):
        source = self.folder / "source"
        shutil.copytree(REFERENCES / "odd_sizes_head_dim_f16", source)
        tensors = st.read_file(source / "model.safetensors")
        bits = np.arange(1 << 16, dtype="<u2")
        bits = bits[~np.isnan(bits.view("<f2"))]
        for at, name in enumerate(sorted(tensors)):
            shape = tensors[name][1].shape
            part = np.resize(np.roll(bits, -at * len(bits) // len(tensors)), shape)
            tensors[name] = ("F16", part.view("<f2"))
        seen = np.unique(np.concatenate([array.view("<u2").ravel() for _, array in tensors.values()]))
        self.assertGreater(len(seen), 30_000)
        st.write_file(source / "model.safetensors", tensors)
        ours = weights_of(self.import_(source, "imported"))
        for name, (_, array) in tensors.items():
            self.assertEqual(ours[name].tobytes(), array.astype("<f4").tobytes(), name)

    def test_what_is_malformed_or_no_llama_is_refused(self):
        source = self.folder / "source"

        def refused(change, *parts, code=65):
            shutil.rmtree(source, ignore_errors=True)
            shutil.copytree(REFERENCES / "grouped_heads", source)
            change(source)
            self.assert_refused(self.import_("source", "imported", check=code), *parts)

        def config(**changes):
            def change(folder):
                path = folder / "config.json"
                path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
            return change

        refused(lambda folder: (folder / "config.json").unlink(), "config.json", code=2)
        refused(lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors", code=2)
        refused(lambda folder: os.truncate(folder / "model.safetensors", 5000), "model.safetensors", "data")
        refused(lambda folder: os.truncate(folder / "model.safetensors", 500), "model.safetensors", "cut off")
        refused(config(hidden_act="gelu"), "hidden_act", "gelu")
        refused(config(model_type="qwen2"), "model_type", "qwen2")
        refused(config(rope_scaling={"type": "yarn", "factor": 2.0}), "rope_scaling.type", "yarn")
        refused(config(num_hidden_layers=4), "has no tensor model.layers.3.")
        refused(config(intermediate_size=64), "mlp.", "48 x 32")
        self.assertFalse((self.folder / "imported").exists())
        self.assert_nothing_left()

    def test_wrong_calls_are_refused(self):
        source = REFERENCES / "grouped_heads"
        self.assert_refused(self.jreg("import", "--output", "out", check=2), "--input")
        self.assert_refused(self.jreg("import", "--input", source, check=2), "--output")
        self.assert_refused(self.import_(source, "step_00000007", check=2), "tells a step")
        self.assert_error(self.jreg("import", "--input", source, "--output", "x", ranks=2, check=2), "on one process")
        self.import_(source, "imported")
        self.assert_refused(self.import_(source, "imported", check=2), "--overwrite")
        self.import_(REFERENCES / "old_keys_llama3_sharded", "imported", "--overwrite")
        self.jreg("verify", "imported")
        run = self.train("run", **MODEL)
        whole = shutil.copytree(run / "checkpoints/step_00000004", self.folder / "whole")
        for foreign in (run, whole):
            self.assert_refused(self.import_(source, foreign, "--overwrite", check=2), "is no output of this command")
        self.assert_nothing_left()


class Init(Huggingface):
    MESHES = ((1, {}), (2, {"mesh__tensor": 2}), (4, {"mesh__tensor": 2, "mesh__zero1": True}))

    def assert_begins_with(self, run, tensors):
        """The weights saved at step 0, bit by bit."""
        ours = weights_of(run / "checkpoints/step_00000000")
        self.assertEqual(set(ours), set(tensors))
        for name, array in tensors.items():
            self.assertEqual(ours[name].tobytes(), array.astype("<f4").tobytes(), name)

    def test_on_every_mesh_the_run_begins_with_the_given_weights(self):
        parent = self.train("parent", ranks=2, mesh__tensor=2, **MODEL)
        last = support.read_columns(parent)
        tensors = weights_of(parent / "checkpoints/step_00000004")
        exported = self.export(parent, "exported")
        sources = (parent, exported, self.import_(exported, "imported"))
        for (ranks, mesh), source in zip(self.MESHES, sources):
            with self.subTest(ranks=ranks, source=source.name):
                run = self.train(f"child{ranks}", "--init", source, ranks=ranks, run__seed=9, **mesh, **MODEL)
                self.assert_begins_with(run, tensors)
                probe = support.read_columns(run)
                self.assertEqual(list(probe["train/step"]), [1, 2, 3, 4])
                np.testing.assert_allclose(probe["probe/loss"][0], last["probe/loss"][-1], rtol=2e-5)
                np.testing.assert_allclose(probe["probe/displacement"][0], last["probe/displacement"][-1], rtol=2e-5,
                                           atol=1e-5)
                np.testing.assert_allclose(probe["probe/jump_rate"][0, 1:], last["probe/jump_rate"][-1, 1:], atol=2e-3)
                self.assertGreater(abs(probe["probe/loss"][-1] - probe["probe/loss"][0]), 1e-3)
                for file in ("checkpoints/step_00000004/index.h5", "dynamics.h5"):
                    with h5py.File(run / file, "r") as opened:
                        self.assertEqual(opened.attrs["initial_weights"], str(source))
                with h5py.File(run / "checkpoints/step_00000000/index.h5", "r") as file:
                    self.assertEqual(file.attrs["adamw_steps"], 0)
                    self.assertTrue(all(gate == 0 for gate in file.attrs["jump_gates"]))

    def test_from_weights_of_another_program(self):
        source = REFERENCES / "tied_sharded_llama3_bf16"
        model = {"model__kv_heads": 1, "model__tie_embeddings": True, "model__rope_theta": 100,
                 "model.rope_scaling.type": "llama3", "model.rope_scaling.factor": 4,
                 "model.rope_scaling.original_max_position_embeddings": 16, "train__steps": 2,
                 "checkpoint__log_spaced": True}
        run = self.train("run", "--init", source, ranks=2, mesh__tensor=2, **model)
        self.assert_begins_with(run, {name: st.as_float(*tensor) for name, tensor in st.read_folder(source).items()})

    def test_another_architecture_is_refused_with_what_to_write(self):
        source = REFERENCES / "old_keys_llama3_sharded"
        result = self.train("run", "--init", source, check=2, model__rope_theta=7, model__layers=2)
        self.assert_error(result, f"--init {source}", "model.layers = 2", "model.rope_theta = 7", "put model.layers = 3",
                          "model.kv_heads = 4", "model.rope_theta = 100", "model.rope_scaling.type = llama3",
                          "model.rope_scaling.factor = 4")
        self.assertNotIn("init_std", result.stderr)

    def test_with_resume_auto_it_begins_so_once(self):
        parent = self.train("parent", **MODEL)
        words = ("--init", parent, "--resume", "auto")
        child = self.train("child", *words, "--stop-at", "2", **MODEL)
        shutil.move(parent, self.folder / "away")
        result = self.jreg("train", *self.options("child", **MODEL), *words)
        self.assertIn("resumed at step 2", result.stderr)
        self.assertNotIn("initial weights", result.stderr)
        self.assertEqual(list(support.read_columns(child)["train/step"]), [1, 2, 3, 4])
        self.assert_error(self.train("child", "--init", self.folder / "away", check=2, **MODEL), "holds checkpoints",
                          "also --resume auto")

    def test_contradictions_are_refused(self):
        self.assert_refused(self.train("run", "--init", "a", "--fork", "b", check=2), "--fork b", "--init a")
        self.assert_refused(self.train("run", "--init", "a", "--resume", "4", check=2), "--resume 4", "--init a")
        self.assert_error(self.train("run", "--init", "nowhere", check=2), "nowhere: is not there")
        self.assert_error(self.train("run", "--init", "nowhere", ranks=2, check=2), "nowhere: is not there")


if __name__ == "__main__":
    support.main()
