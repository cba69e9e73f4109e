"""Keep what a search has measured in a file beside the output, so that the same command goes on after Ctrl-C.

The file is appended to, and holds no pickle: a line that names its kind, the fingerprint of the run, then records. A
record is the lengths of its two parts, a checksum, a key with a value as JSON, and the bytes of arrays. Reading stops
at the first record that is damaged, and the next one is written there. A file of another run is overwritten.
"""

import contextlib
import hashlib
import json
import math
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.regular import open_regular
from qacomp.formats.system_errors import words
from qacomp.outputs import JOURNAL_MARK
from qacomp.rate.kept import Kept

_LENGTHS = struct.Struct("<II")  # bytes of a record's JSON, and of its arrays
_CHECK = 16  # bytes of the checksum
_LARGEST = 1 << 30  # bytes of a journal that are read or written: more would take longer than to measure again
_MOST_ARRAYS = 1 << 26  # bytes of the arrays of one record
_INTERVAL_S = 2.0  # seconds between two writes of short trials
_TYPES = ("float32", "float64", "float16", "int64", "int32", "uint8", "bool")
Arrays = Mapping[str, NDArray[Any]]
_T = TypeVar("_T")


def _plain(value: Any) -> Any:
    """Return a number of numpy as a plain one. Raises TypeError for anything else."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} can't be kept")


def _as_it_is(value: Any) -> Any:
    return value


def _to_nobody(text: str) -> None:
    """Take a note of a journal that keeps nothing."""


class Journal:
    """The measurements of one run by key, and those of an interrupted run with the same fingerprint.

    path: of the file, None to keep nothing. A value is measured once; where the file says what an earlier run found, it
    isn't measured again. Writing never fails a run: where it fails, or the file would be too long, nothing more is
    kept, and `note` is called once with a text that says so.
    """

    def __init__(
        self, path: Path | None = None, fingerprint: str = "", note: Callable[[str], None] = _to_nobody
    ) -> None:
        self._path, self._note = path, note
        self._closed = False  # nothing more is kept
        self._told = False  # that something isn't kept
        self._made = False  # this run has created or changed the file
        self._start = JOURNAL_MARK + hashlib.sha256(fingerprint.encode()).digest()
        self._known: dict[str, tuple[Any, bytes]] = {}
        self._end = len(self._start)  # of the records that are valid
        self._waiting: list[bytes] = []
        self._written_at = -math.inf
        if path is not None:
            self._read(path)
        self.kept = len(self._known)
        """The number of records of an interrupted run."""

    def value(
        self, key: str, measure: Callable[[], _T], read: Callable[[Any], _T], write: Callable[[_T], Any] = _as_it_is
    ) -> _T:
        """Return the value of a key: that of an earlier run if `read` accepts it, else what `measure` returns.

        read, write: make the value from JSON, and JSON from it; `read` may raise ValueError, TypeError or KeyError.
        """
        if key in self._known:
            try:
                return read(self._known[key][0])
            except (ValueError, TypeError, KeyError):
                pass
        found = measure()
        self.add(key, write(found))
        return found

    def under(self, what: str) -> Kept:
        """Return what keeps numbers that depend on `what`; they are written together, every two seconds."""

        def kept(key: str, count: int, measure: Callable[[], Sequence[float]]) -> Sequence[float]:
            key = f"{key} of {what}"
            found = self._numbers(key, count)
            if found is None:
                found = [float(number) for number in measure()]
                self.add(key, found, soon=False)
            return found

        return kept

    def _numbers(self, key: str, count: int) -> list[float] | None:
        found = self._known[key][0] if key in self._known else None
        if not isinstance(found, list) or len(found) != count or not all(_is_number(n) for n in found):
            return None
        return found

    def arrays(self, key: str) -> tuple[Any, dict[str, NDArray[Any]]] | None:
        """Return the value and the arrays that an earlier run kept, None if there are none."""
        if key not in self._known:
            return None
        value, data = self._known[key]
        try:
            return value["value"], _parted(value["arrays"], data)
        except (ValueError, TypeError, KeyError, OverflowError):
            return None

    def add(self, key: str, value: Any, arrays: Arrays | None = None, *, soon: bool = True) -> None:
        """Keep a value of JSON, with arrays or without; arrays that are too large, or of a rare type, aren't kept.

        soon: it took long to measure, so write it at once.
        """
        if self._path is None or self._closed:
            return
        data = b""
        if arrays is not None:
            if any(a.dtype.name not in _TYPES for a in arrays.values()):
                return
            size = sum(a.nbytes for a in arrays.values())
            if size > _MOST_ARRAYS:
                self._told_once(f"values of {size:,} bytes are too large for it")
                return
            listed = [[name, a.dtype.name, list(a.shape)] for name, a in arrays.items()]
            data = b"".join(np.ascontiguousarray(a).tobytes() for a in arrays.values())
            value = {"value": value, "arrays": listed}
        text = json.dumps({"key": key, "value": value}, default=_plain).encode()
        self._waiting.append(_LENGTHS.pack(len(text), len(data)) + _check(text, data) + text + data)
        if soon or time.monotonic() - self._written_at > _INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        """Write what isn't written yet."""
        added = b"".join(self._waiting)
        self._waiting, self._written_at = [], time.monotonic()
        if self._path is None or self._closed or not added:
            return
        if self._end + len(added) > _LARGEST:
            self._close(f"it would be larger than {_LARGEST:,} bytes")
            return
        try:
            fresh = self._end == len(self._start)
            with self._path.open("wb" if fresh else "r+b") as file:
                self._made = True
                if fresh:
                    file.write(self._start)
                file.truncate(self._end)
                file.seek(self._end)
                file.write(added)
        except OSError as error:
            self._close(words(error))
            return
        self._end += len(added)

    def finish(self) -> None:
        """Remove the file if this run wrote or read it: the work is done, or would fail again."""
        self._waiting = []
        if self._path is not None and (self._made or self._end > len(self._start)):
            with contextlib.suppress(OSError):  # the output is written; what stays is only in the way
                self._path.unlink(missing_ok=True)

    def _close(self, why: str) -> None:
        """Keep nothing more; what is in the file stays, and the next run reads it."""
        self._closed = True
        self._told_once(why)

    def _told_once(self, why: str) -> None:
        if not self._told:
            self._told = True
            self._note(f"{self._path} can't keep all that is measured ({why}); an interrupted run measures it again")

    def _read(self, path: Path) -> None:
        """Read the records of a file with the same start, up to the first that is damaged; nothing of another file."""
        try:
            with open_regular(path) as file:
                start = file.read(len(self._start))
                if start != self._start or path.stat().st_size > _LARGEST:
                    return  # before anything else of it is read
                data = start + file.read(_LARGEST - len(start))
        except OSError:
            return
        place = len(self._start)
        while (found := _record(data, place)) is not None:
            key, value, arrays, place = found
            self._known[key] = value, arrays
        self._end = place


