"""What the golden files hold, made from integers alone so that no library's version can change it.

`python tests/golden/contents.py NAME` writes one that doesn't exist yet; existing ones are kept for good.
"""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, Coding, Level, SharedTensor, save_file

FOLDER = Path(__file__).parent / "v1"
Contents = tuple[dict[str, Any], dict[str, Any]]


def numbers(count: int, seed: int) -> NDArray[np.int64]:
    """Pseudo-random integers below 2**31 (a linear congruential generator)."""
    out = np.empty(count, np.int64)
    state = seed
    for i in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        out[i] = state >> 33
    return out


def indices(shape: tuple[int, ...], k: int, seed: int) -> NDArray[Any]:
    """Indices that favour the middle of the codebook."""
    count = int(np.prod(shape))
    draws = numbers(4 * count, seed).reshape(4, count) % k
    result: NDArray[Any] = (draws.sum(axis=0) // 4).astype(np.uint8 if k <= 256 else np.uint16).reshape(shape)
    return result


def codebook(k: int) -> NDArray[np.float32]:
    """K ascending values with few bits."""
    return ((np.arange(k) - k // 2) / 64).astype(np.float32)


def network(k: int) -> dict[str, Any]:
    """A little network: two shared layers of different K, biases and a scale."""
    return {
        "conv1.weight": SharedTensor(codebook(k), indices((6, 4, 3, 3), k, 1)),
        "conv1.bias": (numbers(6, 2) % 1000 / 512).astype(np.float32),
        "bn1.weight": (numbers(6, 3) % 1000 / 512).astype(np.float32),
        "fc.weight": SharedTensor(codebook(max(k - 1, 1)), indices((10, 24), max(k - 1, 1), 4)),
        "fc.bias": (numbers(10, 5) % 1000 / 512).astype(np.float32),
    }


def tiny() -> Contents:
    """The worked example of SPEC.md."""
    tensors = {
        "w": SharedTensor(np.array([-0.5, 0.0, 0.5], np.float32), np.array([[0, 1, 1, 2], [1, 1, 0, 2]], np.uint8)),
        "b": np.array([1.0, -2.0], np.float32),
    }
    return tensors, {"meta": {"arch": "tiny"}, "precision": "fp16"}


def dtypes() -> Contents:
    """Every element type; a scalar, an empty tensor, a tensor stored once under two names."""
    kinds = ["?", "u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8"]
    tensors: dict[str, Any] = {kind: (numbers(5, 7) % 100).astype(kind) for kind in kinds}
    for kind in ("<f2", "<f4", "<f8"):
        tensors[kind] = np.concatenate([(numbers(5, 8) % 100 / 8).astype(kind), np.array([np.nan, -np.inf], kind)])
    tensors["bfloat16"] = (numbers(6, 9) % 65536).astype(np.uint16).view(BFLOAT16).reshape(2, 3)
    tensors["scalar"] = np.array(7, np.int64)
    tensors["empty"] = np.zeros((0, 3), np.float32)
    tensors["same"] = tensors["<f4"]
    return tensors, {"graph": b"graph bytes " * 4}


def levels() -> Contents:
    """Nested codebooks of 2, 4 and 12 values beside a tensor of one level."""
    fine = codebook(12)
    coarse = Level(np.array([-0.06, 0.05], np.float32), np.array([0, 0, 1, 1]))
    middle = Level(np.array([-0.08, -0.04, 0.02, 0.07], np.float32), np.repeat(np.arange(4), [3, 3, 4, 2]))
    tensors = {
        "a": SharedTensor(fine, indices((8, 6, 3, 3), 12, 11), (coarse, middle)),
        "b": SharedTensor(codebook(5), indices((40,), 5, 12)),
        "c": SharedTensor(fine, indices((70, 20), 12, 13), (coarse, middle)),
    }
    return tensors, {"coding": Coding(chunk_log2=12)}


def chunks() -> Contents:
    """Tensors with chunks of their own (chunks of 1,024 values), one of them raw and aligned."""
    tensors = {
        "w": SharedTensor(codebook(16), indices((50, 60), 16, 21)),
        "d": (numbers(1500, 22) << 16 ^ numbers(1500, 24)).astype(np.uint32).view(np.float32).reshape(30, 50),
        "s": SharedTensor(codebook(4), indices((9,), 4, 23)),
    }
    return tensors, {"coding": Coding(chunk_log2=10)}


def blocks() -> Contents:
    """Codebooks in blocks: a channel, an output, groups of 5 that don't divide the axis; in groups and in chunks."""
    small = codebook(6)[None] * (1 + np.arange(8, dtype=np.float32)[:, None] / 8)  # (8, 6)
    many = (codebook(16) * 64).astype(np.float32) + numbers(40 * 16, 31).reshape(40, 16) % 64 / 512
    uneven = (numbers(3 * 4 * 4, 32).reshape(3, 4, 4) % 4096 / 1024 - 2).astype(np.float32)
    tensors = {
        "conv.weight": SharedTensor(small.reshape(8, 1, 1, 1, 6), indices((8, 3, 3, 3), 6, 33), (), (1, 3, 3, 3)),
        "fc.weight": SharedTensor(many.reshape(1, 40, 16).astype(np.float32), indices((70, 40), 16, 34), (), (70, 1)),
        "groups": SharedTensor(np.sort(uneven, axis=2), indices((3, 17), 4, 35), (), (1, 5)),
        "plain": SharedTensor(codebook(3), indices((20,), 3, 36)),
    }
    return tensors, {"coding": Coding(chunk_log2=8), "precision": "fp16"}


def grids() -> Contents:
    """Codebooks on grids: 8 bits in float32, 4 bits in fp16 whose chunks end inside a codebook, 2 bits in bfloat16."""
    places = np.arange(256, dtype=np.float32) - (numbers(12, 61) % 256)[:, None].astype(np.float32)
    eight = (places * (257 + numbers(12, 62) % 255)[:, None] / 2**14).astype(np.float32)
    fifteen = ((np.arange(15) - 6) * (64 + numbers(30, 63) % 64)[:, None] / 2**12).astype(np.float16)
    two = ((np.arange(4) - numbers(6, 64)[:, None] % 4) * (32 + numbers(6, 65)[:, None] % 32) / 2**10).astype("<f4")
    bfloat = (two.view("<u4") >> 16).astype("<u2").view(BFLOAT16)
    tensors = {
        "eight": SharedTensor(eight.reshape(3, 4, 256), indices((3, 50), 256, 66), (), (1, 16)),
        "fifteen": SharedTensor(fifteen.reshape(30, 1, 15), indices((30, 9), 15, 67), (), (1, 9)),
        "two": SharedTensor(bfloat.reshape(6, 1, 4), indices((6, 20), 4, 68), (), (1, 20)),
    }
    return tensors, {"coding": Coding(chunk_log2=8, codecs=("grids", "rans"))}


def at_once() -> Contents:
    """Nested codebooks of a tensor that repeats itself: its levels are stored at once; and of one that does not."""
    fine, level = codebook(12), Level(np.array([-0.06, 0.05], np.float32), np.repeat(np.arange(2), [6, 6]))
    row = indices((300,), 12, 51)
    tensors = {
        "repeats": SharedTensor(fine, np.tile(row, 40).reshape(40, 300), (level,)),
        "not": SharedTensor(fine, indices((30, 20), 12, 52), (level,)),
    }
    return tensors, {}


def zstd_planes() -> Contents:
    """Floats whose planes repeat themselves, so that zstd takes some of them."""
    row = numbers(100, 41) << 7 ^ numbers(100, 42)
    tensors = {"d": np.tile(row.astype(np.uint32), 90).view(np.float32).reshape(90, 100)}
    return tensors, {"coding": Coding(codecs=("planes",))}


def deflate() -> Contents:
    """Metadata and a graph of words that the dictionary has, and a tensor of bytes."""
    words = [f"layer{n}.conv{n % 3}.weight" for n in range(20)]
    meta = {"arch": "resnet20", "num_classes": 10, "qacomp": "0.1.0", "source": {"kind": "state_dict", "sha256": ""}}
    tensors = {"w": SharedTensor(codebook(5), indices((40,), 5, 71)), "text": np.frombuffer(b"conv1.weight" * 3, "u1")}
    return tensors, {"meta": meta, "graph": ",".join(words).encode(), "coding": Coding(codecs=("deflate", "bitpack"))}


def pruned() -> Contents:
    """Indices with rows and columns of one value only: in one tensor most of them, in another all."""
    few = np.full((40, 30, 2), 3, np.uint8)
    few[np.ix_(range(5, 40, 7), range(2, 30, 5))] = indices((5, 6, 2), 9, 81)
    tensors = {
        "few": SharedTensor(codebook(9), few),
        "none": SharedTensor(codebook(4), np.full((6, 5), 2, np.uint8)),
        "rows": SharedTensor(codebook(300), np.tile(np.array([[0], [299]], np.uint16), (20, 4))),
    }
    return tensors, {"coding": Coding(codecs=("pruned", "planes", "raw"))}


def _with_codec(name: str, k: int) -> Callable[[], Contents]:
    return lambda: (network(k), {"coding": Coding(codecs=(name, "planes")), "precision": "fp12"})


def leaves() -> Contents:
    """Leaf hashes in the header: metadata, a shared tensor in chunks and a dense one (version 1.4)."""
    tensors = {"w": SharedTensor(codebook(7), indices((30, 20), 7, 4)), "b": numbers(6, 5).astype(np.int32)}
    return tensors, {"meta": {"arch": "tiny"}, "coding": Coding(("context", "bitpack"), 8, leaves=True)}


def trellis() -> Contents:
    """Indices on a trellis: rows along the second axis, and, transposed, along the first one (version 1.5)."""
    rows = np.zeros((24, 30), np.int64)
    for row, drawn in zip(rows, numbers(rows.size, 91).reshape(rows.shape) % 9 - 4, strict=True):
        state = 0
        for place, symbol in enumerate(drawn.tolist()):
            row[place] = 2 * symbol - int(np.sign(symbol)) * (state & 1)
            state = (0, 5, 1, 6, 2, 4, 3, 7)[state] ^ 2 * (symbol & 1)
    indices_of_rows = (rows + 8).astype(np.uint8)
    tensors = {
        "conv": SharedTensor(codebook(17), indices_of_rows.reshape(24, 10, 3)),
        "across": SharedTensor(codebook(17), np.ascontiguousarray(indices_of_rows.T)),
        "plain": SharedTensor(codebook(5), indices((40,), 5, 92)),
    }
    return tensors, {"coding": Coding(codecs=("trellis", "planes"))}


def mixing() -> Contents:
    """Smooth kernels, a matrix, a part of a large tensor and indices on a trellis (version 1.6)."""
    noise = numbers(40 * 8 * 25, 101).reshape(40, 8, 5, 5) % 13 - 6
    smooth = noise.cumsum(axis=2).cumsum(axis=3) // 8
    small = np.clip(smooth[:, :, :3, :3], -5, 6) + 5
    matrix = np.where(numbers(30 * 50, 102) % 4, 2, indices((1500,), 7, 103)).reshape(30, 50)
    matrix[:, 10:20] = 2
    tensors = {
        "conv": SharedTensor(codebook(12), small.astype(np.uint8)),
        "wide": SharedTensor(codebook(41), (np.clip(smooth, -20, 20) + 20).astype(np.uint8)),
        "matrix": SharedTensor(codebook(7), matrix.astype(np.uint8)),
        "vector": SharedTensor(codebook(3), indices((70,), 3, 104)),
        "path": trellis()[0]["conv"],
        "across": trellis()[0]["across"],
    }
    return tensors, {"coding": Coding(codecs=("mixing", "planes"), chunk_log2=11)}


GOLDEN: dict[str, Callable[[], Contents]] = {
    "tiny": tiny,
    "dtypes": dtypes,
    "levels": levels,
    "chunks": chunks,
    "raw": _with_codec("raw", 5),
    "bitpack": _with_codec("bitpack", 5),
    "huffman": _with_codec("huffman", 9),
    "rans": _with_codec("rans", 9),
    "context": _with_codec("context", 9),
    "twobyte": _with_codec("twobyte", 300),
    "zstd": _with_codec("zstd", 9),
    "lzma": _with_codec("lzma", 9),
    "blocks": blocks,
    "zstd_planes": zstd_planes,
    "at_once": at_once,
    "grids": grids,
    "deflate": deflate,
    "pruned": pruned,
    "leaves": leaves,
    "trellis": trellis,
    "mixing": mixing,
}

if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = FOLDER / f"{name}.qac"
        if path.exists():
            raise SystemExit(f"{path} exists: golden files are never written again")
        tensors, options = GOLDEN[name]()
        save_file(path, tensors, **options)
        line = f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}.qac\n"
        with (FOLDER / "SHA256SUMS").open("a") as sums:
            sums.write(line)
