"""Open an ONNX model in onnxruntime: without its log, in a child process, with errors that name the file."""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import ConfigError, DataError, ExportError, NotACheckpointError, StoppedRunError
from qacomp.formats.regular import open_regular
from qacomp.runtime import sandbox
from qacomp.runtime.limits import measuring

if TYPE_CHECKING:
    import onnx

_PLACE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : |/\S+\.(?:cc|h):\d+ [^()]*\([^()]*\)(?: const)? ")
OnnxModel: TypeAlias = "str | os.PathLike[str] | bytes | onnx.ModelProto"


@dataclass(frozen=True)
class ValueInfo:
    """An input or output as onnxruntime describes it: `type` such as tensor(float); open axes are names or None."""

    name: str
    type: str
    shape: list[int | str | None]


class Session:
    """A model that is open in the child process, with the methods of `onnxruntime.InferenceSession`.

    seconds: the time that loading took.
    """

    def __init__(self, child: sandbox.Child, number: int, described: Mapping[str, Any], seconds: float) -> None:
        self.child, self.number, self.seconds = child, number, seconds
        self._inputs, self._outputs = (
            [ValueInfo(str(name), str(kind), list(shape)) for name, kind, shape in described[key]]
            for key in ("inputs", "outputs")
        )
        self._received = 0
        weakref.finalize(self, _close, child, number)

    def get_inputs(self) -> list[ValueInfo]:
        """Return the model's inputs, in order."""
        return self._inputs

    def get_outputs(self) -> list[ValueInfo]:
        """Return the model's outputs, in order."""
        return self._outputs

    def run(self, names: Sequence[str] | None, feed: Mapping[str, Any], kept: bool = True) -> list[Any]:
        """Return the values of the outputs `names` (None: all) for one feed: arrays, lists and mappings of arrays.

        kept: whether the caller keeps the outputs, so that those of all runs together must be within the memory limit.
        A bfloat16 output is returned as float32, an output that numpy has no dtype for as `wire.NoArray`. Raises
        RefusedError with onnxruntime's message, StoppedRunError if the model was stopped.
        """
        now = measuring()
        header = {"request": "run", "session": self.number}
        _, values = self.child.ask(header, [None if names is None else list(names), dict(feed)], now)
        self._received += kept * sum(value.nbytes for value in values if isinstance(value, np.ndarray))
        if self._received > now.limits.memory:
            raise now.stop(sandbox.past_memory(now.limits))
        return values


def open_session(
    model: OnnxModel, *, threads: int = 0, optimize: bool = True, settings: Mapping[str, str] | None = None
) -> Session:
    """Open `model` on the CPU.

    Args:
        model: a path, serialized bytes, or a ModelProto.
        threads: threads within an operator; 0 leaves the number to onnxruntime (all cores).
        optimize: False turns all of onnxruntime's graph optimizations off.
        settings: entries of the session's configuration, such as session.qdq_matmulnbits_accuracy_level.

    Raises:
        ConfigError: `threads` is negative.
        NotACheckpointError: the path can't be read, or holds no ONNX model that onnxruntime runs.
        ExportError: the same for bytes or a ModelProto.
        StoppedRunError: loading it took more than the limits of `qacomp.runtime.limits`, or crashed onnxruntime.
    """
    name, source, size = _source(model)
    measuring().check()
    child, number = sandbox.child(), sandbox.new_number()
    child.sessions[number] = size
    header = {"request": "open", "session": number, **_options(threads, optimize, settings)}
    try:
        answer, _ = child.ask(header, [source], measuring())
    except StoppedRunError:
        raise
    except ExportError as e:
        _close(child, number)
        kind = NotACheckpointError if isinstance(source, str) else ExportError
        raise kind(f"{name}: onnxruntime can't load it ({line(e)}); check that it is a complete ONNX file") from e
    return Session(child, number, answer, float(answer["seconds"]))


