"""Read containers with the C decoder of formats/c; the values are those of `open_file`.

Nothing here is used unless it is called. Where qacomp-native isn't installed, the decoder is compiled at first use;
without a C compiler `open_native` raises NativeReaderError then.
"""

import ctypes
import math
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import errors
from qacomp.formats.codecs.zstd import decompress
from qacomp.formats.dtypes import dtype_of
from qacomp.formats.merkle import HASH_BYTES
from qacomp.formats.native_library import READ, ZSTD, FileStruct, SourceStruct, TensorStruct, library
from qacomp.formats.regular import open_regular

_FINEST = 0xFFFFFFFF
_OWN_ERRORS: dict[int, type[errors.QacompError]] = {
    1: errors.NotAContainerError,
    2: errors.UnsupportedVersionError,
    3: errors.TruncatedFileError,
    4: errors.ChecksumMismatchError,
    5: errors.HeaderError,
    6: errors.LimitExceededError,
    7: errors.CodecError,
    8: errors.TensorNotFoundError,
}
_ARENA_TOO_SMALL = 9


@dataclass(frozen=True)
class Mode:
    """Hold how a container is read. speed, allow_truncated: see `open_native`; by_function: as from a device's storage;
    zstd: whether sections that are stored with zstd can be read.
    """

    speed: Literal["lean", "fast"] = "fast"
    allow_truncated: bool = False
    by_function: bool = False
    zstd: bool = True


class NativeContainer:
    """An open container, read by the C decoder; the values of its methods equal those of Container.

    `open_native` returns it. Methods raise the same FormatErrors as those of Container.
    """

    def __init__(self, source: str, data: NDArray[np.uint8], mode: "Mode") -> None:
        self.source = source
        self._data = data
        self._library = library()
        self._file = FileStruct()
        self._calls = _callbacks(data, mode.zstd)
        self._source = SourceStruct(None if mode.by_function else data.ctypes.data, data.size, *self._calls, None)
        self._truncated, self._speed = mode.allow_truncated, ("lean", "fast").index(mode.speed)
        self._arena = np.zeros(0, np.uint8)
        self._open(4096)
        self._open(self._measured(self._speed))
        self.names = tuple(self._info(n).name.decode() for n in range(self._file.tensors))
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def __enter__(self) -> "NativeContainer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up the file and the arena. Arrays that were returned stay valid."""
        self._file, self._data, self._arena = FileStruct(), np.zeros(0, np.uint8), np.zeros(0, np.uint8)

    @property
    def version(self) -> tuple[int, int]:
        """Return the version of the format, (major, minor)."""
        return self._file.version[0], self._file.version[1]

    @property
    def levels(self) -> int:
        """Return the number of progressive levels in the file; 1 without nested codebooks."""
        return int(self._file.levels)

    @property
    def level(self) -> int:
        """Return the number of the finest complete level."""
        return int(self._file.level)

    def arena_bytes(self, speed: Literal["lean", "fast"] = "lean") -> int:
        """Return the bytes of memory that the C decoder needs to read every tensor, besides the caller's output."""
        return self._measured(("lean", "fast").index(speed))

    def tensor(self, name: str, *, level: int | None = None) -> NDArray[Any]:
        """Return a tensor as a new dense array of its shape and dtype; `level`: a coarser level of a shared tensor."""
        number, info, shape = self._described(name)
        out = np.empty(info.bytes, np.uint8)
        self._try(self._library.qac_read(self._file, number, _level(level), out.ctypes.data, out.size))
        return out.view(dtype_of(info.type)).reshape(shape)

    def rows(self, name: str, start: int, stop: int, *, level: int | None = None) -> NDArray[Any]:
        """Return the rows [start, stop) of a tensor's first axis. Bounds are clipped as in slicing."""
        number, info, shape = self._described(name)
        if not shape:
            raise IndexError(f"tensor {name!r} has no axes, so no rows; read it with tensor()")
        start, stop, _ = slice(start, stop).indices(shape[0])
        stop = max(start, stop)
        dtype = dtype_of(info.type)
        out = np.empty((stop - start) * math.prod(shape[1:]) * dtype.itemsize, np.uint8)
        call = self._library.qac_read_rows
        self._try(call(self._file, number, start, stop, _level(level), out.ctypes.data, out.size))
        return out.view(dtype).reshape(stop - start, *shape[1:])

    def graph(self) -> bytes | None:
        """Return the graph's bytes, or None if the file has none."""
        return self._blob(0)

    def meta_bytes(self) -> bytes | None:
        """Return the bytes of the metadata, JSON in UTF-8, or None if the file has none."""
        return self._blob(1)

    def check(self) -> None:
        """Check the checksums of all sections and the padding between them."""
        self._try(self._library.qac_check(self._file))

    @property
    def root(self) -> str:
        """Return the hash that binds all bytes of the file, in hex."""
        out = np.empty(HASH_BYTES, np.uint8)
        self._try(self._library.qac_root(self._file, out.ctypes.data))
        return out.tobytes().hex()

    def _blob(self, kind: int) -> bytes | None:
        size = ctypes.c_uint64()
        self._try(self._library.qac_blob_bytes(self._file, kind, size))
        out = np.empty(size.value, np.uint8)
        error = self._library.qac_read_blob(self._file, kind, out.ctypes.data, out.size)
        self._try(error)
        return out.tobytes() if size.value else None

    def _open(self, most: int) -> None:
        """Open the file with an arena of at least `most` bytes."""
        while True:
            self._arena = np.zeros(most, np.uint8)
            call = self._library.qac_open
            error = call(self._file, self._source, self._truncated, self._arena.ctypes.data, most)
            if error != _ARENA_TOO_SMALL:
                break
            most = max(self._file.need, most + 1)
        self._try(error)

    def _measured(self, speed: int) -> int:
        size = ctypes.c_uint64()
        while True:
            error = self._library.qac_arena_bytes(self._file, speed, _FINEST, size)
            if error != _ARENA_TOO_SMALL:
                break
            self._open(max(self._file.need, self._arena.size + 1))
        self._try(error)
        return size.value

    def _info(self, number: int) -> TensorStruct:
        info = TensorStruct()
        self._try(self._library.qac_tensor_info(self._file, number, info))
        return info

    def _described(self, name: str) -> tuple[int, TensorStruct, tuple[int, ...]]:
        if name not in self._numbers:
            raise errors.TensorNotFoundError(f"{self.source}: no tensor {name[:80]!r} among its {len(self._numbers)}")
        number = self._numbers[name]
        info = self._info(number)
        return number, info, tuple(info.shape[i] for i in range(info.dims))

    def _try(self, error: int) -> None:
        if error:
            text = self._library.qac_error_text(error).decode()
            raise _OWN_ERRORS.get(error, errors.NativeReaderError)(f"{self.source}: {text}")


