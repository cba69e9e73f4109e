"""What the golden delta makes of what, from integers alone; `python tests/golden/deltas.py` writes it, never twice."""

import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from qacomp.formats import Coding, Level, SharedTensor, open_file, save_file
from qacomp.formats.deltas import delta_chunks, make_delta

# its neighbour, which is in no package: Python finds it where a script is run
codebook, indices, numbers = (getattr(import_module("contents"), name) for name in ("codebook", "indices", "numbers"))

FOLDER = Path(__file__).parent / "deltas_v1"
CODING = Coding(("raw", "bitpack", "rans", "context", "planes", "codebooks"), chunk_log2=9)


def moved(found: Any, k: int, seed: int) -> Any:
    """Indices of which one in eight is the next one or the one before."""
    draws = numbers(found.size, seed).reshape(found.shape) % 16
    return np.clip(found.astype(int) + (draws == 0) - (draws == 1), 0, k - 1).astype(found.dtype)


def tensors(new: bool) -> dict[str, Any]:
    """The tensors of both files: grouped and in chunks, with levels, in blocks, dense, equal, gone and new ones."""
    a, b, c = indices((6, 4, 3, 3), 8, 1), indices((20, 40), 16, 2), indices((5, 12), 4, 3)
    d = indices((40, 8), 6, 6)
    bias = (numbers(30, 4) % 1000 / 512).astype(np.float32)
    levels = (Level(codebook(4)[::2].copy(), np.array([0, 0, 1, 1])),)
    books = (numbers(20, 5) % 64 / 32).astype(np.float32).reshape(5, 1, 4)
    if new:
        a, b, c = (moved(part, k, 7) for part, k in ((a, 8), (b, 16), (c, 4)))
        bias = bias + np.float32(1 / 512) * (np.arange(30) % 3).astype(np.float32)
        books = books + np.float32(1 / 32)
    made: dict[str, Any] = {
        "a": SharedTensor(codebook(8) * np.float32(1.25 if new else 1), a),
        "b": SharedTensor(codebook(16), b),
        "levels": SharedTensor(codebook(4), c, levels),
        "blocks": SharedTensor(books, c, (), (1, 12)),
        "bias": bias,
        "equal": SharedTensor(codebook(6), d),
        "again": SharedTensor(codebook(6), d),
    }
    if new:
        made["wider"] = SharedTensor(np.append(codebook(8), np.float32(1)), indices((9, 9), 9, 8))
    else:
        made["gone"] = bias[:7].copy()
    return made


def write() -> None:
    """Write old.qac, new.qac and update.qacd."""
    assert not FOLDER.exists() or not list(FOLDER.glob("*")), "golden files are kept for good"
    for name in ("old", "new"):
        save_file(FOLDER / f"{name}.qac", tensors(name == "new"), precision="fp16", meta={"is": name}, coding=CODING)
    with open_file(FOLDER / "old.qac") as old, open_file(FOLDER / "new.qac") as new:
        (FOLDER / "update.qacd").write_bytes(b"".join(delta_chunks(make_delta(old, new))))
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in sorted(FOLDER.glob("*.qac*"))]
    (FOLDER / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    write()
