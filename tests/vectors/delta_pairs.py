"""Make what the test vectors of deltas hold: an old file, a new one, and the update that makes one of the other.

`python tests/vectors/delta_pairs.py NAME...` writes those that don't exist yet: NAME.old.qac, NAME.new.qac, NAME.qacd.
All are kept for good; a new feature of deltas gets a new vector.
"""

import hashlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from contents import blocked, book, indices, numbers, shared
from on_trellis import moved_on_trellis, trellis_tensors
from smooth_kernels import kernels_of

from qacomp.formats import Coding, Level, SharedTensor, open_file, save_file
from qacomp.formats.codecs.planes import Planes
from qacomp.formats.deltas import delta_chunks, make_delta
from qacomp.formats.deltas.coding import difference
from qacomp.formats.deltas.file import DIFFERENCE, WHOLE
from qacomp.formats.deltas.making import version_of
from qacomp.formats.deltas.prediction import Base
from qacomp.formats.deltas.sections import SectionContents

FOLDER = Path(__file__).parent / "deltas_v1"
PLAIN = ("no-zstd", "no-lzma", "no-deflate")  # what a device may lack


@dataclass(frozen=True)
class Pair:
    """The tensors of the old file and of the new one, and how both are written. patched: see contents.py.

    forced: whether every section is a difference that can be one, even where it is larger than the section.
    """

    old: dict[str, Any]
    new: dict[str, Any]
    coding: Coding
    options: dict[str, Any] = field(default_factory=dict)
    patched: AbstractContextManager[Any] = field(default_factory=nullcontext)
    forced: bool = False


def changed(tensor: SharedTensor, seed: int, *, scale: float = 1.0, by: int = 1) -> SharedTensor:
    """The tensor with a fifth of its indices moved by `by` or `-by`, and a scaled codebook."""
    drawn, k = numbers(tensor.indices.size, 1000, seed).reshape(tensor.indices.shape), len(tensor.codebook)
    moves = np.where(drawn % 5 == 0, np.where(drawn % 2 == 0, by, -by), 0)
    moved = np.clip(tensor.indices.astype(np.int64) + moves, 0, k - 1).astype(tensor.indices.dtype)
    values = (tensor.codebook.astype(np.float64) * scale).astype(tensor.codebook.dtype)
    return SharedTensor(values, moved, tensor.levels)


def tuned(codec: str, k: int) -> Pair:
    """Small tensors before and after tuning: indices and codebooks moved a little, a vector changed, one as it was."""
    old: dict[str, Any] = {
        "conv": shared((12, 6, 3, 3), k, 1),
        "fc": shared((10, 40), max(k - 1, 2), 2),
        "same": shared((5, 7), 3, 3),
        "lone": SharedTensor(book(1), np.zeros((4, 6), np.uint8)),
        "bias": (numbers(40, 1000, 4) / 512).astype(np.float32),
    }
    new = old | {
        "conv": changed(old["conv"], 5, scale=1.0625),
        "fc": changed(old["fc"], 6),
        "lone": changed(old["lone"], 7, scale=2.0),
        "bias": old["bias"] + (numbers(40, 3, 8) / 1024).astype(np.float32),
    }
    return Pair(old, new, Coding((codec, "planes", *PLAIN)), {"meta": {"step": 1}})


def leaves() -> Pair:
    """The same, of files with leaf hashes in their headers."""
    pair = tuned("rans", 5)
    return replace(pair, coding=replace(pair.coding, leaves=True))


def other_sizes() -> Pair:
    """Codebooks of another size, unsorted and with equal values; a tensor of another shape, a new one, a lost one."""
    old = {"w": shared((20, 9), 16, 1), "v": shared((8, 8), 5, 2), "gone": shared((4, 4), 3, 3), "n": np.arange(9)}
    values = np.array([0.5, -0.25, 0.0, 0.5, 0.25, -0.5, 0.125], np.float32)
    new = {
        "w": SharedTensor(values, indices((20, 9), 7, 4)),
        "v": SharedTensor(book(6), indices((9, 8), 6, 5)),
        "added": SharedTensor(book(200), indices((12, 10), 200, 6)),
        "n": np.arange(9) * -3,
    }
    return Pair(old, new, Coding(("rans", "planes", *PLAIN)), forced=True)


