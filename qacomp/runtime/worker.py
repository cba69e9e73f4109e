"""The child process that runs models: it reads requests from stdin, and answers on a copy of its stdout.

A model may take too much time or memory, or crash onnxruntime; only this process ends then (see `sandbox`).
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qacomp.runtime import wire

_FATAL = 4  # onnxruntime's highest log severity; errors arrive as exceptions in any case
_PR_SET_PDEATHSIG = 1  # an option of Linux's prctl
_STACK = 16 << 20  # bytes that each thread of onnxruntime may map for its stack and its allocator
_BITS = {
    "tensor(bfloat16)": 16,
    "tensor(float8e4m3fn)": 17,
    "tensor(float8e4m3fnuz)": 18,
    "tensor(float8e5m2)": 19,
    "tensor(float8e5m2fnuz)": 20,
}
"""ONNX's numbers of the element types that numpy lacks; their values arrive as unsigned integers with the same bits."""
_NO_ARRAY = "No corresponding Numpy type"


def main(dies_with_thread: bool) -> None:
    """Answer requests until stdin ends.

    dies_with_thread: the parent's main thread started this process, so the kernel may end it together with that thread.
    """
    replies = os.dup(1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent decides whether this process ends
    _end_with_parent(dies_with_thread)
    worker = Worker()
    _send(replies, wire.pack({"ready": True}))
    while True:
        try:
            header, values = wire.read(_receive, sys.maxsize)
        except EOFError:
            return
        _send(replies, worker.answer(header, values))


class Worker:
    """Holds the open sessions, by number, and answers requests."""

    def __init__(self) -> None:
        self.sessions: dict[int, Any] = {}
        self.baseline = _mapped()

    def answer(self, header: Mapping[str, Any], values: list[Any]) -> list[Any]:
        """Return the parts of the reply; of a failed request {"error", "text"}, where error is "memory" or "other"."""
        start = time.perf_counter()
        try:
            self._limit(int(header["memory"]))
            for number in header["closed"]:
                self.sessions.pop(number, None)
            answer, outputs = getattr(self, f"_{header['request']}")(header, *values)
            return wire.pack({**answer, "seconds": time.perf_counter() - start}, outputs)
        except Exception as error:  # onnxruntime's errors have no common public class
            text = " ".join(str(error).split())
            memory = isinstance(error, MemoryError) or "bad_alloc" in text or "Failed to allocate memory" in text
            return wire.pack({"error": "memory" if memory else "other", "text": text[:2000] or type(error).__name__})

    def _open(self, header: Mapping[str, Any], source: str | bytes) -> tuple[dict[str, Any], list[Any]]:
        import onnxruntime

        self.sessions[header["session"]] = session = onnxruntime.InferenceSession(
            source, _options(header), providers=["CPUExecutionProvider"]
        )
        described = {
            key: [[v.name, v.type, [d if isinstance(d, int | str) else None for d in v.shape]] for v in found]
            for key, found in (("inputs", session.get_inputs()), ("outputs", session.get_outputs()))
        }
        return described, []

    def _run(
        self, header: Mapping[str, Any], names: list[str] | None, feed: dict[str, Any]
    ) -> tuple[dict[str, Any], list[Any]]:
        session = self.sessions[header["session"]]
        if names is None:
            names = [output.name for output in session.get_outputs()]
        bits = {entry.name: _BITS[entry.type] for entry in session.get_inputs() if entry.type in _BITS}
        if not bits.keys() & feed.keys():
            try:
                return {}, session.run(names, feed)
            except RuntimeError as error:
                if _NO_ARRAY not in str(error):
                    raise
        import onnxruntime

        create = onnxruntime.OrtValue
        values = {
            name: create.ortvalue_from_numpy_with_onnx_type(value, bits[name])
            if name in bits
            else create.ortvalue_from_numpy(value)
            for name, value in feed.items()
        }
        return {}, [_array(value) for value in session.run_with_ort_values(names, values)]

    def _time(self, header: Mapping[str, Any], feed: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
        """Measure the runs of several sessions on one feed, in turns: seconds, (runs, sessions)."""
        sessions = [self.sessions[number] for number in header["sessions"]]
        for _ in range(header["warmup"]):
            for session in sessions:
                session.run(None, feed)
        begin, rows = time.perf_counter(), []
        for number in range(header["runs"]):
            if number > 1 and time.perf_counter() - begin > header["most_seconds"]:
                break
            row = []
            for session in sessions:
                start = time.perf_counter()
                session.run(None, feed)
                row.append(time.perf_counter() - start)
            rows.append(row)
        return {}, [np.array(rows)]

    def _operators(self, header: Mapping[str, Any], source: str) -> tuple[dict[str, Any], list[Any]]:
        """Count each operator type in the main graph after onnxruntime's optimizations."""
        import onnx
        import onnxruntime

        options = _options(header)
        with tempfile.TemporaryDirectory() as folder:
            options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
            onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
            model = onnx.load(options.optimized_model_filepath, load_external_data=False)
        return {"operators": Counter(node.op_type for node in model.graph.node)}, []

    def _convert(self, header: Mapping[str, Any], model: bytes) -> tuple[dict[str, Any], list[Any]]:
        """Convert the model to another opset with onnx's converter; onnx's checker must accept the result."""
        import onnx
        from onnx import version_converter

        converted = version_converter.convert_version(onnx.ModelProto.FromString(model), header["version"])
        onnx.checker.check_model(converted)
        return {}, [converted.SerializeToString()]

    def _limit(self, memory: int) -> None:
        """Make allocations beyond `memory` bytes fail: memory may grow faster than the parent can check it."""
        if self.baseline is None:
            return
        import resource

        most = self.baseline + memory + _STACK * (os.cpu_count() or 1)
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _options(header: Mapping[str, Any]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = header["threads"]
    options.inter_op_num_threads = 1
    if not header["threads"]:  # else idle threads would spin between runs, which takes as much CPU as a small model
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _FATAL
    if not header["optimize"]:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for key, value in header["settings"].items():
        options.add_session_config_entry(key, value)
    return options


def _array(value: Any) -> Any:
    """Return an output as an array: bfloat16 as float32, which is exact; other types that numpy lacks as NoArray."""
    kind = value.data_type()
    if kind != "tensor(bfloat16)":
        try:
            return value.numpy()
        except RuntimeError:
            return wire.NoArray(kind)
    shape = value.shape()
    words = np.empty(shape, np.uint16)
    ctypes.memmove(words.ctypes.data, value.data_ptr(), words.nbytes)
    return (words.astype(np.uint32) << 16).view(np.float32)


def _end_with_parent(dies_with_thread: bool) -> None:
    """Start what ends this process when the parent is killed, even while a model runs."""
    if sys.platform == "linux" and dies_with_thread:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch_stdin, daemon=True).start()


def _watch_stdin() -> None:
    poll = select.poll()
    poll.register(0, 0)  # reports only the end of the pipe
    poll.poll()
    os._exit(0)


def _mapped() -> int | None:
    """Return the bytes of private memory that the process has mapped; None without /proc."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmData:"))
    except (OSError, StopIteration, ValueError):
        return None


def _receive(size: int) -> bytearray:
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        got = os.readv(0, [view[done:]])
        if not got:
            raise EOFError
        done += got
    return data


def _send(place: int, parts: list[Any]) -> None:
    for part in parts:
        view = memoryview(part).cast("B")
        while len(view):
            view = view[os.write(place, view) :]


if __name__ == "__main__":
    main(sys.argv[-1] == "main-thread")
