"""`jreg tokenize` as a whole: text in, token files out that training takes; what it refuses leaves nothing behind."""
import json
import struct

import numpy as np

import support

SENTENCES = ["The hidden state turns a little in each layer.", "Most of it happens at the end.",
             "Grüße aus München, 東京から。", "A penalty keeps the last layers calm."]


def read_documents(prefix):
    """Token arrays of PREFIX.bin by PREFIX.idx."""
    index = open(f"{prefix}.idx", "rb").read()
    assert index[:9] == b"MMIDIDX\0\0"
    version, dtype, sequences, documents = struct.unpack_from("<QBQQ", index, 9)
    assert (version, documents) == (1, sequences + 1)
    lengths = np.frombuffer(index, "<i4", sequences, 34)
    tokens = np.fromfile(f"{prefix}.bin", {8: "<u2", 4: "<i4"}[dtype])
    assert lengths.sum() == len(tokens)
    return np.split(tokens, np.cumsum(lengths)[:-1])


class Tokenize(support.ProgramTest):
    def setUp(self):
        super().setUp()
        self.texts = self.folder / "texts"
        self.texts.mkdir()
        for number in range(40):
            text = "\n".join(SENTENCES[(number + i) % 4] for i in range(number % 5 + 20))
            (self.texts / f"{number:02d}.txt").write_text(text, encoding="utf-8")

    def test_bytes_come_back_and_each_document_ends_with_eos(self):
        self.jreg("tokenize", "--output", "out/bytes", self.texts)
        documents = read_documents(self.folder / "out/bytes")
        self.assertEqual(len(documents), 40)
        eos = {int(document[-1]) for document in documents}
        self.assertEqual(len(eos), 1)
        self.assertGreaterEqual(eos.pop(), 256)
        for number, document in enumerate(documents):
            self.assertEqual(bytes(document[:-1].astype(np.uint8)), (self.texts / f"{number:02d}.txt").read_bytes())

    def test_a_trained_vocabulary_splits_by_document_and_does_not_depend_on_threads(self):
        for name, threads in (("a", 1), ("b", 3)):
            self.jreg("tokenize", "--output", f"{name}/t", "--train-vocab", 400, "--validation", 0.3, "--threads", threads,
                      self.texts)
        for suffix in (".model", "_train.bin", "_train.idx", "_validation.bin", "_validation.idx"):
            self.assertEqual((self.folder / f"a/t{suffix}").read_bytes(), (self.folder / f"b/t{suffix}").read_bytes())
        counts = [len(read_documents(self.folder / f"a/t_{part}")) for part in ("train", "validation")]
        self.assertEqual(sum(counts), 40)
        self.assertTrue(2 < counts[1] < 25, counts)

    def test_training_takes_what_it_writes(self):
        self.jreg("tokenize", "--output", "out/t", "--validation", 0.3, self.texts)
        self.train("run", data__train="out/t_train", data__validation="out/t_validation", model__vocab=300,
                   train__steps=2)

    def test_json_lines_hold_a_document_each(self):
        lines = self.folder / "lines.jsonl"
        lines.write_text("".join(json.dumps({"id": i, "body": text}) + "\n" for i, text in enumerate(SENTENCES)))
        self.jreg("tokenize", "--output", "out/lines", "--jsonl-field", "body", lines)
        documents = read_documents(self.folder / "out/lines")
        self.assertEqual([bytes(d[:-1].astype(np.uint8)).decode() for d in documents], SENTENCES)

    def refuse(self, code, *words):
        before = sorted(self.folder.rglob("*"))
        result = self.jreg("tokenize", *words, check=code)
        left = [path for path in sorted(self.folder.rglob("*")) if path not in before and not path.is_dir()]
        self.assertEqual(left, [])
        return result.stderr

    def test_what_is_wrong_is_named_and_nothing_is_left(self):
        (self.folder / "empty.txt").write_text("")
        (self.folder / "bad.txt").write_bytes(b"good\n\xff\xfe bad")
        (self.folder / "bad.jsonl").write_text('{"text": "a"}\n{"text": \n')
        (self.folder / "other.jsonl").write_text('{"body": "a"}\n')
        model = self.folder / "bad.model"
        model.write_bytes(b"no model" * 20)
        self.assertIn("nowhere.txt", self.refuse(2, "--output", "out/x", "nowhere.txt"))
        self.assertIn("--output", self.refuse(2, self.texts))
        self.assertIn("--input", self.refuse(2, "--output", "out/x"))
        self.assertIn("train-vocab", self.refuse(2, "--output", "out/x", "--train-vocb", "400", self.texts))
        self.assertIn("empty.txt", self.refuse(65, "--output", "out/x", "empty.txt"))
        self.assertIn("bad.txt", self.refuse(65, "--output", "out/x", "--train-vocab", "300", "bad.txt"))
        self.assertIn("bad.jsonl", self.refuse(65, "--output", "out/x", "--jsonl-field", "text", "bad.jsonl"))
        self.assertIn("other.jsonl", self.refuse(65, "--output", "out/x", "--jsonl-field", "text", "other.jsonl"))
        self.assertIn("bad.model", self.refuse(65, "--output", "out/x", "--tokenizer", model, self.texts))

    def test_files_that_are_there_are_not_replaced_unasked(self):
        self.jreg("tokenize", "--output", "out/t", self.texts)
        self.assertIn("out/t", self.jreg("tokenize", "--output", "out/t", self.texts, check=2).stderr)
        self.jreg("tokenize", "--output", "out/t", "--overwrite", self.texts)


if __name__ == "__main__":
    support.main()
