"""tools/tokenize_hf.py: what it writes, jreg trains on; what it cannot use, it names.

A stand-in for the package tokenizers, a token a byte with two special ones, shows the tool's own part. Where
JREG_HF_PYTHON names a Python that has the package itself (and transformers), tokenizers like Llama 3's and GPT-2's
are made, used and compared with transformers.
"""
import json
import os
import pathlib
import struct
import subprocess
import sys
import unittest

import numpy as np

import support

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "tokenize_hf.py"
HF_PYTHON = os.environ.get("JREG_HF_PYTHON", "")

# The part of the package's interface that the tool uses. Ids: the bytes, then <bos> and <eos>; 70000 in "wide" ones.
STAND_IN = '''
import json
__version__ = "0"
class Encoding:
    def __init__(self, ids): self.ids = ids
class Tokenizer:
    encode_special_tokens = False
    @staticmethod
    def from_file(path):
        tokenizer = Tokenizer()
        tokenizer.shift = json.load(open(path))["shift"]
        return tokenizer
    def no_truncation(self): pass
    def no_padding(self): pass
    def token_to_id(self, text): return {"<bos>": 256 + self.shift, "<eos>": 257 + self.shift}.get(text)
    def get_vocab(self, with_added_tokens): return {"a": 0, "<eos>": 257 + self.shift} if with_added_tokens else {}
    def encode_batch(self, texts, add_special_tokens):
        assert self.encode_special_tokens and not add_special_tokens
        return [Encoding(list(text.encode())) for text in texts]
'''

# Run by JREG_HF_PYTHON: makes a tokenizer of the kind and reads token files back with transformers.
MAKER = '''
import json, sys
from tokenizers import Tokenizer, Regex, decoders, models, pre_tokenizers, processors, trainers
kind, folder = sys.argv[1:3]
tokenizer = Tokenizer(models.BPE(ignore_merges=kind == "llama3"))
if kind == "llama3":
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
               r"\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    bos, eos = "<|begin_of_text|>", "<|end_of_text|>"
else:
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bos = eos = "<|endoftext|>"
tokenizer.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=list(dict.fromkeys([bos, eos])), show_progress=False,
                              initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
tokenizer.train_from_iterator(json.load(open(sys.argv[3])), trainer)
if kind == "llama3":
    tokenizer.post_processor = processors.TemplateProcessing(
        single=bos + " $A", special_tokens=[(bos, tokenizer.token_to_id(bos))])
tokenizer.save(folder + "/tokenizer.json")
json.dump({"eos_token": eos, "bos_token": bos, "tokenizer_class": "PreTrainedTokenizerFast"},
          open(folder + "/tokenizer_config.json", "w"))
'''
READER = '''
import json, sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
texts = json.load(open(sys.argv[2]))
ids = [tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True) for text in texts]
print(json.dumps({"ids": ids, "eos": tokenizer.eos_token_id, "vocab": len(tokenizer),
                  "back": [tokenizer.decode(i) for i in ids]}))
'''

TEXTS = ["naïve text\nwith two lines\n", "second <eos> <|endoftext|> document's 1234567 ends", "漢字 and 🙂  spaces"]


def read_dataset(prefix):
    """Type code and documents of PREFIX.bin and PREFIX.idx."""
    index = pathlib.Path(f"{prefix}.idx").read_bytes()
    version, code, count, entries = struct.unpack_from("<QBQQ", index, 9)
    assert index[:9] == b"MMIDIDX\0\0" and version == 1 and entries == count + 1
    lengths = np.frombuffer(index, "<i4", count, 34)
    pointers = np.frombuffer(index, "<i8", count, 34 + 4 * count)
    starts = np.frombuffer(index, "<i8", entries, 34 + 12 * count)
    assert len(index) == 34 + 12 * count + 8 * entries and list(starts) == list(range(entries))
    data = pathlib.Path(f"{prefix}.bin").read_bytes()
    kind = {8: "<u2", 4: "<i4"}[code]
    documents = [np.frombuffer(data, kind, n, p).tolist() for n, p in zip(lengths, pointers)]
    assert sum(map(len, documents)) * np.dtype(kind).itemsize == len(data)
    return code, documents


