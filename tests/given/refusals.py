"""Whether the C decoder refuses a file, by its bare functions, since these take microseconds."""

import ctypes

import numpy as np

from qacomp.formats.native_library import READ, ZSTD, FileStruct, SourceStruct, library

DAMAGED = range(1, 8)  # the errors of qac.h that speak of the file
_ARENA = (ctypes.c_uint8 * (1 << 20))()
_FILE = FileStruct()


def _unzip(user: int, frame: int, stored: int, into: int, count: int) -> int:
    from qacomp.formats import CodecError
    from qacomp.formats.codecs.zstd import decompress

    try:
        raw = decompress(memoryview(ctypes.string_at(frame, stored)), count)
    except CodecError:
        return 1
    ctypes.memmove(into, raw, count)
    return 0


_ZSTD = ZSTD(_unzip)


def refused_by_c(data: bytes) -> bool:
    """Whether opening the file or checking its checksums gives an error; any error must be one that blames the file."""
    held = np.frombuffer(data, np.uint8) if data else np.zeros(1, np.uint8)
    source = SourceStruct(held.ctypes.data, len(data), READ(), _ZSTD, None)
    error = library().qac_open(_FILE, source, 0, _ARENA, ctypes.sizeof(_ARENA))
    error = error or library().qac_check(_FILE)
    assert not error or error in DAMAGED, error
    return bool(error)