def wide(codec: str) -> Pair:
    """Indices of two bytes, one tensor without a base."""
    old = {"w": shared((30, 20), 1000, 1), "u": shared((11, 9), 300, 3)}
    new = {"w": changed(old["w"], 4, by=300), "u": changed(old["u"], 5), "v": shared((9, 11), 300, 2)}
    return Pair(old, new, Coding((codec, "planes", *PLAIN)))


def nested(shape: tuple[int, ...], seed: int) -> SharedTensor:
    """A tensor of three levels: 2, 5 and 12 values."""
    levels = (Level(book(2), np.array([0, 0, 1, 1, 1])), Level(book(5), np.repeat(np.arange(5), [2, 3, 1, 4, 2])))
    return SharedTensor(book(12), indices(shape, 12, seed), levels)


def refined(codec: str) -> Pair:
    """Levels with sections of their own, in a group and in chunks."""
    old = {"a": nested((6, 4, 3), 1), "flat": shared((9,), 4, 2), "b": nested((70, 5), 3)}
    new = {name: changed(tensor, n) for n, (name, tensor) in enumerate(old.items())}
    apart = mock.patch("qacomp.formats.writer.at_once", lambda *given: False)
    return Pair(old, new, Coding((codec, "planes", *PLAIN), chunk_log2=8), patched=apart, forced=True)


def at_once() -> Pair:
    """Levels at once, of a base without levels, and the other way round."""
    row = nested((1, 96), 1)
    tensor = SharedTensor(row.codebook, np.tile(row.indices, (9, 1)), row.levels)
    old = {"w": tensor, "v": SharedTensor(book(12), indices((10, 5), 12, 2))}
    new = {"w": SharedTensor(book(12), changed(tensor, 3).indices), "v": nested((10, 5), 2)}
    together = mock.patch("qacomp.formats.writer.at_once", lambda *given: True)
    return Pair(old, new, Coding(("bitpack", "rans", "planes", *PLAIN)), patched=together, forced=True)


def chunks() -> Pair:
    """Tensors in chunks, whose codebooks come later in the file; and dense raw values at multiples of 64 bytes."""
    old: dict[str, Any] = {
        "w": shared((40, 30), 16, 1),
        "raw": np.arange(1300, dtype=np.int32).reshape(50, 26),
        "u": SharedTensor(book(9), indices((60, 20), 9, 2)),
    }
    new: dict[str, Any] = {
        "w": changed(old["w"], 3, scale=0.9375),
        "raw": old["raw"] + (np.arange(1300, dtype=np.int32) % 7 == 0).reshape(50, 26),
        "u": SharedTensor(book(9)[::-1].copy(), 8 - changed(old["u"], 4).indices),
    }
    return Pair(old, new, Coding(("context", "raw", *PLAIN), chunk_log2=10))


def other_forms() -> Pair:
    """Dense values and codebooks in blocks become one codebook, and the other way round."""
    tiles = blocked("<f4", (12, 10), (3, 4), 4, 3)
    dense = (numbers(120, 64, 1) / 16).astype(np.float32).reshape(12, 10)
    one = SharedTensor((np.arange(8) / 2).astype(np.float32), (dense * 2).astype(np.uint8).clip(0, 7))
    halves = blocked("<f2", (20, 6), (20, 1), 3, 2)
    more = (halves.codebook.astype(np.float32) * 1.5).astype(np.float16)
    old: dict[str, Any] = {"dense": dense, "tiles": tiles, "one": one, "halves": halves, "big": np.arange(8) * 2.0}
    new: dict[str, Any] = {
        "dense": one,
        "tiles": SharedTensor((np.arange(9) / 2).astype(np.float32), indices((12, 10), 9, 5)),
        "one": dense + np.float32(0.5),
        "halves": SharedTensor(more, changed(SharedTensor(book(3), halves.indices), 6).indices, blocks=(20, 1)),
        "big": np.arange(8) * 2.5,
    }
    return Pair(old, new, Coding(("rans", "bitpack", "planes", *PLAIN)), forced=True)


