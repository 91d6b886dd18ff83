"""Token files against independent writers and readers of Megatron's and llm.c's datasets, in numpy and struct.

Usage: token_interchange.py TOKEN_TOOL, with the program in $JREG.
"""

import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy

TYPES = {1: numpy.uint8, 2: numpy.int8, 3: numpy.int16, 4: numpy.int32, 5: numpy.int64, 8: numpy.uint16}


def write_dataset(prefix, code, documents):
    """documents: list of documents, each a list of sequences, each an array."""
    sequences = [numpy.asarray(s, TYPES[code]) for document in documents for s in document]
    lengths = numpy.array([len(s) for s in sequences], numpy.int32)
    pointers = numpy.concatenate([[0], numpy.cumsum([s.nbytes for s in sequences])[:-1]]).astype(numpy.int64)
    starts = numpy.concatenate([[0], numpy.cumsum([len(d) for d in documents])]).astype(numpy.int64)
    with open(f"{prefix}.bin", "wb") as out:
        for sequence in sequences:
            out.write(sequence.tobytes())
    with open(f"{prefix}.idx", "wb") as out:
        out.write(b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, code, len(sequences), len(starts)))
        out.write(lengths.tobytes() + pointers.tobytes() + starts.tobytes())


def read_dataset(prefix):
    index = pathlib.Path(f"{prefix}.idx").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    version, code, count, entries = struct.unpack_from("<QBQQ", index, 9)
    assert version == 1
    lengths = numpy.frombuffer(index, "<i4", count, 34)
    pointers = numpy.frombuffer(index, "<i8", count, 34 + 4 * count)
    starts = numpy.frombuffer(index, "<i8", entries, 34 + 12 * count)
    assert len(index) == 34 + 12 * count + 8 * entries
    tokens = pathlib.Path(f"{prefix}.bin").read_bytes()
    sequences = [numpy.frombuffer(tokens, TYPES[code], n, p) for n, p in zip(lengths, pointers)]
    assert sum(s.nbytes for s in sequences) == len(tokens)
    return code, [numpy.concatenate(sequences[a:b]) for a, b in zip(starts[:-1], starts[1:])]


def write_llmc(path, tokens, wide):
    """As llm.c's write_datafile: 256 integers, then the ids."""
    header = numpy.zeros(256, dtype=numpy.int32)
    header[:3] = (20240801, 7, len(tokens)) if wide else (20240520, 1, len(tokens))
    with open(path, "wb") as out:
        out.write(header.tobytes() + numpy.asarray(tokens, numpy.uint32 if wide else numpy.uint16).tobytes())


def tokens_read_by(tool, prefix, vocab, data_format="auto"):
    done = subprocess.run([tool, data_format, prefix, str(vocab)], check=True, capture_output=True, text=True)
    return [[int(word) for word in line.split()] for line in done.stdout.splitlines()]


def main():
    tool, folder = sys.argv[1], tempfile.TemporaryDirectory()
    random = numpy.random.default_rng(5)
    for code, kind in TYPES.items():
        prefix = os.path.join(folder.name, f"type{code}")
        top = min(numpy.iinfo(kind).max, 2**31 - 1)
        documents = [[random.integers(0, top, random.integers(0, 50), endpoint=True) for _ in range(random.integers(1, 4))]
                     for _ in range(20)]
        documents[3][0] = numpy.array([0, top])
        write_dataset(prefix, code, documents)
        expected = [[int(token) for sequence in document for token in sequence] for document in documents]
        expected = [tokens for tokens in expected if tokens]  # an empty document leaves no line
        assert tokens_read_by(tool, prefix, 2**31) == expected, f"type {code}"
        refused = subprocess.run([tool, "megatron", prefix, str(top)], capture_output=True, text=True, check=False)
        assert refused.returncode == 65 and f"id {top}" in refused.stderr, refused

    for wide, top in ((False, 65535), (True, 2**31 - 1)):
        shards = [random.integers(0, top, count, endpoint=True) for count in (1, 700, 33)]
        shards[1][5] = top
        expected = [int(token) for shard in shards for token in shard]
        for number, shard in enumerate(shards):
            write_llmc(os.path.join(folder.name, f"llmc_{wide}_{number:03d}.bin"), shard, wide)
        pattern = os.path.join(folder.name, f"llmc_{wide}_*.bin")
        paths = [pattern.replace("*", f"{number:03d}") for number in range(3)]
        for name in (pattern, ", ".join(paths)):
            assert tokens_read_by(tool, name, 2**31) == [expected], name
        assert tokens_read_by(tool, paths[1], 2**31, "llmc") == [[int(token) for token in shards[1]]]
        refused = subprocess.run([tool, "llmc", pattern, str(top)], capture_output=True, text=True, check=False)
        assert refused.returncode == 65 and f"{paths[1]}: token 5 (byte {1024 + 5 * (2 + 2 * wide)})" in refused.stderr
        bare = os.path.join(folder.name, f"bare_{wide}.bin")
        shards[1].astype("<u4" if wide else "<u2").tofile(bare)
        assert tokens_read_by(tool, bare, 2**31, "raw32" if wide else "raw16") == [[int(t) for t in shards[1]]]
        refused = subprocess.run([tool, "auto", bare, "70000"], capture_output=True, text=True, check=False)
        assert refused.returncode == 2 and "data.format = raw16 or raw32" in refused.stderr, refused

    texts = ["naïve text\nwith two lines\n", "second document"]
    files = []
    for number, text in enumerate(texts):
        files.append(os.path.join(folder.name, f"{number}.txt"))
        pathlib.Path(files[-1]).write_text(text, encoding="utf-8")
    prefix = os.path.join(folder.name, "bytes")
    subprocess.run([os.environ["JREG"], "tokenize", "--output", prefix, *files], check=True)
    code, documents = read_dataset(prefix)
    assert code == 8, code
    assert [list(d) for d in documents] == [list(t.encode()) + [256] for t in texts]
    print("token files agree")


if __name__ == "__main__":
    main()
