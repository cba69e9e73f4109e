"""The C decoder: speed against the numpy reader and its peers, size of its code, memory for ResNet-20; its WebAssembly
module, the readers under fuzzers, and deltas. DEVICES_ROWS names some groups of rows: speed,resnet,code,wasm,js_fuzz,
c_fuzz,deltas,deltas_trellis,c_deltas.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _devices_fuzz
import _devices_page
import networks
import numpy as np
from _devices_decoding import Decoding
from _devices_delta_c import deltas_in_c
from _devices_deltas import deltas
from _devices_deltas_trellis import deltas_on_trellis
from _devices_wasm import wasm
from codec import gaussian
from result import Headline, Results, Row, in_turns, median, shared_folder, spread

from qacomp.formats import Coding, SharedTensor, open_file, save_file
from qacomp.formats.native import Mode, open_native
from qacomp.formats.native_installed import SOURCES
from qacomp.sweeping.nncodec_peer import VARIABLE, nncodec_python, nncodec_runs

_ARM = ("arm-none-eabi-gcc", "-std=c99", "-Os", "-mthumb", "-mcpu=cortex-m4", "-c")
_CODE_BAR, _ARENA_BAR = 24_576, 64 << 10  # bytes: a tenth of the flash and a quarter of the memory of small devices
_QP = -26  # NNCodec's step with about the error of K = 16
_WITHOUT = ("QAC_NO_MIXING", "QAC_NO_DEFLATE", "QAC_NO_LZMA")


def numpy_reader(data: bytes) -> Callable[[], None]:
    """Open the container and decode every tensor with the numpy reader."""

    def read() -> None:
        with open_file(data) as container:
            for name in container.names:
                container.tensor(name)

    return read


def ratio_of(times: dict[str, list[float]], peer: str) -> tuple[float, float | None]:
    """The median of the peer's times over those of C, round by round, and their spread."""
    ratios = [theirs / ours for theirs, ours in zip(times[peer], times["c"], strict=True)]
    return median(ratios), spread(ratios)


def speed(size: str) -> Results:
    """16 M Gaussian weights, K = 16, under rANS: open, checksums, decoding and looking up, CPU time of one core."""
    count = 1 << 24
    indices = gaussian(count, 16, 0)
    book = np.linspace(-2.5, 2.5, 16).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.qac"
        save_file(path, {"w": SharedTensor(book, indices.reshape(4096, -1))}, coding=Coding(("rans", "no-zstd")))
        data = path.read_bytes()
    tasks: dict[str, Callable[[], object]] = {"c": Decoding(data), "numpy": numpy_reader(data)}
    try:
        import constriction
    except ImportError:
        constriction = None
    if constriction is not None:
        model = constriction.stream.model.Categorical(np.bincount(indices, minlength=16) / count, perfect=False)
        peer = constriction.stream.stack.AnsCoder()
        peer.encode_reverse(indices.astype(np.int32), model)
        compressed = peer.get_compressed()
        tasks["constriction"] = lambda: constriction.stream.stack.AnsCoder(compressed).decode(model, count)
    times = in_turns(tasks, 5 if size == "small" else 15)
    results: dict[str, Any] = {f"{name}_m_weights_s": count / median(t) / 1e6 for name, t in times.items()}
    note = (
        f"16 M weights, K = 16, rANS, one core: {results['c_m_weights_s']:.0f} M weights/s in C, the container opened,"
    )
    note += " its checksums checked and float32 written"
    headlines = {"c_decode_vs_numpy": Headline(*_pair(ratio_of(times, "numpy"), "x", ">= 2", note))}
    if constriction is None:
        headlines["c_decode_vs_constriction"] = Headline(None, "x", ">= 5", "skipped: constriction isn't installed")
    else:
        note = "the same; constriction decodes integers of 32 bits, without container, checksums and look-up"
        headlines["c_decode_vs_constriction"] = Headline(*_pair(ratio_of(times, "constriction"), "x", ">= 5", note))
    return [Row("c_rans_speed", "16 M weights in C, numpy and constriction", {"weights": count}, results)], headlines


def _pair(found: tuple[float, float | None], unit: str, bar: str, note: str) -> tuple[Any, ...]:
    return found[0], unit, bar, note, found[1]


