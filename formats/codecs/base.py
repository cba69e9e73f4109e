"""What a codec is: one object with an id, told what the values are (streams), that turns them to bytes and back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.errors import UnsupportedVersionError

Kind = Literal["indices", "values"]
Array = NDArray[Any]  # unsigned words: uint8 ... uint64


@dataclass(frozen=True)
class Stream:
    """What is known of one run of values before a byte of it is decoded.

    kind: "indices" (below `alphabet`, uint8 or uint16) or "values" (the bits of elements, `dtype` an id of dtypes.py);
    count: how many; shape: of the whole tensor; start: row-major position of the first value in it;
    parents: for a refinement, the next coarser indices at the same places (count,); children: how many finer indices
    each of those has (their sum is the alphabet of the whole level, `alphabet` the largest of them);
    codebooks: whether values are codebooks in blocks, the last axis of `shape` being one codebook.
    """

    kind: Kind
    count: int
    alphabet: int = 0
    dtype: int = 1
    shape: tuple[int, ...] = ()
    start: int = 0
    parents: Array | None = None
    children: tuple[int, ...] = ()
    codebooks: bool = False


class Codec:
    """Base of all codecs; a subclass sets `id`, `name`, `kinds` and defines the two directions;
    `samples` says that encoding is slow to choose its parameters and takes a sample for that by itself;
    `since` is the first minor version of the format whose readers know it; `footprint` is about how many bytes
    decoding takes at once for each value, besides the words that come out.

    encode gives None where the codec can't hold the streams. decode gets exactly the bytes that encode gave and the
    same streams; it raises CodecError for bytes that encode never gives, and allocates nothing beyond the streams'
    counts and a small multiple of the payload.
    """

    id: ClassVar[int]
    name: ClassVar[str]
    kinds: ClassVar[tuple[Kind, ...]]
    samples: ClassVar[bool] = False
    since: ClassVar[int] = 0
    footprint: ClassVar[int] = 0

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Return the bytes of the parts, one flat array for each stream."""
        raise NotImplementedError

    def encode_below(self, parts: Sequence[Array], streams: Sequence[Stream], most: int) -> bytes | None:
        """Return what `encode` gives, or None where a codec knows beforehand that it takes more than `most` bytes."""
        return self.encode(parts, streams)

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Decode the parts again, bit for bit."""
        raise NotImplementedError

    def work(self, payload: memoryview, streams: Sequence[Stream]) -> int:
        """Estimate the nanoseconds of decoding from fields that are read at once. May raise CodecError."""
        return SECTION_WORK + sum(STREAM_WORK + stream.count * word_dtype(stream).itemsize for stream in streams)


SECTION_WORK, STREAM_WORK = 50_000, 5_000
"""Nanoseconds of what every section, and every stream of it, takes besides its values."""

PRIVATE, LAST = 192, 255
"""The ids that SPEC.md leaves to codecs of other packages: from PRIVATE to LAST."""

CODECS: dict[int, Codec] = {}
PROBLEMS: list[str] = []
"""A line for each installed package whose codec can't be used."""

C = TypeVar("C", bound=type[Codec])


def register(cls: C) -> C:
    """Make a codec known under its id. Raise ValueError for an id or a name that is taken, or isn't to be."""
    own = cls.__module__.startswith(f"{__package__}.")
    if not own and not PRIVATE <= cls.id <= LAST:
        raise ValueError(f"codec {cls.name}: its id must lie between {PRIVATE} and {LAST}, not be {cls.id}")
    for number, codec in CODECS.items():
        if cls.id == number or cls.name == codec.name:
            raise ValueError(f"codec id {number} and the name {codec.name} are taken by {type(codec).__module__}")
    CODECS[cls.id] = cls()
    return cls


def standard_codecs() -> tuple[str, ...]:
    """Return the names of the codecs of SPEC.md, which every reader has; a writer tries no others unless told to."""
    return tuple(codec.name for number, codec in sorted(CODECS.items()) if number < PRIVATE)


def codec_of(number: int) -> Codec:
    """Return the codec of an id. Raise UnsupportedVersionError for an unknown one."""
    if number in CODECS:
        return CODECS[number]
    if number < PRIVATE:
        raise UnsupportedVersionError(f"codec {number} isn't known here; update qacomp")
    why = "".join(f"; {problem}" for problem in PROBLEMS)
    raise UnsupportedVersionError(
        f"codec {number} isn't known here; install the package that the file was written with{why}"
    )


def codec_name(number: int) -> str:
    """Return the name that reports use: the codec's, or unknown-77 for an id of a newer version."""
    return CODECS[number].name if number in CODECS else f"unknown-{number}"


def word_dtype(stream: Stream) -> "np.dtype[np.unsignedinteger]":
    """Return the unsigned type of a stream's values: by alphabet for indices, by element size for values."""
    if stream.kind == "indices":
        return np.dtype("u1") if max(stream.alphabet, 1) <= 256 else np.dtype("<u2")
    from qacomp.formats.dtypes import dtype_of

    return np.dtype(f"<u{dtype_of(stream.dtype).itemsize}")


def split(flat: Array, streams: Sequence[Stream]) -> list[Array]:
    """Cut one flat array into the streams' parts."""
    ends = np.cumsum([stream.count for stream in streams])
    return [flat[end - stream.count : end] for end, stream in zip(ends.tolist(), streams, strict=True)]


def sample(parts: Sequence[Array], streams: Sequence[Stream], count: int) -> tuple[list[Array], list[Stream]]:
    """Return about `count` values: the first part of each stream, in proportion."""
    total = sum(stream.count for stream in streams)
    cut_parts, cut_streams = [], []
    for part, stream in zip(parts, streams, strict=True):
        length = min(stream.count, -(-stream.count * count // max(total, 1)))
        parents = None if stream.parents is None else stream.parents[:length]
        cut_parts.append(part[:length])
        cut_streams.append(replace(stream, count=length, parents=parents))
    return cut_parts, cut_streams
