"""Safetensors files read and written with numpy alone; bfloat16 as uint16."""
import json
import pathlib
import struct

import numpy as np

DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read_header(path):
    """The header as a dict, and where the data begin."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length)), 8 + length


def read_file(path):
    """{name: (dtype, array)} of a file; asserts that the data fill it without holes, in order."""
    header, begin = read_header(path)
    assert header.pop("__metadata__") == {"format": "pt"}
    content = pathlib.Path(path).read_bytes()
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        assert entry["data_offsets"][0] == end, name
        end = entry["data_offsets"][1]
        array = np.frombuffer(content[begin:][entry["data_offsets"][0]:end], dtype=DTYPES[entry["dtype"]])
        tensors[name] = (entry["dtype"], array.reshape(entry["shape"]))
    assert begin + end == len(content)
    return tensors


def read_folder(folder):
    """All tensors of a folder, which has one file or an index."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return read_file(folder / "model.safetensors")
    places = json.loads(index.read_text())["weight_map"]
    tensors = {}
    for file in sorted(set(places.values())):
        part = read_file(folder / file)
        assert {name for name in places if places[name] == file} == set(part), file
        tensors.update(part)
    return tensors


def write_file(path, tensors):
    """`tensors` is what read_file gives."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, array) in tensors.items():
        content = np.ascontiguousarray(array, dtype=DTYPES[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def as_float(dtype, array):
    """Any of the types as float32, exactly."""
    if dtype == "BF16":
        return (array.astype("<u4") << 16).view("<f4")
    return array.astype("<f4")


def to_bfloat16(array):
    """float32 rounded to nearest even, as uint16."""
    bits = np.ascontiguousarray(array, dtype="<f4").view("<u4").astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
