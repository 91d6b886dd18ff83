#!/usr/bin/env python3
"""Turns text into token files with a Hugging Face tokenizer.json (byte-level BPE of Llama 3 or GPT-2, or any other).

    python3 -m venv hf && hf/bin/pip install tokenizers
    hf/bin/python tools/tokenize_hf.py --tokenizer Llama-3.2-1B/ --jsonl-field text --output data/corpus FILE...

Writes what `jreg tokenize` writes: PREFIX.bin and PREFIX.idx (Megatron's format) and the description PREFIX.json.
Every document ends with the end-of-text token: --eos, or the one that tokenizer_config.json beside tokenizer.json
names. Where the text itself spells a special token it is encoded as text, so that no document can end another one.
Needs the Python package tokenizers, and no other beyond Python itself.
"""
import argparse
import array
import json
import math
import os
import pathlib
import random
import struct
import sys

LONGEST_SEQUENCE = 2**31 - 1  # tokens; lengths in the index have 32 bits
BATCH_CHARACTERS = 4 << 20  # encoded at once, on all cores


class UserError(Exception):
    """A wrong option or path: exit code 2."""


class DataError(Exception):
    """An input that is there but wrong inside: exit code 65."""


def import_tokenizers():
    try:
        import tokenizers
    except ImportError as error:
        raise UserError(f"the Python package tokenizers cannot be imported ({error}): make a virtual environment, "
                        "python3 -m venv hf && hf/bin/pip install tokenizers, and start this with hf/bin/python") from error
    return tokenizers


def load_tokenizer(path):
    """The tokenizer of a tokenizer.json, or of the folder that holds it, and that file's path."""
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"--tokenizer {path}: there is no {file}")
    tokenizers = import_tokenizers()
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises nothing more special
        raise DataError(f"{file}: {error}") from error
    if not hasattr(tokenizer, "encode_special_tokens"):
        raise UserError(f"the Python package tokenizers {tokenizers.__version__} is too old: pip install -U tokenizers")
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, file


def configured_eos(file):
    """The text of the end-of-text token that tokenizer_config.json names; None where it does not."""
    config = file.with_name("tokenizer_config.json")
    if not config.is_file():
        return None
    try:
        eos = json.loads(config.read_text(encoding="utf-8")).get("eos_token")
    except (ValueError, AttributeError) as error:
        raise DataError(f"{config}: {error}") from error
    return eos.get("content") if isinstance(eos, dict) else eos


def id_of(tokenizer, text, option):
    number = tokenizer.token_to_id(text)
    if number is None:
        raise UserError(f"{option} {text}: the tokenizer has no such token")
    return number


def find_files(inputs):
    """Files in the order given; of a folder all files below it, sorted by path, hidden ones left out."""
    files = []
    for name in inputs:
        path = pathlib.Path(name)
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.is_file()
                           and not any(part.startswith(".") for part in file.relative_to(path).parts))
            if not found:
                raise UserError(f"{path}: no files in this folder")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise UserError(f"{path}: there is no such file")
    return files


def decoded(bytes_, place):
    try:
        return bytes_.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: byte {error.start} is not UTF-8") from error


def documents_of(file, jsonl_field):
    """The texts of a file: each line's field, or the whole; empty ones left out."""
    if not jsonl_field:
        text = decoded(file.read_bytes(), str(file)).removeprefix("\ufeff")
        if text:
            yield text
        return
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            place = f"{file}:{number}"
            line = decoded(line, place).removeprefix("\ufeff" if number == 1 else "")
            if not line.strip():
                continue
            try:
                text = json.loads(line)[jsonl_field]
            except ValueError as error:
                raise DataError(f"{place}: {error}") from error
            except (KeyError, TypeError, IndexError) as error:
                raise DataError(f"{place}: not an object with a field {jsonl_field}") from error
            if not isinstance(text, str):
                raise DataError(f"{place}: the field {jsonl_field} is not text")
            if text:
                yield text


def batches(texts):
    batch, size = [], 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class Shard:
    """PREFIX.bin and PREFIX.idx, under temporary names until commit()."""

    def __init__(self, prefix, vocab):
        self.prefix, self.vocab = prefix, vocab
        # The type that Megatron picks: 16 bits below 65500.
        self.code, self.type = (8, "H") if vocab < 65500 else (4, "i")
        self.lengths, self.tokens, self.text_bytes, self.counts = array.array("i"), 0, 0, [0] * vocab
        assert array.array(self.type).itemsize == (2 if self.code == 8 else 4) and self.lengths.itemsize == 4
        self.data = open(self.temporary(".bin"), "wb")

    def temporary(self, suffix):
        return f"{self.prefix}{suffix}.tmp-{os.getpid()}"

    def add(self, ids, text_bytes):
        if len(ids) > LONGEST_SEQUENCE:
            raise DataError(f"a document of {len(ids)} tokens is too long: cut it")
        numbers = array.array(self.type, ids)
        if sys.byteorder == "big":
            numbers.byteswap()
        numbers.tofile(self.data)
        for number in ids:
            self.counts[number] += 1
        self.lengths.append(len(ids))
        self.tokens += len(ids)
        self.text_bytes += text_bytes

    def finish(self):
        sync(self.data)
        pointers, pointer = array.array("q"), 0
        for length in self.lengths:
            pointers.append(pointer)
            pointer += length * array.array(self.type).itemsize
        count = len(self.lengths)
        arrays = [self.lengths, pointers, array.array("q", range(count + 1))]
        with open(self.temporary(".idx"), "wb") as index:
            index.write(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, self.code, count, count + 1))
            for numbers in arrays:
                if sys.byteorder == "big":
                    numbers.byteswap()
                numbers.tofile(index)
            sync(index, close=False)

    def commit(self):
        # An older index goes first: at no moment does an index stand beside a .bin that is not its own.
        pathlib.Path(f"{self.prefix}.idx").unlink(missing_ok=True)
        for suffix in (".bin", ".idx"):
            os.replace(self.temporary(suffix), self.prefix + suffix)

    def discard(self):
        self.data.close()
        for suffix in (".bin", ".idx"):
            pathlib.Path(self.temporary(suffix)).unlink(missing_ok=True)

    def entropy(self):
        return -sum(n / self.tokens * math.log(n / self.tokens) for n in self.counts if n)

    def describe(self):
        return {"prefix": self.prefix, "documents": len(self.lengths), "tokens": self.tokens,
                "text_bytes": self.text_bytes, "bytes_per_token": self.text_bytes / self.tokens,
                "unigram_entropy_nats_per_token": self.entropy()}


