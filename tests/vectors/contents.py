"""What the test vectors hold: every codec, kind of section and feature of the format, made from integers alone.

`python tests/vectors/contents.py NAME...` writes those that don't exist yet: NAME.qac, and NAME.json with what a reader
must find in it. Existing ones are kept for good; a new feature gets a new vector.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from on_trellis import on_trellis, trellis_tensors
from smooth_kernels import summed_kernels

from qacomp.formats import BFLOAT16, Coding, Level, SharedTensor, open_file, save_file

FOLDER = Path(__file__).parent / "v1"
TYPES = ("u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8")


@dataclass(frozen=True)
class Vector:
    """The tensors of a file and how it is written. patched: what is replaced meanwhile, to reach a rare choice."""

    tensors: dict[str, Any]
    coding: Coding = field(default_factory=Coding)
    options: dict[str, Any] = field(default_factory=dict)
    patched: AbstractContextManager[Any] = field(default_factory=nullcontext)


def numbers(count: int, below: int, seed: int) -> NDArray[np.int64]:
    """Pseudo-random integers, the middle ones the most frequent (a linear congruential generator)."""
    out, state = np.zeros(count, np.int64), seed * 2 + 1
    for i in range(count):
        for _ in range(3):
            state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
            out[i] += (state >> 33) % max(below, 1)
    return out // 3


def indices(shape: tuple[int, ...], k: int, seed: int) -> NDArray[Any]:
    """Indices below k."""
    drawn = numbers(int(np.prod(shape)), k, seed)
    result: NDArray[Any] = drawn.astype(np.uint8 if k <= 256 else np.uint16).reshape(shape)
    return result


def book(k: int) -> NDArray[np.float32]:
    """K ascending values with few bits."""
    return ((np.arange(k) - k // 2) / 64).astype(np.float32)


def shared(shape: tuple[int, ...], k: int, seed: int, **more: Any) -> SharedTensor:
    """A shared tensor."""
    return SharedTensor(book(k), indices(shape, k, seed), **more)


def small(k: int) -> dict[str, Any]:
    """A few tensors of different shapes and codebooks, an empty one and one of one value among them."""
    return {
        "conv.weight": shared((6, 4, 3, 3), k, 1),
        "fc.weight": shared((10, 24), max(k - 1, 1), 2),
        "lone": SharedTensor(book(1), np.zeros((5, 7), np.uint8)),
        "none": SharedTensor(book(2), np.zeros((3, 0, 2), np.uint8)),
        "bias": (numbers(10, 1000, 3) / 512).astype(np.float32),
    }


def one_codec(name: str, k: int) -> Vector:
    """The small tensors under one codec of indices."""
    return Vector(small(k), Coding((name,)))


def nested(shape: tuple[int, ...], seed: int) -> SharedTensor:
    """A tensor of three levels: 2, 5 and 12 values."""
    levels = (Level(book(2), np.array([0, 0, 1, 1, 1])), Level(book(5), np.repeat(np.arange(5), [2, 3, 1, 4, 2])))
    return SharedTensor(book(12), indices(shape, 12, seed), levels)


def levels(*codecs: str) -> Vector:
    """Tensors of three levels beside one of one level, in a group and in chunks."""
    tensors = {"a": nested((6, 4, 3), 1), "flat": shared((9,), 4, 2), "b": nested((70, 5), 3)}
    return Vector(tensors, Coding(codecs or None, chunk_log2=7))


def refined(codec: str) -> Vector:
    """The same, and a tensor of two levels, with sections of their own for each level."""
    two = SharedTensor(book(9), indices((8, 5), 9, 4), (Level(book(3), np.repeat(np.arange(3), 3)),))
    apart = mock.patch("qacomp.formats.writer.at_once", lambda *given: False)
    return Vector(levels().tensors | {"two": two}, Coding((codec,), chunk_log2=7), patched=apart)


def at_once() -> Vector:
    """Levels at once: a tensor that repeats itself."""
    row = nested((1, 96), 1)
    tensor = SharedTensor(row.codebook, np.tile(row.indices, (120, 1)), row.levels)
    return Vector({"w": tensor, "v": nested((4, 5), 2)}, Coding(("lzma", "bitpack"), chunk_log2=13))


def types() -> Vector:
    """Every element type: dense, shared, rounded to float16, and special values of floats."""
    tensors: dict[str, Any] = {"flags": numbers(11, 2, 1).astype(bool), "scalar": np.array(2.5, np.float32)}
    for number, dtype in enumerate(TYPES):
        tensors[f"dense.{dtype[-2:]}"] = numbers(13, 100, number).astype(dtype)
        tensors[f"shared.{dtype[-2:]}"] = SharedTensor(np.arange(5).astype(dtype), indices((4, 3), 5, number))
    bits = numbers(9, 1 << 16, 7).astype("<u2")
    tensors["brain"] = bits.view(BFLOAT16)
    tensors["brain.shared"] = SharedTensor(bits[:4].view(BFLOAT16), indices((3, 5), 4, 8))
    tensors["special"] = np.array([0.0, -0.0, np.inf, -np.inf, 1e-45, -1.5e-39, 3.4e38], np.float32).reshape(7, 1)
    tensors["halves"] = np.array([6e-8, 6.1e-5, 65504.0, -0.0, 0.333251953125], np.float32)
    return Vector(tensors, options={"precision": "fp16"})


def names() -> Vector:
    """Names with common starts, of many letters; equal tensors; a graph and metadata."""
    one = shared((3, 4), 3, 1)
    tensors = {"layer.0.weight": one, "layer.0.weight.copy": one, "layer.1": np.arange(4.0), "": np.arange(3)}
    tensors |= {"größe.重み": np.arange(2, dtype=np.int16), "layer.1.again": np.arange(4.0)}
    return Vector(tensors, options={"graph": bytes(range(256)) * 3, "meta": {"arch": "tiny", "note": "ü" * 20}})


def texts(*codecs: str) -> Vector:
    """Metadata and a graph that compress well."""
    meta = {"preprocessing": {"channels": 3, "mean": [0.485, 0.456, 0.406]}, "source": {"kind": "onnx"}}
    graph = b"Conv kernel_shape pads strides " * 12 + b"Relu MaxPool " * 9
    return Vector({"w": shared((4, 4), 3, 1)}, Coding(codecs or None), {"meta": meta, "graph": graph})


def blocked(dtype: str, shape: tuple[int, ...], blocks: tuple[int, ...], k: int, seed: int) -> SharedTensor:
    """A tensor with codebooks in blocks that follow one another smoothly."""
    grid = tuple(-(-size // block) for size, block in zip(shape, blocks, strict=True))
    count = int(np.prod(grid))
    table = np.sort(numbers(count * k, 60, seed).reshape(count, k), axis=1) + np.arange(count)[:, None]
    values = (table / 16).astype(np.float32) if dtype == "bf" else (table / 16).astype(dtype)
    if dtype == "bf":
        values = (values.view("<u4") >> 16).astype("<u2").view(BFLOAT16)
    return SharedTensor(values.reshape(*grid, k), indices(shape, k, seed), blocks=blocks)


def blocks(*codecs: str) -> Vector:
    """Codebooks in blocks of every type and many divisions, in groups and in chunks."""
    tensors = {
        "rows": blocked("<f4", (6, 4, 3, 3), (1, 4, 3, 3), 4, 1),
        "columns": blocked("<f2", (20, 6), (20, 1), 3, 2),
        "tiles": blocked("<f8", (7, 9), (3, 4), 3, 3),
        "runs": blocked("<i4", (5, 64), (1, 16), 4, 4),
        "brain": blocked("bf", (12, 10), (5, 10), 6, 5),
        "vector": blocked("<i8", (50,), (7,), 2, 6),
        "deep": blocked("<f4", (4, 3, 2, 5), (2, 1, 2, 3), 5, 7),
        "long": blocked("<f4", (90, 16), (1, 16), 12, 8),
    }
    return Vector(tensors, Coding(codecs or None, chunk_log2=10))


def grids() -> Vector:
    """Codebooks that are grids, of each float type."""
    tensors = {}
    for number, dtype in enumerate(("<f2", "<f4", "<f8", "bf")):
        count, k = 14, (4, 16, 33, 200)[number]
        zero = numbers(count, k, number) % k
        scale = (1 + numbers(count, 50, number + 9)) / 256
        values = (np.arange(k) - zero[:, None]) * scale[:, None]
        typed = values.astype("<f4" if dtype == "bf" else dtype)
        if dtype == "bf":  # steps of one bit, so that products are exact
            typed = ((np.arange(k) - zero[:, None]) * 0.5).astype("<f4")
            typed = (typed.view("<u4") >> 16).astype("<u2").view(BFLOAT16)
        tensors[dtype] = SharedTensor(typed.reshape(count, 1, k), indices((count, 20), k, number), blocks=(1, 20))
    return Vector(tensors, Coding(("grids", "rans", "bitpack")))


def pruned(inner: str) -> Vector:
    """Tensors with rows and columns of one index only, in a group, and one in chunks of whole rows."""
    tensors = {}
    for number, shape in enumerate(((16, 12, 3), (20, 9), (64, 16))):
        drawn = indices(shape, 6, number).copy()
        drawn[numbers(shape[0], 5, number) % 5 < 2] = 3
        drawn[:, numbers(shape[1], 5, number + 5) % 5 < 2] = 3
        tensors[f"w{number}"] = SharedTensor(book(6), drawn)
    replaced = mock.patch("qacomp.formats.codecs.pruned.PrunedRows.without", lambda self, _: type(self)((inner,)))
    return Vector(tensors, Coding(("pruned", "no-zstd"), chunk_log2=9), patched=replaced)


def context(taps: int) -> Vector:
    """Each setting of the codec context, in one group, with these taps."""
    from qacomp.formats.codecs import contextmodel

    def chosen(flat: Any, streams: Any, *_: Any) -> tuple[int, int, list[Any], None]:
        count = len(contextmodel.SETTINGS)
        return 3 + taps * 4, taps, [contextmodel.SETTINGS[n % count] for n in range(len(streams))], None

    tensors: dict[str, Any] = {f"s{n}": shared((5, 4, 1 + n % 3), 9 + n, n) for n in range(12)}
    tensors["wide"] = shared((300,), 200, 13)
    patched = mock.patch.multiple("qacomp.formats.codecs.context", choose=chosen, is_hopeless=lambda *_: False)
    return Vector(tensors, Coding(("context",), chunk_log2=11), patched=patched)


def planes() -> Vector:
    """Dense values under planes: raw, rANS and zstd planes of words of 2, 4 and 8 bytes."""
    smooth = np.cumsum(numbers(700, 40, 1) - 20) / 1024
    tensors = {"f4": smooth.astype(np.float32).reshape(70, 10), "f2": smooth.astype(np.float16), "f8": smooth}
    return Vector(tensors | {"i4": (smooth * 99).astype(np.int32)}, Coding(("planes",)))


def chunks() -> Vector:
    """Large tensors in chunks: dense raw ones at multiples of 64 bytes, and shared ones."""
    tensors = {"raw": np.arange(1300, dtype=np.int32).reshape(50, 26), "w": shared((40, 30), 16, 1)}
    return Vector(tensors | {"wide": shared((9, 200), 5, 2)}, Coding(("raw", "context", "rans"), chunk_log2=10))


def wide(codec: str) -> Vector:
    """Indices of two bytes."""
    return Vector({"w": shared((30, 20), 1000, 1), "v": shared((9, 11), 300, 2)}, Coding((codec,)))


def leaves(*more: str) -> Vector:
    """Leaf hashes in the header: of levels in groups and in chunks beside texts; or of few sections."""
    if not more:
        tensors = {"w": shared((4, 3), 3, 1), "b": np.arange(5.0)}
        return Vector(tensors, Coding(("bitpack",), leaves=True))
    tensors = levels().tensors | {"raw": np.arange(1300, dtype=np.int32).reshape(50, 26)}
    coding = Coding(more, chunk_log2=8, leaves=True)
    return Vector(tensors, coding, {"meta": {"arch": "tiny"}, "graph": bytes(range(200))})


CODED = ("raw", "bitpack", "huffman", "rans", "context", "zstd", "lzma")
VECTORS: dict[str, Callable[[], Vector]] = {
    **{f"indices_{name}": partial(one_codec, name, 9) for name in CODED},
    **{f"rans_{k}": partial(one_codec, "rans", k) for k in (2, 3, 16)},
    **{f"wide_{name}": partial(wide, name) for name in ("raw", "bitpack", "huffman", "rans", "twobyte")},
    **{f"levels_{name}": partial(levels, name) for name in ("bitpack", "huffman", "rans", "context", "zstd")},
    **{f"refined_{name}": partial(refined, name) for name in ("raw", "bitpack", "huffman", "rans", "context", "lzma")},
    **{f"context_{taps}": partial(context, taps) for taps in range(4)},
    **{f"pruned_{name}": partial(pruned, name) for name in ("raw", "bitpack", "huffman", "rans", "context", "lzma")},
    "levels_at_once": at_once,
    "types": types,
    "names": names,
    "texts": texts,
    "texts_no_zstd": partial(texts, "no-zstd"),
    "texts_raw": partial(texts, "no-zstd", "no-lzma", "no-deflate"),
    "blocks": blocks,
    "blocks_codebooks": partial(blocks, "codebooks", "rans"),
    "grids": grids,
    "planes": planes,
    "trellis": lambda: Vector(trellis_tensors(numbers, shared), Coding(("trellis", "raw"), chunk_log2=10)),
    "mixing": lambda: Vector(
        trellis_tensors(numbers, shared) | summed_kernels(numbers, book) | {"vector": shared((33,), 3, 9)},
        Coding(("mixing", "raw"), chunk_log2=11),
    ),
    "mixing_lone": lambda: Vector({"w": shared((9, 8, 3, 3), 9, 7)}, Coding(("mixing",))),
    "trellis_lone": lambda: Vector({"w": on_trellis(numbers, (6, 16), 6, 8)}, Coding(("trellis",))),
    "chunks": chunks,
    "leaves": leaves,
    "leaves_levels": partial(leaves, "raw", "bitpack", "rans", "no-zstd"),
}


def description(data: bytes) -> dict[str, Any]:
    """What a reader must find in a file: names, types, shapes, and the SHA-256 of all bytes of values at each level."""
    with open_file(data) as container:
        found = []
        for name in container.names:
            info = container.info(name)
            read = [container.tensor(name, level=level) for level in range(max(len(info.levels), 1))]
            sums = [hashlib.sha256(array.tobytes()).hexdigest() for array in read]
            found.append({"name": name, "dtype": info.dtype, "shape": list(info.shape), "sha256": sums})
        blobs = {"graph": container.graph(), "metadata": json.dumps(container.meta, sort_keys=True).encode()}
        told = {kind: None if blob is None else hashlib.sha256(blob).hexdigest() for kind, blob in blobs.items()}
        root = {"root": container.root} if container.version >= (1, 4) else {}
        return {"version": list(container.version), **root, "tensors": found, **told}


def write(name: str) -> None:
    """Write a vector that doesn't exist yet."""
    path = FOLDER / f"{name}.qac"
    if path.exists():
        raise SystemExit(f"{path}: exists, and is kept for good")
    vector = VECTORS[name]()
    with vector.patched:
        save_file(path, vector.tensors, coding=vector.coding, **vector.options)
    text = json.dumps(description(path.read_bytes()), indent=1, ensure_ascii=False)
    path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    with (FOLDER / "SHA256SUMS").open("a") as sums:
        for written in (path, path.with_suffix(".json")):
            sums.write(f"{hashlib.sha256(written.read_bytes()).hexdigest()}  {written.name}\n")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for wanted in sys.argv[1:]:
        write(wanted)
