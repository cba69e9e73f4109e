"""Decode a container with the C reader as a device does: into memory that is there."""

import numpy as np

from qacomp.formats.native import Mode, open_native
from qacomp.formats.native_library import FileStruct, SourceStruct, library

_FINEST = 0xFFFFFFFF


class Decoding:
    """A container in memory, and everything that a device has: an arena, and one buffer for all tensors."""

    def __init__(self, data: bytes) -> None:
        with open_native(data, Mode("fast")) as native:
            size = native.arena_bytes("fast")
            largest = max(native.tensor(name).nbytes for name in native.names)
        self._data = np.frombuffer(data, np.uint8)
        self._arena, self._out = np.zeros(size, np.uint8), np.zeros(largest, np.uint8)
        self._source = SourceStruct(self._data.ctypes.data, self._data.size)

    def __call__(self) -> None:
        """Open the container and decode every tensor."""
        functions, file = library(), FileStruct()
        error = functions.qac_open(file, self._source, 0, self._arena.ctypes.data, self._arena.size)
        for number in range(file.tensors):
            error |= functions.qac_read(file, number, _FINEST, self._out.ctypes.data, self._out.size)
        if error:
            raise RuntimeError(functions.qac_error_text(error).decode())