class TokenizeHf(support.ProgramTest):
    def setUp(self):
        super().setUp()
        self.package = self.folder / "package"
        self.package.mkdir()
        (self.package / "tokenizers.py").write_text(STAND_IN, encoding="utf-8")
        self.model = self.tokenizer("model", 0)
        self.lines = self.folder / "lines.jsonl"
        self.lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")

    def tokenizer(self, name, shift):
        folder = self.folder / name
        folder.mkdir()
        (folder / "tokenizer.json").write_text(json.dumps({"shift": shift}), encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<eos>"}}), encoding="utf-8")
        return folder

    def tool(self, *words, check=0, python=sys.executable, package=True):
        environment = {**os.environ, "PYTHONPATH": str(self.package) if package else "", "PYTHONDONTWRITEBYTECODE": "1"}
        result = subprocess.run([python, str(TOOL), *map(str, words)], capture_output=True, text=True, check=False,
                                env=environment, timeout=120, cwd=self.folder)
        self.assertEqual(result.returncode, check, result.stdout + result.stderr)
        return result

    def test_documents_end_with_eos_and_special_tokens_in_texts_are_text(self):
        self.tool("--tokenizer", self.model, "--jsonl-field", "text", "--output", "out/c", self.lines)
        self.assertEqual(read_dataset(self.folder / "out/c"), (8, [[*text.encode(), 257] for text in TEXTS]))
        self.tool("--tokenizer", self.model / "tokenizer.json", "--jsonl-field", "text", "--output", "out/b",
                  "--bos", "<bos>", "--eos", "<bos>", self.lines)
        self.assertEqual(read_dataset(self.folder / "out/b")[1], [[256, *text.encode(), 256] for text in TEXTS])

    def test_large_vocabularies_take_four_bytes(self):
        wide = self.tokenizer("wide", 70000)
        self.tool("--tokenizer", wide, "--jsonl-field", "text", "--output", "wide_out", self.lines)
        self.assertEqual(read_dataset(self.folder / "wide_out"), (4, [[*text.encode(), 70257] for text in TEXTS]))

    def test_files_and_folders_are_documents_and_the_description_fits(self):
        texts = self.folder / "texts"
        (texts / "sub").mkdir(parents=True)
        (texts / "b.txt").write_bytes("\ufeffzwei".encode())
        (texts / "sub/c.txt").write_text("three", encoding="utf-8")
        (texts / ".hidden").write_text("none", encoding="utf-8")
        (texts / "empty").write_text("", encoding="utf-8")
        result = self.tool("--tokenizer", self.model, "--output", "out", texts)
        self.assertEqual(read_dataset(self.folder / "out")[1], [[*b"zwei", 257], [*b"three", 257]])
        description = json.loads((self.folder / "out.json").read_text())
        self.assertEqual([description[name] for name in ("vocab", "eos", "source_files")], [258, 257, 3])
        file = description["files"][0]
        self.assertEqual((file["documents"], file["tokens"], file["text_bytes"]), (2, 11, 9))
        self.assertIn("tokens=11 documents=2 bytes_per_token=0.818", result.stdout)

    def test_the_split_shares_out_all_documents_and_follows_the_seed(self):
        many = self.folder / "many.jsonl"
        many.write_text("".join(json.dumps({"t": f"text {i}"}) + "\n" for i in range(200)), encoding="utf-8")
        words = ["--tokenizer", self.model, "--jsonl-field", "t", "--validation", "0.2", many]
        parts = {}
        for name, seed in (("one", 1), ("again", 1), ("other", 2)):
            self.tool(*words, "--output", name, "--seed", seed)
            parts[name] = [read_dataset(self.folder / f"{name}_{part}")[1] for part in ("train", "validation")]
        train, validation = parts["one"]
        self.assertTrue(20 < len(validation) < 60)
        self.assertEqual(sorted(train + validation), sorted([*f"text {i}".encode(), 257] for i in range(200)))
        self.assertEqual(parts["one"], parts["again"])
        self.assertNotEqual(parts["one"], parts["other"])

    def test_what_it_cannot_use_is_named_and_nothing_is_left_behind(self):
        words = ["--tokenizer", self.model, "--jsonl-field", "text", "--output", self.folder / "o/x"]
        (self.folder / "bad.jsonl").write_text('{"text": "a"}\n{"text": 5}\n', encoding="utf-8")
        (self.folder / "no.jsonl").write_text('{"other": "a"}\n', encoding="utf-8")
        (self.folder / "broken.jsonl").write_text('{"text": "a"}\n{"te\n', encoding="utf-8")
        (self.folder / "latin.jsonl").write_bytes(b'{"text": "\xe9"}\n')
        (self.folder / "blank.jsonl").write_text("\n", encoding="utf-8")
        bare = self.folder / "bare"
        bare.mkdir()
        (bare / "tokenizer.json").write_text('{"shift": 0}', encoding="utf-8")
        for code, arguments, *parts in (
                (65, [*words, "bad.jsonl"], "bad.jsonl:2", "text is not text"),
                (65, [*words, "no.jsonl"], "no.jsonl:1", "a field text"),
                (65, [*words, "broken.jsonl"], "broken.jsonl:2"),
                (65, [*words, "latin.jsonl"], "latin.jsonl:1", "byte 10 is not UTF-8"),
                (65, [*words, "blank.jsonl"], "holds no text"),
                (2, [*words, "none.jsonl"], "none.jsonl: there is no such file"),
                (2, ["--tokenizer", "nowhere", "--output", "o/x", self.lines], "--tokenizer nowhere"),
                (2, [*words, "--eos", "<|x|>", self.lines], "--eos <|x|>: the tokenizer has no such token"),
                (2, ["--tokenizer", bare, "--output", "o/x", self.lines], "--eos"),
                (2, [*words, "--validation", "0.000001", self.lines], "--validation")):
            with self.subTest(arguments[-1]):
                result = self.tool(*arguments, check=code)
                self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
                for part in parts:
                    self.assertIn(part, result.stderr)
                self.assertEqual([*(self.folder / "o").glob("*")], [])
        self.tool(*words, self.lines)
        self.assertIn("is there already", self.tool(*words, self.lines, check=2).stderr)
        self.tool(*words, "--overwrite", self.lines)

    def test_without_the_package_it_says_how_to_get_it(self):
        (self.package / "tokenizers.py").write_text("raise ImportError('none here')", encoding="utf-8")
        result = self.tool("--tokenizer", self.model, "--output", "x", self.lines, check=2)
        self.assertIn("pip install tokenizers", result.stderr)

    def test_jreg_trains_on_it_and_points_to_it(self):
        self.tool("--tokenizer", self.model, "--jsonl-field", "text", "--output", "c", self.lines)
        self.train("run", data__train=self.folder / "c", data__validation="", model__vocab=258,
                   data__document_mask=True)
        refused = self.jreg("tokenize", "--tokenizer", self.model / "tokenizer.json", "--output", "y", self.lines, check=2)
        self.assert_refused(refused, "tokenizer.json", "tools/tokenize_hf.py")

    @unittest.skipUnless(HF_PYTHON, "set JREG_HF_PYTHON to a Python with tokenizers and transformers")
    def test_live_ids_are_those_of_transformers(self):
        texts = [*TEXTS, *(f"Text number {i} of {i * 37}, with words that {'re' * (i % 4)}peat.\r\n\n" for i in range(300))]
        (self.folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
        lines = self.folder / "many.jsonl"
        lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        for kind in ("llama3", "gpt2"):
            with self.subTest(kind):
                model = self.folder / kind
                model.mkdir()
                subprocess.run([HF_PYTHON, "-c", MAKER, kind, model, self.folder / "texts.json"], check=True)
                result = self.tool("--tokenizer", model, "--jsonl-field", "text", "--output", f"{kind}_out", lines,
                                   python=HF_PYTHON, package=False)
                read = subprocess.run([HF_PYTHON, "-c", READER, model, self.folder / "texts.json"], check=True,
                                      capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
                wanted = json.loads(read.stdout)
                self.assertEqual(wanted["back"], texts)
                code, documents = read_dataset(self.folder / f"{kind}_out")
                self.assertEqual(code, 8)
                self.assertEqual(documents, [[*ids, wanted["eos"]] for ids in wanted["ids"]])
                print(kind, result.stdout.strip())
                self.train(f"{kind}_run", data__train=self.folder / f"{kind}_out", data__validation="",
                           model__vocab=wanted["vocab"])


if __name__ == "__main__":
    support.main()
