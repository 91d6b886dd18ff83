"""NaN on one rank: all ranks decide alike before the update, stop or skip, and good checkpoints stay."""
import ctypes
import ctypes.util
import json

import h5py
import numpy as np

import support

RARE = support.VOCAB - 1
CHANGES = {"checkpoint__interval": 2, "checkpoint__keep": 0, "mesh__zero1": True, "train__steps": 8,
           "jreg__lambda": 0.4}


class Hash(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


def xxh3_128(content):
    library = ctypes.CDLL(ctypes.util.find_library("xxhash"))
    library.XXH3_128bits.restype = Hash
    library.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    value = library.XXH3_128bits(content, len(content))
    return f"{value.high:016x}{value.low:016x}"


def poison(checkpoint, token):
    """Sets the token's embedding to NaN, and the hashes right again."""
    manifest = checkpoint / "manifest.json"
    text = manifest.read_text()
    for file in json.loads(text)["files"]:
        if file["name"] == "index.h5":  # shows what the others hold
            continue
        path = checkpoint / file["name"]
        with h5py.File(path, "r+") as part:
            for name, data in part.get("weights", {}).items():
                tensor, place = name.split("@")
                row = token - int(place.split(",")[0])
                if tensor == "model.embed_tokens.weight" and 0 <= row < len(data):
                    data[row] = np.nan
        assert path.stat().st_size == file["bytes"]
        text = text.replace(file["xxh3_128"], xxh3_128(path.read_bytes()))
    body, separator, _ = text.rpartition(',\n "xxh3_128": "')
    manifest.write_text(f'{body}{separator}{xxh3_128(body.encode())}"\n}}\n')


class NonFinite(support.ProgramTest):
    def setUp(self):
        super().setUp()
        documents = [np.minimum(document, RARE - 1) for document in support.sample_documents(1, 120)]
        for document in documents[::12]:
            document[len(document) // 2] = RARE
        support.write_tokens(self.data / "train", documents)

    def poisoned(self, name, ranks):
        """A run stopped after update 2, in which one token, that few sequences have, leads to NaN from then on."""
        run = self.train(name, "--stop-at", "2", ranks=ranks, **CHANGES)
        poison(run / "checkpoints" / "step_00000002", RARE)
        self.jreg("verify", run / "checkpoints" / "step_00000002")
        return run

    def test_skipped_updates_are_the_same_on_every_mesh_and_counted(self):
        runs = {}
        for name, ranks in (("one", 1), ("two", 2)):
            runs[name] = self.poisoned(name, ranks)
            result = self.jreg("train", *self.options(name, **CHANGES), "--resume", "auto", "--train.on_nonfinite", "skip",
                               "--allow-change", "train.on_nonfinite", ranks=ranks)
            loss = support.read_columns(runs[name])["train/loss"]
            skipped = int(np.isnan(loss).sum())
            self.assertGreaterEqual(skipped, 1)
            self.assertLess(skipped, len(loss) - 2)
            self.assertIn(f"({skipped} skipped so far)", result.stderr)
            state = json.loads((runs[name] / "checkpoints/step_00000008/manifest.json").read_text())["state"]
            self.assertEqual((state["skipped_updates"], state["adamw_steps"]), (skipped, 8 - skipped))
        # With ZeRO-1 each rank updates rows of its own: that the weights agree shows that both decided alike.
        losses = [support.read_columns(run)["train/loss"] for run in runs.values()]
        np.testing.assert_allclose(*losses, rtol=2e-5)
        one, two = (support.checkpoint_tensors(run / "checkpoints/step_00000008") for run in runs.values())
        for name, values in one.items():
            np.testing.assert_allclose(two[name], values, rtol=1e-3, atol=1e-5, err_msg=name)

    def test_stop_names_the_rank_and_the_checkpoints_stay(self):
        self.poisoned("run", 2)
        result = self.train("run", "--resume", "auto", ranks=2, check=70, **CHANGES)
        self.assert_error(result, "the loss is NaN on rank", "train.on_nonfinite")
        checkpoints = sorted((self.folder / "run" / "checkpoints").glob("step_*"))
        self.assertGreaterEqual(len(checkpoints), 1)
        for checkpoint in checkpoints:
            self.jreg("verify", checkpoint)
        self.assertTrue(np.isfinite(support.read_columns(self.folder / "run")["train/loss"]).all())


if __name__ == "__main__":
    support.main()