def timed_runs(
    sessions: Sequence[Session], feed: Mapping[str, Any], *, runs: int, warmup: int = 0, most_seconds: float = 1e9
) -> NDArray[np.float64]:
    """Measure the runs of several sessions on one feed, in turns, inside the child: seconds, (runs, sessions).

    After the first two turns no new one begins after `most_seconds`. Raises what `Session.run` raises.
    """
    now = measuring()
    header = {"request": "time", "sessions": [s.number for s in sessions], "runs": runs, "warmup": warmup}
    allowed = min(most_seconds, now.limits.seconds)
    _, values = sessions[0].child.ask({**header, "most_seconds": allowed}, [dict(feed)], now, extra_seconds=allowed)
    return np.asarray(values[0], np.float64).reshape(-1, len(sessions))


def optimized_operators(path: Path) -> dict[str, int]:
    """Return operator type -> count in the main graph that onnxruntime runs for the file on the CPU, after fusions.

    Raises ExportError if onnxruntime can't load the file.
    """
    header = {"request": "operators", **_options(1, True, None)}
    try:
        answer, _ = sandbox.child().ask(header, [os.path.abspath(path)], measuring())
    except sandbox.RefusedError as error:
        raise ExportError(f"{path}: onnxruntime can't load it ({line(error)})") from error
    return {str(name): int(number) for name, number in answer["operators"].items()}


def converted_model(model: bytes, version: int) -> bytes:
    """Convert the serialized model to opset `version` with onnx's converter.

    It runs in the child process, since a hostile graph may keep the converter busy for hours, or crash it. Raises
    ExportError if the converter, or onnx's checker after it, refuses the model; StoppedRunError if it was stopped.
    """
    child = sandbox.child()
    _, values = child.ask({"request": "convert", "version": version}, [model], measuring())
    return bytes(values[0])


def run_session(session: Session, x: np.ndarray) -> np.ndarray:
    """Return the first output for one batch `x`, which is fed to the first input.

    Raises:
        DataError: onnxruntime refuses the batch, usually for its shape or dtype.
        StoppedRunError: see `Session.run`.
    """
    wanted = session.get_inputs()[0]
    try:
        output = session.run([session.get_outputs()[0].name], {wanted.name: x})[0]
    except sandbox.RefusedError as e:
        raise DataError(
            f"onnxruntime can't run the model on an input {x.dtype}{list(x.shape)}; the model takes {wanted.type} "
            f"{wanted.shape} ({line(e)}); check the data's shape and preprocessing"
        ) from e
    if not isinstance(output, np.ndarray):
        raise DataError("the model's first output is not an array of numbers, so no accuracy can be measured")
    return output


def line(e: BaseException) -> str:
    """Return an exception's text on one line of at most 200 characters, without places in onnxruntime's sources."""
    return _PLACE.sub("", " ".join(str(e).split()))[:200] or type(e).__name__


def _source(model: OnnxModel) -> tuple[str, str | bytes, int]:
    """Return (name for messages, path or bytes, size in bytes)."""
    if isinstance(model, bytes):
        return "the ONNX model", model, len(model)
    if isinstance(model, (str, os.PathLike)):
        path = os.fspath(model)
        return path, os.path.abspath(path), _readable_bytes(Path(path))
    data: bytes = model.SerializeToString()
    return "the ONNX model", data, len(data)


def _readable_bytes(path: Path) -> int:
    """Return the bytes of a model's file and of NAME.data beside it. Raises NotACheckpointError if it can't be read."""
    try:
        with open_regular(path) as file:
            if not file.read(1):
                raise NotACheckpointError(f"{path}: the file is empty; decode or export it again")
        beside = path.with_name(path.name + ".data")
        return path.stat().st_size + (beside.stat().st_size if beside.is_file() else 0)
    except OSError as e:
        raise NotACheckpointError(f"{path}: can't be read ({e.strerror or e}); check the path") from e


def _options(threads: int, optimize: bool, settings: Mapping[str, str] | None) -> dict[str, Any]:
    if threads < 0:
        raise ConfigError(f"threads is {threads}: give 0 for all cores, or a positive number")
    return {"threads": threads, "optimize": optimize, "settings": dict(settings or {})}


def _close(child: sandbox.Child, number: int) -> None:
    """Close a session: the next request tells the child."""
    child.sessions.pop(number, None)
    child.closed.append(number)