def _level(level: int | None) -> int:
    if level is not None and level < 0:
        raise ValueError(f"level {level} is below 0; levels count from 0, the coarsest")
    return _FINEST if level is None else level


def open_native(path: str | os.PathLike[str] | bytes, mode: Mode | None = None) -> NativeContainer:
    """Open a container, given its path or its bytes, with the installed C decoder, else one compiled at the first call.

    Raises NativeReaderError if there is neither that nor a C compiler; other errors as `open_file`.
    """
    if isinstance(path, bytes):
        return NativeContainer("container", np.frombuffer(path, np.uint8), mode or Mode())
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    return NativeContainer(str(Path(path)), np.frombuffer(data, np.uint8), mode or Mode())


def _callbacks(data: NDArray[np.uint8], zstd: bool) -> tuple[Any, Any]:
    """Return the functions that the decoder calls: to read bytes of the file, and to decompress a zstd frame."""

    def read(_: int, offset: int, into: int, count: int) -> int:
        if offset + count > data.size:
            return 1
        ctypes.memmove(into, data[offset:].ctypes.data, count)
        return 0

    def unzip(_: int, frame: int, stored: int, into: int, count: int) -> int:
        try:
            raw = decompress(memoryview(ctypes.string_at(frame, stored)), count)
        except errors.CodecError:
            return 1
        ctypes.memmove(into, raw, count)
        return 0

    return READ(read), ZSTD(unzip) if zstd else ZSTD()
