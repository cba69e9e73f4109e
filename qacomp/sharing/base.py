"""The container that a new version of a model stays near, so that an update from one to the other is small."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import ConfigError
from qacomp.formats import BFLOAT16, Container, SharedTensor, bfloat16_to_float32, open_file
from qacomp.formats.codecs.trellis import Trellis
from qacomp.formats.codecs.trellispaths import follows
from qacomp.formats.deltas import file_identity
from qacomp.formats.sharded import ShardedContainer

HELD = 0.19
"""How far beyond the middle between two values a weight may lie, in their distance, and keep the index of the base.

At the price at which steps trade errors for bits, a bit is worth 2 ln 2 / 12 of the squared step: this is what 3.3 bits
are worth: about so many more an index takes in a delta if it changes, where one in six does."""


def is_on_trellis(container: Container, name: str) -> bool:
    """Return whether a tensor's indices follow a trellis: a section of the codec trellis may hold others too."""
    return container.info(name).codec == Trellis.name and follows(container.shared(name).indices)


@dataclass(frozen=True)
class BaseTensor:
    """A tensor of the base, read when it is needed."""

    path: Path
    name: str

    @property
    def on_trellis(self) -> bool:
        """Return whether it is on a trellis, whose indices only weights on a trellis can keep."""
        with open_file(self.path) as container:
            return is_on_trellis(container, self.name)

    def shared(self, shape: tuple[int, ...]) -> SharedTensor | None:
        """Return it with one codebook of floats, flat; None if it has another shape or form."""
        with open_file(self.path) as container:
            info = container.info(self.name)
            if info.k is None or info.shape != shape or info.blocks not in (None, shape):
                return None
            found = container.shared(self.name)
        book = bfloat16_to_float32(found.codebook) if found.codebook.dtype == BFLOAT16 else found.codebook
        if book.dtype.kind != "f" or not np.isfinite(book).all():
            return None
        return SharedTensor(book.reshape(-1), found.indices)

    def in_rows(self, shape: tuple[int, ...]) -> tuple[int, NDArray[np.floating]] | None:
        """Return the rows that share a codebook, and the float32 codebooks (parts, K); None in another form."""
        with open_file(self.path) as container:
            info = container.info(self.name)
            if info.k is None or info.shape != shape or len(shape) != 2 or (info.blocks or ())[1:] != shape[1:]:
                return None
            found = container.shared(self.name)
        assert found.blocks is not None
        book = found.codebook.reshape(-1, found.codebook.shape[-1])
        return (found.blocks[0], book) if book.dtype == np.float32 and np.isfinite(book).all() else None

    def values(self, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
        """Return its finite values; None if it has another shape."""
        with open_file(self.path) as container:
            if container.info(self.name).shape != shape:
                return None
            found = container.tensor(self.name)
        wide = (bfloat16_to_float32(found) if found.dtype == BFLOAT16 else found).astype(np.float64)
        return wide if np.isfinite(wide).all() else None


@dataclass(frozen=True)
class BaseFile:
    """The container of an earlier version. digest: BLAKE2b of the whole file, in hex; names: of its tensors."""

    path: Path
    bytes: int
    digest: str
    names: frozenset[str]

    def tensor(self, name: str) -> BaseTensor | None:
        """Return the tensor of a name, or None."""
        return BaseTensor(self.path, name) if name in self.names else None

    def to_meta(self) -> dict[str, Any]:
        """Return the entry of the metadata, by which `qacomp delta` and people find the base."""
        return {"base": {"bytes": self.bytes, "blake2b": self.digest}}


def open_base(path: Path) -> BaseFile:
    """Return the base at a path. Raises ConfigError for an index of shards, and a FormatError for a damaged file."""
    with open_file(path) as container:
        if isinstance(container, ShardedContainer):
            raise ConfigError(f"--base {path}: is an index of shards; give a container of one file")
        found = file_identity(container)
        return BaseFile(path, found.size, found.digest.hex(), frozenset(container.names))


def held(
    multiples: NDArray[np.float64], previous: NDArray[np.float64], nearest: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which values keep their integers of the base: (..., bool), those that lie little beyond the middle.

    multiples: values in units of the step; previous: the base's integers; nearest: their own.
    """
    worse = (multiples - previous) ** 2 - (multiples - nearest) ** 2
    kept: NDArray[np.bool_] = worse < 2 * HELD
    return kept
