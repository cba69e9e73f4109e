"""Everything that a reader can do with a file, and what came of it: refused, as before, or another good file."""

import contextlib
import hashlib
from typing import Any

from qacomp.formats import Container, FormatError, NotSharedError, TensorNotFoundError, open_file


class Inconsistent(Exception):
    """Two ways to read one thing gave different answers."""


def outcome(data: bytes, digest: bytes | None = None, sealed: bool = True) -> str:
    """The name of the FormatError that was raised first, else "identical" or "valid".

    digest: of what the seed holds. Raises whatever else is raised; where checksums weren't made right, other content
    is Inconsistent.
    """
    found = hashlib.blake2b(digest_size=16)
    try:
        with open_file(data, allow_truncated=True) as container:
            refused = contents(container, found)
        open_file(data).close()
    except FormatError as error:
        refused = type(error).__name__
    if refused:
        return refused
    if digest is None or found.digest() == digest:
        return "identical"
    if not sealed:
        raise Inconsistent("other content under checksums that nobody made right")
    return "valid"


def content_digest(data: bytes) -> bytes:
    """What `outcome` compares: of every name, shape, type and value, the graph and the metadata."""
    found = hashlib.blake2b(digest_size=16)
    with open_file(data) as container:
        refused = contents(container, found)
    assert not refused, refused
    return found.digest()


def contents(container: Container, found: Any) -> str:
    """Read all, in every way; the first FormatError's name, or ""."""
    first = ""

    def note(error: FormatError) -> None:
        nonlocal first
        first = first or type(error).__name__
        if "\n" in str(error):
            raise Inconsistent("an error of more than one line")

    try:
        found.update(repr(container.meta).encode())
        found.update(container.graph() or b"")
    except FormatError as error:
        note(error)
    repr((container.sections, container.overhead_bytes, container.version, container.levels, container.level))
    with contextlib.suppress(TensorNotFoundError):
        container.tensor("no such name")
    for name in container.names[:64]:
        try:
            _tensor(container, name, found)
        except FormatError as error:
            note(error)
    if not first:
        try:
            container.check()
        except FormatError as error:
            note(error)
    return first


def _tensor(container: Container, name: str, found: Any) -> None:
    info = container.info(name)
    whole = container.tensor(name)
    found.update(repr((name, whole.shape, whole.dtype.str, info.levels, info.blocks)).encode())
    found.update(whole.tobytes())
    if whole.shape != info.shape:
        raise Inconsistent("a tensor's shape isn't what its record says")
    if container.tensor(name, copy=False).tobytes() != whole.tobytes():
        raise Inconsistent("a view isn't the tensor")
    if whole.ndim and container.rows(name, 0, 2).tobytes() != whole[:2].tobytes():
        raise Inconsistent("rows aren't the tensor's")
    try:
        shared = container.shared(name)
    except NotSharedError:
        return
    if shared.dense().tobytes() != whole.tobytes():
        raise Inconsistent("indices and codebook aren't the tensor")
    for level in range(min(len(info.levels) - 1, container.level)):
        coarse = container.tensor(name, level=level)
        if shared.at_level(level).dense().tobytes() != coarse.tobytes():
            raise Inconsistent("a level isn't that of the tensor")
