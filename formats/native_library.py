"""Load the C decoder: the one that qacomp-native brings, else compiled into a folder of the user's cache.

It is compiled once for each compiler and source.
"""

import ctypes
import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from qacomp.formats.errors import NativeReaderError
from qacomp.formats.native_installed import SOURCE_FILES, SOURCES, installed

FLAGS = ("-std=c99", "-O2", "-DQAC_CRC_TABLES=8", "-shared", "-fPIC")
_COMPILERS = ("cc", "gcc", "clang")
_LIMIT = 300  # seconds that compiling may take; it takes a few

READ = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t)
ZSTD = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t
)


class SourceStruct(ctypes.Structure):
    """qac_source of qac.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_uint64),
        ("read", READ),
        ("zstd", ZSTD),
        ("user", ctypes.c_void_p),
    )


class TensorStruct(ctypes.Structure):
    """qac_tensor of qac.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("name_bytes", ctypes.c_uint32),
        ("type", ctypes.c_int),
        ("dims", ctypes.c_uint32),
        ("shape", ctypes.POINTER(ctypes.c_uint64)),
        ("count", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("levels", ctypes.c_uint32),
        ("entries", ctypes.c_uint32),
    )


class FileStruct(ctypes.Structure):
    """The public fields of qac_file, and room for the others; a test compares the sizes."""

    _fields_ = (
        ("tensors", ctypes.c_uint32),
        ("levels", ctypes.c_uint32),
        ("level", ctypes.c_uint32),
        ("version", ctypes.c_uint8 * 2),
        ("need", ctypes.c_uint64),
        ("others", ctypes.c_uint64 * 1280),
    )


class Functions(NamedTuple):
    """The functions of qac.h, qac_root.h and sections.c. They take what these say, structures by `ctypes.byref` too."""

    qac_open: Callable[..., int]
    qac_arena_bytes: Callable[..., int]
    qac_tensor_info: Callable[..., int]
    qac_read: Callable[..., int]
    qac_read_rows: Callable[..., int]
    qac_blob_bytes: Callable[..., int]
    qac_read_blob: Callable[..., int]
    qac_check: Callable[..., int]
    qac_root: Callable[..., int]
    qac_file_bytes: Callable[..., int]
    qac_error_text: Callable[..., bytes]
    qac_indices: Callable[..., int]


_FILE, _SIZE, _POINTER, _SOURCE = (
    ctypes.POINTER(FileStruct),
    ctypes.c_size_t,
    ctypes.c_void_p,
    ctypes.POINTER(SourceStruct),
)
_WORD, _WIDE, _OUT = ctypes.c_uint32, ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint64)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "qac_open": (_FILE, _SOURCE, ctypes.c_int, _POINTER, _SIZE),
    "qac_arena_bytes": (_FILE, ctypes.c_int, _WORD, _OUT),
    "qac_tensor_info": (_FILE, _WORD, ctypes.POINTER(TensorStruct)),
    "qac_read": (_FILE, _WORD, _WORD, _POINTER, _SIZE),
    "qac_read_rows": (_FILE, _WORD, _WIDE, _WIDE, _WORD, _POINTER, _SIZE),
    "qac_blob_bytes": (_FILE, ctypes.c_int, _OUT),
    "qac_read_blob": (_FILE, ctypes.c_int, _POINTER, _SIZE),
    "qac_check": (_FILE,),
    "qac_root": (_FILE, _POINTER),
    "qac_file_bytes": (),
    "qac_error_text": (ctypes.c_int,),
    "qac_indices": (_WORD, _POINTER, _SIZE, _POINTER, _WORD, _POINTER, _POINTER, _SIZE),
}
_RESULTS = {"qac_file_bytes": ctypes.c_size_t, "qac_indices": ctypes.c_size_t, "qac_error_text": ctypes.c_char_p}


def compiler() -> list[str]:
    """Return the command of the C compiler: CC, or the first of cc, gcc and clang. Raises NativeReaderError."""
    wanted = os.environ.get("CC")
    if wanted:
        return shlex.split(wanted)
    for name in _COMPILERS:
        if path := shutil.which(name):
            return [path]
    raise NativeReaderError(
        f"no C compiler ({', '.join(_COMPILERS)}) was found to compile {SOURCES.name}/qac.c: install one, or read with"
        " qacomp.formats.open_file, which needs none"
    )


@cache
def library() -> Functions:
    """Return the functions of the C decoder: the installed one, else compiled here.

    Raises NativeReaderError if none is installed and there is no compiler, or it fails.
    """
    try:
        path = installed() or _compiled([*compiler(), *FLAGS])
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeReaderError(f"the C decoder can't be compiled or loaded: {error}") from error
    made = {}
    for name, arguments in _SIGNATURES.items():
        made[name] = ctypes.CFUNCTYPE(_RESULTS.get(name, ctypes.c_int), *arguments)((name, loaded))
    return Functions(**made)


def _compiled(command: list[str]) -> Path:
    """Return the path of the library that this command makes of the sources; compile it if it isn't there yet."""
    key = hashlib.sha256("\0".join(command).encode())
    for name in SOURCE_FILES:
        key.update((SOURCES / name).read_bytes())
    folder = _folder()
    path = folder / f"qac-{key.hexdigest()[:24]}.so"
    if path.exists():
        return path
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / path.name
        run = [*command, "-o", str(made), str(SOURCES / SOURCE_FILES[-1])]
        try:
            done = subprocess.run(run, capture_output=True, text=True, timeout=_LIMIT, check=False)
        except subprocess.TimeoutExpired as error:
            raise NativeReaderError(f"{command[0]} didn't compile the C decoder in {_LIMIT} seconds") from error
        if done.returncode or not made.exists():
            lines = [*done.stderr.strip().splitlines(), "no message"]
            raise NativeReaderError(f"{command[0]} can't compile the C decoder: {lines[0][:300]}")
        os.replace(made, path)
    return path


def _folder() -> Path:
    """Return the folder for compiled libraries, made if needed; only its owner may write to it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "qacomp"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.stat()
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
        raise NativeReaderError(f"{folder}: others may write to it, so no library is loaded from it; use chmod 700")
    return folder
