"""The C reader as a WebAssembly module: its speed in node beside the same source compiled natively, and its size."""

import gzip
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from time import process_time

import numpy as np
from _devices_decoding import Decoding
from codec import gaussian
from result import Headline, Results, Row, median, spread

from qacomp.formats import Coding, SharedTensor, save_file

JS = Path(__file__).resolve().parents[1] / "formats" / "js"
_COUNT = 1 << 23  # weights: the module reads tensors of up to 64 MiB
_GZIP_BAR, _BAR = 20 << 10, 40 << 10  # bytes


def wasm(size: str) -> Results:
    """8 M weights, K = 16, rANS: open, checksums, decoding and looking up into memory that is there, CPU time.

    Each round takes the best of ten, since on a busy machine the others tell of the neighbours.
    """
    bars = {"wasm_vs_c": ("x", ">= 0.5"), "wasm_bytes": ("bytes", f"<= {_GZIP_BAR:,}")}
    node = shutil.which("node")
    if node is None or not (shutil.which("clang") and shutil.which("wasm-ld")):
        why = "skipped: no node, no clang or no wasm-ld"
        return [], {key: Headline(None, *bar, why) for key, bar in bars.items()}
    with tempfile.TemporaryDirectory() as folder:
        module, path = Path(folder) / "qac.wasm", Path(folder) / "a.qac"
        subprocess.run(["sh", str(JS / "wasm" / "build"), str(module)], check=True)
        indices = gaussian(_COUNT, 16, 0).reshape(2048, -1)
        book = np.linspace(-2.5, 2.5, 16).astype(np.float32)
        save_file(path, {"w": SharedTensor(book, indices)}, coding=Coding(("rans", "no-zstd")))
        code, data = module.read_bytes(), path.read_bytes()
        rounds: dict[str, list[float]] = {"c": [], "wasm": [], "wasm_new": [], "js": []}
        decode = Decoding(data)
        for _ in range(5 if size == "small" else 15):  # one after the other, so that each has the same neighbours
            rounds["c"].append(min(_seconds(decode) for _ in range(10)))
            command = [node, "bench/decode.js", str(path), str(module)]
            told = json.loads(subprocess.run(command, cwd=JS, capture_output=True, check=True).stdout)
            for engine, times in told.items():
                rounds[engine].append(min(times))
    ratios = [c / other for c, other in zip(rounds["c"], rounds["wasm"], strict=True)]
    plain = median([c / other for c, other in zip(rounds["c"], rounds["js"], strict=True)])
    speeds = {name: _COUNT / median(times) / 1e6 for name, times in rounds.items()}
    note = f"8 M weights, K = 16, rANS, in node: {speeds['wasm']:.0f} M weights/s, warm, best of ten, both into arrays "
    note += f"that are there; into a new Float32Array {speeds['wasm_new']:.0f} M; "
    note += f"plain JavaScript {plain:.2f}x ({speeds['js']:.0f} M weights/s)"
    small = len(gzip.compress(code, 9))
    headlines = {
        "wasm_vs_c": Headline(median(ratios), *bars["wasm_vs_c"], note, spread(ratios)),
        "wasm_bytes": Headline(
            small,
            *bars["wasm_bytes"],
            f"gzip -9 of a module of {len(code):,} bytes (bar {_BAR:,}); deflate is left out",
        ),
    }
    results = {"cpu_seconds": rounds, "bytes": len(code), "gzip_bytes": small}
    return [Row("wasm_speed", "8 M weights in WebAssembly, C and JavaScript", {"weights": _COUNT}, results)], headlines


def _seconds(decode: Decoding) -> float:
    start = process_time()
    decode()
    return process_time() - start