def sync(stream, close=True):
    stream.flush()
    os.fsync(stream.fileno())
    if close:
        stream.close()


def encode(options, tokenizer, marks, shards, files):
    """Encodes all documents into the shards; the split follows the seed and the document's number."""
    bos, eos = marks
    chance = random.Random(options.seed)
    texts = (text for file in files for text in documents_of(file, options.jsonl_field))
    for batch in batches(texts):
        for text, encoding in zip(batch, tokenizer.encode_batch(batch, add_special_tokens=False)):
            validation = options.validation > 0 and chance.random() < options.validation
            ids = ([] if bos is None else [bos]) + encoding.ids + [eos]
            shards[1 if validation else 0].add(ids, len(text.encode("utf-8")))
    for shard in shards:
        if not shard.lengths:
            raise (UserError(f"--validation {options.validation}: no document falls into {shard.prefix}; choose another "
                             "share or --seed") if len(shards) > 1 else DataError(f"{files[0]}: holds no text"))


def write_description(options, file, vocab, eos, shards, files):
    description = {"program": "tools/tokenize_hf.py", "tokenizer": str(file), "vocab": vocab, "eos": eos,
                   "seed": options.seed, "files": [shard.describe() for shard in shards], "sources": options.files,
                   "source_files": len(files)}
    path = pathlib.Path(options.output + ".json")
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    temporary.write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def check_outputs(options, prefixes):
    for name in [options.output + ".json", *(prefix + end for prefix in prefixes for end in (".bin", ".idx"))]:
        if not options.overwrite and os.path.exists(name):
            raise UserError(f"--output {options.output}: {name} is there already; choose another prefix or add "
                            "--overwrite")
    pathlib.Path(options.output).parent.mkdir(parents=True, exist_ok=True)


def run(options):
    split = options.validation > 0
    prefixes = [options.output + "_train", options.output + "_validation"] if split else [options.output]
    files = find_files(options.files)
    tokenizer, file = load_tokenizer(pathlib.Path(options.tokenizer))
    eos_text = options.eos or configured_eos(file)
    if not eos_text:
        raise UserError(f"--eos: {file.parent} has no tokenizer_config.json that names an eos_token; name it, as "
                        "--eos '<|end_of_text|>'")
    eos = id_of(tokenizer, eos_text, "--eos")
    bos = id_of(tokenizer, options.bos, "--bos") if options.bos else None
    vocab = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    check_outputs(options, prefixes)
    shards = []
    try:
        for prefix in prefixes:
            shards.append(Shard(prefix, vocab))
        encode(options, tokenizer, (bos, eos), shards, files)
        for shard in shards:
            shard.finish()
        for shard in shards:
            shard.commit()
        write_description(options, file, vocab, eos, shards, files)
    finally:
        for shard in shards:
            shard.discard()
    for shard in shards:
        print(f"tokens={shard.tokens} documents={len(shard.lengths)} "
              f"bytes_per_token={shard.text_bytes / shard.tokens:.3f} unigram_entropy_nats={shard.entropy():.4f} "
              f"vocab={vocab} eos={eos} tokenizer={file} file={shard.prefix}")


def share(text):
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 0 and less than 1")
    return value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE", help="files and folders of text")
    parser.add_argument("--tokenizer", required=True, help="tokenizer.json, or the folder that holds it")
    parser.add_argument("--output", required=True, metavar="PREFIX", help="prefix of what is written")
    parser.add_argument("--jsonl-field", default="", help="files are JSON lines; the field that holds a line's text")
    parser.add_argument("--eos", default="", help="text of the token that ends documents")
    parser.add_argument("--bos", default="", help="text of a token that begins documents; none when not given")
    parser.add_argument("--validation", type=share, default=0.0,
                        help="share of the documents that becomes PREFIX_validation, the others PREFIX_train; 0: none")
    parser.add_argument("--seed", type=int, default=1, help="of the split")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    try:
        run(parser.parse_args())
    except (UserError, DataError, OSError) as error:
        print(f"tokenize_hf.py: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 65 if isinstance(error, DataError) else 74
    return 0


if __name__ == "__main__":
    sys.exit(main())