def types() -> Pair:
    """Every element type that has values with a base."""
    old: dict[str, Any] = {"flags": numbers(30, 2, 1).astype(bool)}
    new: dict[str, Any] = {"flags": ~old["flags"]}
    for number, dtype in enumerate(("i1", "<u2", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8")):
        old[dtype] = (numbers(20, 100, number) - 50).astype(dtype)
        new[dtype] = old[dtype] + (numbers(20, 4, number + 9) - 1).astype(dtype)
        old[f"s{dtype}"] = SharedTensor((np.arange(5) * 20).astype(dtype), indices((5, 6), 5, number))
        new[f"s{dtype}"] = changed(old[f"s{dtype}"], number, scale=1.05)
    return Pair(old, new, Coding(("planes", "raw", "bitpack", *PLAIN)), forced=True)


def zstd() -> Pair:
    """Files and an update that zstd is used for."""
    steps = np.tile((np.arange(64) % 16).astype(np.float32), 6)
    old: dict[str, Any] = {"bias": np.cumsum(steps).astype(np.float32), "w": shared((6, 6), 4, 1)}
    new: dict[str, Any] = {
        "bias": old["bias"] + np.tile(np.arange(64) % 3 == 0, 6).astype(np.float32),
        "w": changed(old["w"], 2),
    }
    return Pair(old, new, Coding(("planes", "zstd", "bitpack", "no-lzma", "no-deflate")), forced=True)


def on_trellises() -> Pair:
    """Paths on trellises along each axis that leave the old ones and come back, in a group and in chunks."""
    old = trellis_tensors(numbers, shared)
    paths = {"conv": 6, "across": 0, "gates": 10, "long": 20, "turned": 0, "wide": 3}
    new = old | {name: moved_on_trellis(numbers, old[name], rows, 30 + rows) for name, rows in paths.items()}
    new |= {"flat": changed(old["flat"], 5), "conv": replace(new["conv"], codebook=new["conv"].codebook * 2)}
    return Pair(old, new, Coding(("trellis", "context", "planes", *PLAIN), chunk_log2=10), forced=True)


def mixed() -> Pair:
    """Kernels, a matrix, a vector, one entry, and paths along each axis, in a group and in chunks."""
    paths, smooth = trellis_tensors(numbers, shared), partial(kernels_of, numbers, book)
    rows = {"across": 0, "gates": 10, "long": 20, "turned": 0, "wide": 3, **{f"small{n}": 8 for n in range(3)}}
    old: dict[str, Any] = {
        "conv": smooth((14, 6, 3, 3), 9, 1),
        "deep": smooth((16, 9, 3, 3), 7, 2),
        "square": smooth((5, 8, 5, 5), 11, 3),
        "few": smooth((3, 4, 3, 3), 5, 4),
        "fc": shared((10, 40), 5, 5),
        "flat": shared((9, 200), 4, 6),
        "line": smooth((90, 1), 8, 7),
        "lone": SharedTensor(book(1), np.zeros((4, 6), np.uint8)),
    }
    old["line"] = SharedTensor(old["line"].codebook, old["line"].indices.reshape(-1))
    old |= {f"part{n}": smooth((6, 6, 3, 3), 5 + n, 20 + n) for n in range(4)}
    new = {name: changed(tensor, 10 + n) for n, (name, tensor) in enumerate(old.items())}
    old |= {name: paths[name] for name in rows}
    new |= {name: moved_on_trellis(numbers, paths[name], along, 30 + along) for name, along in rows.items()}
    new["deep"] = replace(new["deep"], codebook=new["deep"].codebook * 2)
    del old["few"]  # so that nothing predicts it
    codecs = ("mixing", "planes", "raw", *PLAIN)  # without trellis, which would take the paths
    return Pair(old, new, Coding(codecs, chunk_log2=10), forced=True)


PAIRS: dict[str, Callable[[], Pair]] = {
    **{f"tuned_{codec}": partial(tuned, codec, 9) for codec in ("bitpack", "rans", "context")},
    **{f"tuned_{k}": partial(tuned, "rans", k) for k in (2, 4)},
    **{f"wide_{codec}": partial(wide, codec) for codec in ("raw", "bitpack", "rans")},
    **{f"refined_{codec}": partial(refined, codec) for codec in ("bitpack", "rans", "context")},
    "other_sizes": other_sizes,
    "at_once": at_once,
    "chunks": chunks,
    "other_forms": other_forms,
    "types": types,
    "zstd": zstd,
    "leaves": leaves,
    "on_trellises": on_trellises,
    "mixed": mixed,
}
CHAINS = {"chain": ("tuned_context", 3)}
"""The names of chains: the pair that they begin with, and how many updates they have."""


def made(pair: Pair) -> list[tuple[str, bytes]]:
    """The three files of a pair, with the ends of their names."""
    with pair.patched:
        files = []
        for tensors in (pair.old, pair.new):
            path = FOLDER / "written.qac"
            save_file(path, tensors, coding=pair.coding, **pair.options)
            files.append(path.read_bytes())
            path.unlink()
    return [("old.qac", files[0]), ("new.qac", files[1]), ("qacd", update(*files, forced=pair.forced))]


def update(old: bytes, new: bytes, *, forced: bool = False) -> bytes:
    """The update that makes one container of another. forced: see Pair."""
    with open_file(old) as base, open_file(new) as container:
        delta = make_delta(base, container)
        planes = Planes().without([name.removeprefix("no-") for name in delta.left_out])
        steps, contents, own = list(delta.steps), SectionContents(container), Base(base)
        for place, step in enumerate(steps):
            if forced and step.method == WHOLE and (coded := difference(place, contents, own, planes)) is not None:
                steps[place] = replace(step, method=DIFFERENCE, payload=coded)
        version = version_of(container, steps)
        return b"".join(delta_chunks(replace(delta, steps=tuple(steps), version=version)))


def chain(pair: Pair, length: int) -> list[tuple[str, bytes]]:
    """The files of a chain: the first one, the updates in their order, and the last one."""
    files: list[bytes] = []
    tensors = pair.old
    for number in range(length + 1):
        path = FOLDER / "written.qac"
        save_file(path, tensors, coding=pair.coding, **pair.options)
        files.append(path.read_bytes())
        path.unlink()
        tensors = tensors | {"conv": changed(tensors["conv"], 20 + number, scale=0.9375)}
    updates = [(f"{n}.qacd", update(*files[n : n + 2])) for n in range(length)]
    return [("old.qac", files[0]), *updates, ("new.qac", files[-1])]


def write(name: str) -> None:
    """Write a vector that doesn't exist yet."""
    if (FOLDER / f"{name}.old.qac").exists():
        raise SystemExit(f"{name}: exists, and is kept for good")
    if name in CHAINS:
        first, length = CHAINS[name]
        parts = chain(PAIRS[first](), length)
    else:
        parts = made(PAIRS[name]())
    with (FOLDER / "SHA256SUMS").open("a") as sums:
        for end, data in parts:
            (FOLDER / f"{name}.{end}").write_bytes(data)
            sums.write(f"{hashlib.sha256(data).hexdigest()}  {name}.{end}\n")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for wanted in sys.argv[1:]:
        write(wanted)
