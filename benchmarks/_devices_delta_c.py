"""Deltas in C: the size of the code for a Cortex-M4 besides the decoder's, and the memory that applying one takes."""

import shutil
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from codec import gaussian
from result import Headline, Results, Row

from qacomp.formats import Coding, SharedTensor, open_file, save_file
from qacomp.formats.deltas import delta_chunks, make_delta
from qacomp.formats.native_installed import SOURCES
from qacomp.formats.native_library import compiler

_ARM = ("arm-none-eabi-gcc", "-std=c99", "-Os", "-mthumb", "-mcpu=cortex-m4", "-c")
_CODE_BAR = 20_480  # bytes: decoder and deltas together in 48 KiB of flash
_PROGRAM = Path(__file__).resolve().parents[1] / "tests" / "fuzz" / "fuzz_delta.c"
_WEIGHTS, _LAYERS, _K, _MOVED = 270_000, 20, 16, 0.01  # about ResNet-20, after a little tuning


def deltas_in_c() -> Results:
    """Code and memory of qac_delta.c; skipped where a compiler is missing."""
    if shutil.which(_ARM[0]) is None:
        return [], {"c_delta_code": Headline(None, "bytes", f"<= {_CODE_BAR:,}", f"skipped: no {_ARM[0]}")}
    sizes = {name: _code(name) for name in ("qac.c", "qac_delta.c")}
    more = sizes["qac_delta.c"] - sizes["qac.c"]
    memory = {name: _memory(codecs) for name, codecs in (("smallest", ()), ("rans", ("rans", "planes")))}
    memory["small sections"] = _memory((), chunk_log2=16)
    found: dict[str, Any] = {"code": {**sizes, "deltas": more}, "memory": memory}
    small, parts = memory["smallest"], memory["small sections"]
    note = f"-Os -mthumb -mcpu=cortex-m4, without the decoder; {_WEIGHTS:,} weights in {_LAYERS} tensors, K = {_K}, "
    note += f"{_MOVED:.0%} of the indices moved: arena {small['arena']:,} bytes, in sections of at most 2^16 weights "
    note += f"{parts['arena']:,}; in place a buffer of {small['buffer']:,} for a file of {small['new']:,}"
    settings = {"command": " ".join(_ARM), "weights": _WEIGHTS, "k": _K, "moved": _MOVED}
    row = Row("c_deltas", "deltas applied in C", settings, found)
    return [row], {"c_delta_code": Headline(more, "bytes", f"<= {_CODE_BAR:,}", note)}


def _code(name: str) -> int:
    """Return the bytes of code and constants of a source."""
    with tempfile.TemporaryDirectory() as folder:
        made = str(Path(folder) / "made.o")
        subprocess.run([*_ARM, str(SOURCES / name), "-o", made], check=True)
        told = subprocess.run(["arm-none-eabi-size", made], check=True, capture_output=True, text=True).stdout
    return int(told.splitlines()[1].split()[0])


def _memory(codecs: tuple[str, ...], chunk_log2: int = 22) -> dict[str, int]:
    """Return the bytes of old file, new file and delta, and what applying takes, which is checked to be exact."""
    rng = np.random.default_rng(0)
    values = np.split(gaussian(_WEIGHTS, _K, seed=0), _LAYERS)
    book = np.linspace(-3, 3, _K, dtype=np.float32)
    old = {f"layer{n}": _shared(part, book, rng, moved=0.0) for n, part in enumerate(values)}
    new = {f"layer{n}": _shared(part, book * np.float32(1.01), rng, moved=_MOVED) for n, part in enumerate(values)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        coding = Coding((*codecs, "no-zstd"), chunk_log2=chunk_log2)
        for end, tensors in (("old", old), ("new", new)):
            save_file(folder / f"{end}.qac", tensors, coding=coding)
        first, last = ((folder / f"{end}.qac").read_bytes() for end in ("old", "new"))
        with open_file(first) as base, open_file(last) as container:
            delta = b"".join(delta_chunks(make_delta(base, container)))
        given = struct.pack("<I", len(first)) + first + delta
        (folder / "packed").write_bytes(struct.pack("<I", len(given)) + given)
        command = [*compiler(), "-std=c99", "-O2", f"-I{SOURCES}", str(_PROGRAM), str(SOURCES / "qac_delta.c")]
        subprocess.run([*command, "-o", str(folder / "apply")], check=True)
        done = subprocess.run([folder / "apply", folder / "packed"], check=True, capture_output=True, text=True)
    *made, lean, fast, buffer = done.stdout.split()
    if made != [f"0:{zlib.crc32(last):08x}:{len(last)}"] * 3:
        raise RuntimeError(f"the C code made another file: {done.stdout}")
    told = {"old": len(first), "new": len(last), "delta": len(delta)}
    return told | {"arena": int(lean), "arena_fast": int(fast), "buffer": int(buffer)}


def _shared(indices: Any, book: Any, rng: np.random.Generator, *, moved: float) -> SharedTensor:
    """Return a tensor with a share of its indices moved to a neighbour."""
    moves = np.where(rng.random(indices.size) < moved, rng.choice([-1, 1], indices.size), 0)
    return SharedTensor(book, np.clip(indices + moves, 0, _K - 1).astype(np.uint8).reshape(-1, 9))