def resnet(size: str) -> Results:
    """ResNet-20 at K = 16: memory beside its largest tensor, and speed against the numpy reader and NNCodec."""
    folder = shared_folder()
    if folder is None:
        skipped = "skipped: no shared checkpoints"
        return [], {
            "c_arena_resnet20": Headline(None, "bytes", f"<= {_ARENA_BAR:,}", skipped),
            "c_decode_vs_nncodec": Headline(None, "x", ">= 4", skipped),
        }
    tensors = networks.tensors(folder / "ckpt" / networks.CHECKPOINTS["akamaster_resnet20"])
    weights = {n: t.astype(np.float32) for n, t in tensors.items() if t.ndim >= 2}
    vectors = {n: t for n, t in tensors.items() if t.ndim < 2}
    layers = {name: networks.cluster(array, 16) for name, array in weights.items()}
    rows, results, headlines = [], dict[str, Any](), dict[str, Headline]()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "a.qac"
        for name, codecs in (("smallest", ("no-zstd",)), ("rans", ("rans", "planes", "no-zstd"))):
            save_file(path, {**layers, **vectors}, precision="fp16", coding=Coding(codecs))
            data = path.read_bytes()
            with open_native(data, Mode("lean", zstd=False)) as native:
                arena = {"lean": native.arena_bytes("lean"), "fast": native.arena_bytes("fast")}
                largest = max(native.tensor(tensor).nbytes for tensor in native.names)
            times = in_turns({"c": Decoding(data), "numpy": numpy_reader(data)}, 5 if size == "small" else 15)
            results[name] = {"bytes": len(data), "arena": arena, "largest_tensor": largest, "cpu_seconds": times}
            results[name]["numpy_ratio"] = ratio_of(times, "numpy")[0]
    lean, fast = (results["smallest"]["arena"][mode] for mode in ("lean", "fast"))
    note = (
        f"the smallest codecs; with codecs=('rans',) {results['rans']['arena']['lean']:,}; to decode a group once and "
    )
    note += f"keep it {fast:,}; the largest tensor takes {largest:,} more; pointers of 64 bits"
    headlines["c_arena_resnet20"] = Headline(lean, "bytes", f"<= {_ARENA_BAR:,}", note)
    if nncodec_python() is None:
        note = f"skipped: {VARIABLE} names no Python that has nncodec (see qacomp/sweeping/nncodec_peer.py)"
        headlines["c_decode_vs_nncodec"] = Headline(None, "x", ">= 4", note)
    else:
        (peer,) = nncodec_runs(weights, [_QP], repeats=3)
        results["nncodec"] = {"bytes": peer.bytes, "decode": list(peer.decode)}
        own = median(results["smallest"]["cpu_seconds"]["c"])
        quick = median(list(peer.decode)) / median(results["rans"]["cpu_seconds"]["c"])
        each = own / sum(array.size for array in weights.values()) * 1e9
        note = "ResNet-20, K = 16 under the smallest codecs, NNCodec's of the same at about the same error, CPU time; "
        note += f"{each:.0f} ns a weight; under rANS {quick:.1f}x, for "
        note += f"{results['rans']['bytes'] - results['smallest']['bytes']:,} bytes more"
        headlines["c_decode_vs_nncodec"] = Headline(median(list(peer.decode)) / own, "x", ">= 4", note)
    note = (
        f"ResNet-20 with all its vectors, K = 16, {median(results['smallest']['cpu_seconds']['c']) * 1e3:.1f} ms in C"
    )
    headlines["c_resnet20_vs_numpy"] = Headline(results["smallest"]["numpy_ratio"], "x", ">= 2", note)
    rows.append(Row("c_resnet20", "ResNet-20 decoded in C", {"k": 16}, results))
    return rows, headlines


def code_size() -> Results:
    """Bytes of code and constants for a Cortex-M4: with the codecs that a writer uses by default, and without some."""
    bar = f"<= {_CODE_BAR:,}"
    if shutil.which(_ARM[0]) is None:
        return [], {"c_code_size": Headline(None, "bytes", bar, f"skipped: no {_ARM[0]}")}
    sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        made = str(Path(folder) / "qac.o")
        for number in range(len(_WITHOUT) + 1):
            flags = [f"-D{name}" for name in _WITHOUT[:number]]
            subprocess.run([*_ARM, *flags, str(SOURCES / "qac.c"), "-o", made], check=True)
            told = subprocess.run(["arm-none-eabi-size", made], check=True, capture_output=True, text=True).stdout
            sizes[" ".join(_WITHOUT[:number]) or "all codecs"] = int(told.splitlines()[1].split()[0])
    default, texts = sizes[_WITHOUT[0]], sizes[" ".join(_WITHOUT[:2])]
    note = "-Os -mthumb -mcpu=cortex-m4, text and constants, deflate's dictionary packed, all codecs but mixing, "
    note += f"which sharing by rate adds (with it {sizes['all codecs']:,}); without deflate, which only texts have, "
    note += f"{texts:,}, without lzma too {sizes[' '.join(_WITHOUT)]:,}"
    row = Row("c_code_size", "code for a Cortex-M4", {"command": " ".join(_ARM)}, sizes)
    return [row], {"c_code_size": Headline(default, "bytes", bar, note)}


def some_rows() -> bool:
    """Return whether this run makes only some of the rows."""
    return "DEVICES_ROWS" in os.environ


def run(size: str, seeds: int) -> Results:
    """All parts, or those that DEVICES_ROWS names."""
    rows: list[Row] = []
    headlines: dict[str, Headline] = {}
    parts: dict[str, Callable[[], Results]] = {
        "speed": lambda: speed(size),
        "resnet": lambda: resnet(size),
        "code": code_size,
        "wasm": lambda: wasm(size),
        "js_fuzz": _devices_fuzz.javascript,
        "c_fuzz": _devices_fuzz.c,
        "deltas": lambda: deltas(size),
        "deltas_trellis": lambda: deltas_on_trellis(size),
        "c_deltas": deltas_in_c,
        "page": lambda: _devices_page.page(size),
    }
    for name in os.environ.get("DEVICES_ROWS", ",".join(parts)).split(","):
        more_rows, more_headlines = parts[name]()
        rows += more_rows
        headlines |= more_headlines
    return rows, headlines
