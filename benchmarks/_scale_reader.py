"""Measure what a reader takes: decoding a small network, one tensor of a large file by ranges, the install."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import numpy as np
from result import ROOT, Headline, Results, Row, shared_folder

from qacomp.formats import Coding, SharedTensor, Writer, load_file, open_file, save_file
from qacomp.formats.errors import NativeReaderError
from qacomp.formats.native_library import library
from qacomp.formats.native_sections import VARIABLE
from qacomp.sweeping.nncodec_peer import nncodec_python, nncodec_runs

_QP = -26  # about the error of K = 16
_REPEATS = 7
_ROUNDS = 3
_TENSORS, _VALUES = 64, 1 << 24  # of the file of 1 GiB, a byte each
_WANTED = "w7"


def small_rows(seeds: int) -> Results:
    """Decode ResNet-20, in numpy and in C, against NNCodec: the least CPU time of many."""
    bar, key = "<= 1.5", "small_decode_vs_nncodec"
    python, folder = nncodec_python(), shared_folder()
    if python is None or folder is None:
        return [], {key: Headline(None, "x", bar, "skipped: no NNCodec or no shared checkpoints")}
    path = folder / "ckpt" / networks.CHECKPOINTS["resnet20_cifar10j"]
    weights = {n: t.astype(np.float32) for n, t in networks.tensors(path).items() if t.ndim >= 2}
    readers = {"numpy": "0", "c": "1"}
    try:
        library()
    except NativeReaderError:
        del readers["c"]
    times: dict[str, list[float]] = {"nncodec": []}
    with tempfile.TemporaryDirectory() as scratch:
        files = _files(weights, path, Path(scratch))
        for _ in range(_ROUNDS):  # in turns, as far as a peer in a process of its own allows it
            times["nncodec"] += nncodec_runs(weights, [_QP], repeats=_REPEATS)[0].decode
            for reader, wanted in readers.items():
                os.environ[VARIABLE] = wanted
                for name, file in files.items():
                    times.setdefault(f"{reader}_{name}", []).extend(_seconds(lambda file=file: load_file(file)))
        sizes = {name: file.stat().st_size for name, file in files.items()}
    os.environ.pop(VARIABLE, None)
    least = {name: min(found) for name, found in times.items()}
    ratios = {name: seconds / least["nncodec"] for name, seconds in least.items()}
    row = Row("small", "decode ResNet-20", {"k": 16, "qp": _QP}, {"seconds": times, "bytes": sizes, "ratios": ratios})
    told = "; ".join(f"{name.replace('_', ' ')} {ratio:.2f}x" for name, ratio in ratios.items() if name != "nncodec")
    note = f"the file that compress writes by default, in numpy; the least CPU time of many over NNCodec's: {told}"
    headlines = {key: Headline(ratios["numpy_by_rate"], "x", bar, note)}
    if "c" in readers:
        headlines[f"{key}_in_c"] = Headline(ratios["c_by_rate"], "x", bar, "the same file with QACOMP_NATIVE=1")
    return [row], headlines


def _files(weights: dict[str, Any], source: Path, folder: Path) -> dict[str, Path]:
    """Write the network as compress does by default, and with K = 16 under the smallest codecs and under rANS."""
    import qacomp

    files = {name: folder / f"{name}.qac" for name in ("by_rate", "smallest", "rans")}
    qacomp.compress(source, output=files["by_rate"], arch="none")
    layers = {name: networks.cluster(array, 16) for name, array in weights.items()}
    save_file(files["smallest"], layers, precision="fp16")
    save_file(files["rans"], layers, precision="fp16", coding=Coding(codecs=("rans",)))
    return files


def _seconds(task: Callable[[], object]) -> list[float]:
    """CPU seconds of each repetition, after one to warm up."""
    task()
    found = []
    for _ in range(_REPEATS):
        start = time.process_time()
        task()
        found.append(time.process_time() - start)
    return found


class Counted:
    """A file of which ranges are fetched; counts their bytes."""

    def __init__(self, path: Path) -> None:
        self.name, self.size, self.fetched = path.name, path.stat().st_size, 0
        self._path = path

    def fetch(self, start: int, stop: int) -> bytes:
        """Return a range."""
        with self._path.open("rb") as file:
            file.seek(start)
            data = file.read(stop - start)
        self.fetched += len(data)
        return data


def range_rows(seeds: int) -> Results:
    """Read one tensor of a file of 1 GiB by ranges."""
    random = np.random.default_rng(0)
    book = np.linspace(-1, 1, 256, dtype=np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "large.qac"
        with Writer(path, coding=Coding(("raw",)), durable=False) as writer:
            for n in range(_TENSORS):
                indices = random.integers(0, 256, _VALUES, np.uint8).reshape(4096, -1)
                writer.add(f"w{n}", SharedTensor(book, indices), "exact")
        source = Counted(path)
        with open_file(source) as container:
            own = container.info(_WANTED).bytes
            container.tensor(_WANTED)
    beyond = 100 * (source.fetched - own) / own
    found = {"file_bytes": source.size, "tensor_bytes": own, "fetched_bytes": source.fetched}
    note = f"one of {_TENSORS} tensors of a file of {source.size / 2**30:.2f} GiB, opened and read by ranges: fetched "
    note += f"{source.fetched:,} bytes, its own are {own:,}"
    rows = [Row("ranges", "one tensor of a large file by ranges", {"tensors": _TENSORS}, found)]
    return rows, {"range_bytes_share": Headline(beyond, "%", "< 1", note)}


def install_rows(seeds: int) -> Results:
    """Install the wheel without extras into a fresh environment, and compare the sizes."""
    pip = ("-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", "-c", "constraints.txt")
    with tempfile.TemporaryDirectory() as scratch:
        there = Path(scratch)
        environment = {**os.environ, "PYTHON": sys.executable}
        subprocess.run(["sh", ".ci/build", there / "dist"], cwd=ROOT, env=environment, check=True)
        subprocess.run([sys.executable, "-m", "venv", there / "light"], check=True)
        before = _disk_bytes(there / "light")
        (wheel,) = (there / "dist").glob("qacomp-*.whl")
        subprocess.run([there / "light" / "bin" / "python", *pip, wheel], cwd=ROOT, check=True)
        taken = (_disk_bytes(there / "light") - before) / 1e6
    note = "qacomp without extras, with all that it needs, beside a bare environment; files on disk, not compiled"
    rows = [Row("install", "the reader in a fresh environment", {}, {"mb": taken})]
    return rows, {"light_install_mb": Headline(taken, "MB", "<= 120", note)}


def _disk_bytes(folder: Path) -> int:
    """Return the bytes that the files of a folder take on disk."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if not path.is_dir())
