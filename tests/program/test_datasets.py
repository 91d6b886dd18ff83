"""Formats, mixtures and document masks: the same tokens give the same run, whatever file, mesh or stop lies between."""
import struct

import numpy as np

import support

CHECKPOINTS = {"checkpoint__interval": 2, "jreg__lambda": 0.4}
EOS = support.VOCAB - 1


def write_llmc(path, tokens, wide=False):
    header = np.zeros(256, dtype="<i4")
    header[:3] = (20240801, 7, len(tokens)) if wide else (20240520, 1, len(tokens))
    path.write_bytes(header.tobytes() + np.asarray(tokens).astype("<u4" if wide else "<u2").tobytes())


class Datasets(support.ProgramTest):
    def setUp(self):
        super().setUp()
        self.documents = [np.append(np.minimum(tokens, EOS - 1), EOS) for tokens in support.sample_documents(1, 120)]
        self.tokens = np.concatenate(self.documents)
        support.write_tokens(self.data / "train", self.documents)

    def mixture(self):
        """A source for each of two seeds beside data/train."""
        for seed in (5, 6):
            support.write_tokens(self.data / f"s{seed}", support.sample_documents(seed, 40))
        return f"{self.data}/s5:0.5, {self.data}/s6 : 0.2, {self.data}/train:0.3"

    def train_mixture(self, run, *words, **changes):
        return self.train(run, *words, data__train="", data__sources=self.mixture(), **CHECKPOINTS, **changes)

    def assert_same_columns(self, first, second):
        a, b = support.read_columns(first), support.read_columns(second)
        self.assertEqual(support.differing_columns(a, b), [])

    def test_every_format_gives_the_same_run(self):
        megatron = self.train("megatron")
        write_llmc(self.data / "narrow.bin", self.tokens)
        write_llmc(self.data / "wide.bin", self.tokens, wide=True)
        self.tokens.astype("<u2").tofile(self.data / "bare16")
        self.tokens.astype("<u4").tofile(self.data / "bare32")
        for part in range(3):
            write_llmc(self.data / f"shard_{part}.bin", np.array_split(self.tokens, 3)[part], wide=part == 1)
        for name, path, data_format in (("narrow", "narrow.bin", "auto"), ("wide", "wide.bin", "llmc"),
                                        ("shards", "shard_*.bin", "auto")):
            run = self.train(name, data__train=self.data / path, data__format=data_format,
                             data__validation="" if data_format == "llmc" else self.data / "validation")
            self.assertEqual(support.read_columns(run)["train/loss"].tobytes(),
                             support.read_columns(megatron)["train/loss"].tobytes(), name)
        for bits in (16, 32):
            run = self.train(f"bare{bits}", data__train=self.data / f"bare{bits}", data__format=f"raw{bits}",
                             data__validation="")
            self.assertEqual(support.read_columns(run)["train/loss"].tobytes(),
                             support.read_columns(megatron)["train/loss"].tobytes(), bits)

    def test_files_that_are_not_what_they_are_called_end_with_one_line(self):
        bare = self.data / "bare.bin"
        self.tokens.astype("<u2").tofile(bare)
        self.assert_refused(self.train("run", data__train=bare, check=2), str(bare), "data.format = raw16 or raw32")
        evaluation = self.data / "evaluation.bin"
        evaluation.write_bytes(struct.pack("<3i", 20240522, 1, 4) + bytes(1012 + 8))
        self.assert_refused(self.train("run", data__train=evaluation, check=65), str(evaluation), "evaluation set")
        large = self.data / "large.bin"
        write_llmc(large, np.append(self.tokens, 5000))
        self.assert_refused(self.train("run", data__train=large, check=65), f"{large}: token {len(self.tokens)} (byte "
                            f"{1024 + 2 * len(self.tokens)}) has id 5000", "model.vocab")

    def test_a_mixture_is_the_same_on_every_mesh_and_after_a_stop(self):
        whole = self.train_mixture("whole")
        self.train_mixture("parts", "--stop-at", "3")
        parts = self.train_mixture("parts", "--resume", "auto")
        self.assert_same_columns(whole, parts)
        self.assertEqual(support.differences_of_runs(whole, parts), [])
        many = self.train_mixture("many", ranks=4, mesh__tensor=2, train__micro_batch=2)
        np.testing.assert_allclose(support.read_columns(many)["train/loss"], support.read_columns(whole)["train/loss"],
                                   rtol=2e-5)

    def test_a_mixture_of_one_source_is_that_source(self):
        self.assert_same_columns(self.train("plain"), self.train("mixed", data__train="",
                                                                 data__sources=f"{self.data}/train:3"))

    def test_the_log_tells_tokens_and_epochs_of_each_source(self):
        result = self.jreg("train", *self.options("run", data__train="", data__sources=self.mixture()))
        samples = support.TINY["train.steps"] * support.TINY["train.global_batch"]
        for name, share in (("s5", 0.5), ("s6", 0.2), ("train", 0.3)):
            tokens = (self.data / f"{name}.bin").stat().st_size // 2
            epochs = share * samples / ((tokens - 1) // support.TINY["train.sequence_length"])
            self.assertIn(f"data: {100 * share:g} % of the sequences from {self.data}/{name}: {tokens} tokens, "
                          f"{epochs:.3g} epoch(s) in the whole run", result.stdout + result.stderr)

    def test_what_is_no_mixture_ends_with_one_line(self):
        sources = self.mixture()
        self.assert_refused(self.train("run", data__sources=sources, check=2), "data.train", "data.sources")
        for text, *parts in ((f"{self.data}/s5:-1", "at least 0"), (f"{self.data}/s5:nan", "finite number"),
                             (f"{self.data}/s5:0", "sum to 0"), (f"{self.data}/none:1", "none.idx"),
                             (f"{self.data}/s5", "PATH:WEIGHT")):
            with self.subTest(text):
                self.assert_refused(self.train("run", data__train="", data__sources=text, check=2), *parts)
        support.write_tokens(self.data / "short", [np.arange(16)])
        text = f"{self.data}/s5:1, {self.data}/short:1"
        self.assert_refused(self.train("run", data__train="", data__sources=text, check=2), "short: 16 tokens",
                            "train.sequence_length = 16")

    def test_what_is_trained_on_changes_only_when_it_may(self):
        self.train_mixture("run", "--stop-at", "3")
        other = {"data__train": "", "data__sources": f"{self.data}/s5:1, {self.data}/s6:1", **CHECKPOINTS}
        refused = self.train("run", "--resume", "auto", check=2, **other)
        self.assert_error(refused, "data.sources", "--allow-change")
        self.train("run", "--resume", "auto", "--allow-change", "data.sources", **other)
        for name in ("data__document_mask", "data__eos", "data__format"):
            value = {"data__document_mask": True, "data__eos": 5, "data__format": "megatron"}[name]
            self.train_mixture(name, "--stop-at", "2")
            refused = self.train_mixture(name, "--resume", "auto", check=2, **{name: value})
            self.assert_error(refused, name.replace("__", "."), "--allow-change")

    def test_document_masks_agree_between_meshes_formats_and_after_a_stop(self):
        masked = {"data__document_mask": True, **CHECKPOINTS}
        plain = support.read_columns(self.train("plain", **CHECKPOINTS))
        whole = self.train("whole", **masked)
        columns = support.read_columns(whole)
        for name in ("train/loss", "validation/loss", "probe/loss", "probe/displacement"):
            self.assertGreater(np.abs(columns[name] - plain[name]).max(), 1e-4, name)
        self.train("parts", "--stop-at", "3", **masked)
        self.assert_same_columns(whole, self.train("parts", "--resume", "auto", **masked))
        for number, changes in enumerate(({"mesh__tensor": 2, "mesh__sequence_parallel": True},
                                          {"mesh__zero1": True, "train__micro_batch": 1})):
            many = support.read_columns(self.train(f"many{number}", ranks=4, **masked, **changes))
            for name in ("train/loss", "validation/loss", "probe/loss"):
                np.testing.assert_allclose(many[name], columns[name], rtol=2e-5)
        # Documents that end with EOS: the index of one format and the id in the other tell the same.
        write_llmc(self.data / "eos.bin", self.tokens)
        eos = self.train("eos", data__train=self.data / "eos.bin", data__eos=EOS, **masked)
        self.assertEqual(support.read_columns(eos)["train/loss"].tobytes(), columns["train/loss"].tobytes())
        refused = self.train("none", data__train=self.data / "eos.bin", check=2, **masked)
        self.assert_refused(refused, "data.document_mask", "data.eos", "eos.bin")


if __name__ == "__main__":
    support.main()
