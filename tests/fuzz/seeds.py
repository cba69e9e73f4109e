"""Small containers of every codec, kind of section and version, made from integers alone: what mutants come from."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, Coding, Level, SharedTensor, save_file

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "v1"
LARGEST = 900  # bytes of a golden file that is a seed: mutants of larger ones take too long
META = {"arch": "tiny", "k": 4, "levels": [2, 4], "history": [{"loss": 0.5, "step": 1}], "note": "é", "none": None}


def numbers(count: int, below: int, seed: int) -> NDArray[np.int64]:
    """Pseudo-random integers that favour small ones (a linear congruential generator)."""
    out, state = np.empty(count, np.int64), seed
    for i in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        out[i] = (state >> 33) % (1 + (state >> 20) % below)
    return out


def shared(shape: tuple[int, ...], k: int, seed: int = 1, **more: Any) -> SharedTensor:
    """A shared tensor with a codebook of few bits."""
    indices = numbers(int(np.prod(shape)), k, seed).astype(np.uint8 if k <= 256 else np.uint16)
    return SharedTensor(((np.arange(k) - k // 2) / 8).astype(np.float32), indices.reshape(shape), **more)


def pruned(shape: tuple[int, ...]) -> SharedTensor:
    """A tensor in which every second row and all but three columns hold the index 1 alone."""
    full = shared(shape, 5)
    left = np.full(shape, 1, np.uint8)
    left[::2, :3] = full.indices[::2, :3]
    return replace(full, indices=left)


def on_trellis(shape: tuple[int, int]) -> SharedTensor:
    """A tensor of 13 values whose rows follow the trellis."""
    found = np.zeros(shape, np.int64)
    for row, symbols in zip(found, numbers(found.size, 7, 5).reshape(shape) - 3, strict=True):
        state = 0
        for place, symbol in enumerate(symbols.tolist()):
            row[place] = 2 * symbol - int(np.sign(symbol)) * (state & 1)
            state = (0, 5, 1, 6, 2, 4, 3, 7)[state] ^ 2 * (symbol & 1)
    return SharedTensor((np.arange(-6, 7) / 8).astype(np.float32), (found + 6).astype(np.uint8))


def nested(shape: tuple[int, ...], seed: int = 1) -> SharedTensor:
    """Levels of 2, 3 and 6 values."""
    book = np.arange(6, dtype=np.float32)
    levels = (Level(book[:2], np.array([0, 1, 1])), Level(book[:3], np.array([0, 0, 1, 1, 1, 2])))
    return SharedTensor(book, numbers(int(np.prod(shape)), 6, seed).astype(np.uint8).reshape(shape), levels)


def blocked(seed: int = 1, grid: bool = False) -> SharedTensor:
    """A codebook for each row of a matrix."""
    steps = np.arange(4, dtype=np.float32)[None, :] - 1
    books = (steps if grid else steps**2) * (1 + np.arange(5, dtype=np.float32)[:, None])
    return SharedTensor(books.reshape(5, 1, 4), numbers(30, 4, seed).astype(np.uint8).reshape(5, 6), blocks=(1, 6))


def dense() -> dict[str, NDArray[Any]]:
    """A tensor of every element type."""
    types = ("?", "u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8")
    made: dict[str, NDArray[Any]] = {f"t{i}": numbers(5, 2, i).astype(kind) for i, kind in enumerate(types)}
    made["bf"] = numbers(4, 1 << 14, 3).astype("<u2").view(BFLOAT16)
    made["empty"], made["scalar"] = np.zeros((0, 3), np.float32), np.full((), 1.5, np.float32)
    return made


def _seeds() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Tensors and options of `save_file`, by name."""
    two = {"a.w": shared((4, 10), 4), "a.b": np.arange(4, dtype=np.float32), "b.w": shared((3, 5, 2, 1), 3, 2)}
    seeds: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        f"group_{codec}": (two, {"coding": Coding(codecs=(codec,)), "precision": "fp16", "meta": META})
        for codec in ("raw", "bitpack", "huffman", "rans", "context", "planes", "zstd", "lzma")
    }
    seeds |= {
        f"chunks_{codec}": (
            {"w": shared((5, 8), 5), "d": np.arange(40, dtype=np.uint16)},
            {"coding": Coding(codecs=(codec, "planes"))},
        )
        for codec in ("raw", "bitpack", "huffman", "rans", "context", "zstd", "lzma")
    }
    seeds |= {
        f"levels_{codec}": (
            {"w": nested((6, 7)), "v": nested((20,), 2), "k": shared((4,), 2)},
            {"coding": Coding(codecs=(codec,))},
        )
        for codec in ("raw", "bitpack", "huffman", "rans", "context", "zstd", "lzma")
    }
    seeds |= {
        "twobyte": ({"w": shared((6, 10), 300)}, {"coding": Coding(codecs=("twobyte",))}),
        "codebooks": (
            {"w": blocked(), "v": blocked(2)},
            {"coding": Coding(codecs=("codebooks", "bitpack")), "precision": "fp16"},
        ),
        "grids": ({"w": blocked(1, True)}, {"coding": Coding(codecs=("grids", "rans"))}),
        "block_chunks": ({"w": blocked()}, {"coding": Coding(codecs=("codebooks", "huffman"))}),
        "grid_chunks": ({"w": blocked(1, True)}, {"coding": Coding(codecs=("grids", "context"))}),
        "level_chunks": ({"w": nested((5, 8))}, {}),
        "dense": (dense(), {}),
        "dense_planes": (dense(), {"coding": Coding(codecs=("planes",))}),
        "same": ({"a": shared((8,), 4), "b": shared((8,), 4), "c": np.ones(3), "d": np.ones(3)}, {}),
        "blobs": (
            {"x": np.arange(6, dtype=np.uint8)},
            {"graph": b"graph" * 20, "meta": {"meta": META, "list": [META] * 9}},
        ),
        "texts": (
            {"x": np.frombuffer(b"num_classes" * 4, np.uint8)},
            {
                "graph": b"kernel_shape,strides,BatchNormalization" * 4,
                "meta": {"preprocessing": {"channels": 3}, "qacomp": "0.1.0", "verdict": "good"},
                "coding": Coding(codecs=("deflate",)),
            },
        ),
        "trellis": (
            {"w": on_trellis((9, 8)), "p": shared((4, 5), 4)},
            {"coding": Coding(codecs=("trellis", "raw"))},
        ),
        "mixing": (
            {"w": on_trellis((9, 8)), "k": shared((5, 7, 3, 3), 6), "v": shared((40,), 3)},
            {"coding": Coding(codecs=("mixing", "raw"))},
        ),
        "pruned": (
            {"w": pruned((20, 9)), "v": pruned((12, 10, 2))},
            {"coding": Coding(codecs=("pruned", "raw"))},
        ),
        "constant": ({"w": shared((50,), 1), "s": shared((), 2)}, {}),
        "nothing": ({}, {}),
    }
    for name, (_, options) in seeds.items():
        if "chunks" in name:
            options["coding"] = replace(options.get("coding", Coding()), chunk_log2=5)
    return seeds


def build(report: Callable[[str], None] = lambda name: None) -> dict[str, bytes]:
    """All seeds by name: those made here, and the small golden files."""
    made = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.qac"
        for name, (tensors, options) in _seeds().items():
            report(name)
            save_file(path, tensors, **options)
            made[name] = path.read_bytes()
    for golden in sorted(GOLDEN.glob("*.qac")):
        if golden.stat().st_size <= LARGEST:
            made[f"golden_{golden.stem}"] = golden.read_bytes()
    return made