def whole(value: Any) -> int:
    """Return an integer of a journal. Raises ValueError for anything else."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("no integer")
    return value


def real(value: Any) -> float:
    """Return a number of a journal. Raises ValueError for anything else."""
    if not _is_number(value):
        raise ValueError("no number")
    return float(value)


def text(value: Any) -> str:
    """Return a text of a journal. Raises ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check(text: bytes, data: bytes) -> bytes:
    digest = hashlib.blake2b(_LENGTHS.pack(len(text), len(data)), digest_size=_CHECK)
    digest.update(text)
    digest.update(data)
    return digest.digest()


def _record(data: bytes, place: int) -> tuple[str, Any, bytes, int] | None:
    """Return the key, value and arrays of the record at a place, and where the next begins; None if it is damaged."""
    head = place + _LENGTHS.size + _CHECK
    if head > len(data):
        return None
    texts, arrays = _LENGTHS.unpack_from(data, place)
    end = head + texts + arrays
    if end > len(data):
        return None
    text, rest = data[head : head + texts], data[head + texts : end]
    if _check(text, rest) != data[place + _LENGTHS.size : head]:
        return None
    try:
        record = json.loads(text)
        key, value = record["key"], record["value"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return (key, value, rest, end) if isinstance(key, str) else None


def _parted(listed: Any, data: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of a record. Raises ValueError, TypeError or KeyError if they don't fit their bytes."""
    found, place = {}, 0
    for name, dtype, shape in listed:
        if dtype not in _TYPES or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise ValueError("no array")
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if place + size > len(data):
            raise ValueError("arrays are cut off")
        found[str(name)] = np.frombuffer(data[place : place + size], dtype).reshape(shape).copy()
        place += size
    return found
