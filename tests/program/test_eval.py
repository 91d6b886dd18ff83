"""jreg eval against the PyTorch reference, against the loop that transformers documents for sliding windows, and against
what training recorded."""
import json
import math

import looking
import numpy as np
import support
import torch
from looking import reference


class Evaluation(support.ProgramTest):
    def evaluate(self, checkpoint, *words, ranks=None, **kwargs):
        output = self.folder / "result.json"
        self.jreg("eval", "--checkpoint", checkpoint, "--output", output, "--overwrite", *words, ranks=ranks, **kwargs)
        return json.loads(output.read_text())

    def test_losses_and_statistics_are_the_reference_s_on_every_mesh(self):
        run = self.train("run", **looking.LIVELY)
        tokens = looking.tokens_of(self.data / "validation")
        count = (len(tokens) - 1) // looking.LENGTH
        wanted = reference.forward(looking.weights_of(run / "checkpoints" / "step_00000006"),
                                   looking.windows_of(tokens, count), looking.model())
        for name, (ranks, words) in looking.MESHES.items():
            with self.subTest(mesh=name):
                found = self.evaluate(run, *words, ranks=ranks)
                self.assertEqual((found["sequences"], found["tokens"]), (count, count * looking.LENGTH))
                self.assertEqual(found["step"], support.TINY["train.steps"])
                np.testing.assert_allclose(found["loss"], wanted.cross_entropy.item(), rtol=2e-5)
                self.assertAlmostEqual(found["perplexity"], math.exp(found["loss"]), places=9)
                self.assertNotIn("bits_per_byte", found)
                looking.assert_statistics(found, wanted.states)

    def test_sliding_windows_give_what_transformers_loop_gives(self):
        run = self.train("run", **looking.LIVELY)
        weights, model = looking.weights_of(run / "checkpoints" / "step_00000006"), looking.model()
        tokens = looking.tokens_of(self.data / "validation")[:212]
        support.write_tokens(self.data / "short", [tokens.numpy()])
        for stride in (5, 16):
            # A window of `most` tokens, of which the first is predicted by none: sequences of most - 1 inputs.
            most, end, losses, states = looking.LENGTH + 1, 0, [], []
            for begin in range(0, len(tokens), stride):
                before, end = end, min(begin + most, len(tokens))
                new = end - max(before, 1)
                result = reference.forward(weights, tokens[None, begin:end], model)
                losses.append(result.token_losses[0, -new:])
                states.append([state[0, -new:] for state in result.states])
                if end == len(tokens):
                    break
            losses = torch.cat(losses)
            self.assertEqual(len(losses), len(tokens) - 1)
            states = [torch.cat(layer) for layer in zip(*states)]
            for name in ("one", "data2_tensor2_sequence"):
                with self.subTest(stride=stride, mesh=name):
                    ranks, words = looking.MESHES[name]
                    found = self.evaluate(run, "--data", self.data / "short", "--stride", stride, *words, ranks=ranks)
                    self.assertEqual((found["tokens"], found["stride"]), (len(losses), stride))
                    np.testing.assert_allclose(found["loss"], losses.mean().item(), rtol=2e-5)
                    looking.assert_statistics(found, states)

    def test_a_run_s_own_options_give_its_validation_loss_bit_for_bit(self):
        for number, (ranks, changes) in enumerate((
                (None, {"data__document_mask": True, "jreg__final_state": "normed"}),
                (2, {"mesh__tensor": 2, "mesh__sequence_parallel": True, "run__precision": "bf16"}))):
            run = self.train(f"run{number}", ranks=ranks, **looking.LIVELY, **changes)
            recorded = support.read_columns(run)
            sequences = support.TINY["eval.batches"] * support.TINY["train.global_batch"]
            found = self.evaluate(run, "--sequences", sequences, ranks=ranks)
            self.assertEqual(found["loss"], recorded["validation/loss"][-1])
            probe = self.evaluate(run, "--sequences", support.TINY["probe.sequences"], ranks=ranks)
            self.assertEqual(probe["displacement"], recorded["probe/displacement"][-1].tolist())
            other = self.evaluate(run, "--sequences", sequences, "--data.document_mask", str(number == 1).lower(),
                                  ranks=ranks)
            self.assertGreater(abs(other["loss"] - found["loss"]), 1e-4)

    def test_bits_per_byte_from_whoever_knows_the_bytes(self):
        text = self.data / "text"
        text.write_text("".join(f"line {i}: the quick brown fox, 100 % of é{i * i}\n" for i in range(200)))
        self.jreg("tokenize", text, "--output", self.data / "bytes", "--document-bytes", "500")
        self.jreg("tokenize", text, "--output", self.data / "pieces", "--train-vocab", "320", "--document-bytes", "500")
        options = {"train__steps": 1, "data__validation": "", **looking.LIVELY}
        run = self.train("bytes", model__vocab=257, data__train=self.data / "bytes", **options)
        tokens = looking.tokens_of(self.data / "bytes")
        found = self.evaluate(run, "--stride", "16")  # data.train, and the description beside it
        self.assertEqual((found["data"], found["bytes_from"]), (str(self.data / "bytes"), "byte"))
        self.assertEqual(found["bytes"], int((tokens[1:] < 256).sum()))
        self.assertEqual(found["bytes"], len(text.read_bytes()) - 1)
        total = found["loss"] * found["tokens"] / math.log(2)
        self.assertAlmostEqual(found["bits_per_byte"], total / found["bytes"], places=12)
        told = self.evaluate(run, "--stride", "16", "--bytes", "1000")
        self.assertAlmostEqual(told["bytes"], 1000 * found["tokens"] / len(tokens), places=9)

        run = self.train("pieces", model__vocab=320, data__train=self.data / "pieces", **options)
        exact = self.evaluate(run, "--stride", "16", "--tokenizer", self.data / "pieces.model")
        first = len(text.read_bytes()) - exact["bytes"]
        self.assertTrue(1 <= first <= 16, f"all but the first token: {first}")
        described = self.evaluate(run, "--stride", "16")
        self.assertEqual(described["bytes_from"], str(self.data / "pieces.json"))
        np.testing.assert_allclose(described["bytes"], exact["bytes"], rtol=0.01)

    def test_the_table_on_standard_output(self):
        run = self.train("run", train__steps=1)
        lines = self.jreg("eval", "--checkpoint", run, "--sequences", 3, ranks=2).stdout.splitlines()
        self.assertIn("sequences=3", lines[0])
        self.assertRegex(lines[1], r"^loss=[0-9.]+ perplexity=[0-9.]+$")
        self.assertEqual([line.split()[0] for line in lines[2:]], ["layer", "0", "1", "2", "3"])

    def test_sequences_longer_than_the_model_s_are_told_of(self):
        run = self.train("run", train__steps=1)
        for ranks, length, lines in ((None, looking.LENGTH, 0), (2, looking.LENGTH + 1, 1)):
            result = self.jreg("eval", "--checkpoint", run, "--sequences", 2, "--sequence-length", length, ranks=ranks)
            self.assertEqual(result.stderr.count(f"warning: --sequence-length {length}: "), lines, result.stderr)

    def test_what_cannot_be_is_refused_in_one_line(self):
        run = self.train("run", train__steps=1)

        def refuse(code, parts, *words, ranks=None):
            with self.subTest(words=words):
                self.assert_refused(self.jreg("eval", *words, ranks=ranks, check=code), *parts)

        refuse(2, ["--checkpoint"])
        refuse(2, ["nowhere", "is not there"], "--checkpoint", "nowhere")
        refuse(2, ["data", "is no model"], "--checkpoint", self.data)
        refuse(2, ["nowhere.idx"], "--checkpoint", run, "--data", "nowhere")
        refuse(2, ["validation: ", "train.sequence_length = 5000"], "--checkpoint", run, "--sequence-length", "5000")
        refuse(2, ["--stride 17", "--sequence-length 16"], "--checkpoint", run, "--stride", "17")
        refuse(2, ["2 ranks", "mesh.tensor = 3"], "--checkpoint", run, "--tensor", "3", ranks=2)
        refuse(2, ["data.document_mask", "data.eos"], "--checkpoint", run, "--data.format", "raw16", "--data",
               self.data / "train.bin", "--data.document_mask", "true")
        refuse(2, ["sequences", "at least 0"], "--checkpoint", run, "--sequences", "-1")
        refuse(2, ["none.model"], "--checkpoint", run, "--tokenizer", "none.model")
        (self.folder / "there.json").write_text("")
        refuse(2, ["there.json", "--overwrite"], "--checkpoint", run, "--output", self.folder / "there.json")
        refuse(2, ["no folder"], "--checkpoint", run, "--output", self.folder / "none" / "a.json")
        documents = support.sample_documents(3, 10)
        documents[0][5] = support.VOCAB
        support.write_tokens(self.data / "bad", documents)
        refuse(65, ["bad.bin", str(support.VOCAB)], "--checkpoint", run, "--data", self.data / "bad")
        part = run / "checkpoints" / "step_00000001" / "rank_00000.h5"
        part.write_bytes(part.read_bytes()[:-1])
        refuse(65, ["rank_00000.h5"], "--checkpoint", part.parent)


if __name__ == "__main__":
    support.main()
