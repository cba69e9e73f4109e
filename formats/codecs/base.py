"""Define the interface of a codec, which turns streams of values into bytes and back, and the registry of codecs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.errors import UnsupportedVersionError

Kind = Literal["indices", "values"]
Array = NDArray[Any]  # unsigned words: uint8 ... uint64


@dataclass(frozen=True)
class Stream:
    """The description of one run of values, known before any byte of it is decoded.

    kind: "indices" (uint8 or uint16, below `alphabet`) or "values" (the bits of elements); count: number of values;
    dtype: for values, the id of their element type in dtypes.py; shape: of the whole tensor; start: row-major position
    of the first value in the tensor; parents: for a refinement, the indices (count,) of the next coarser level at the
    same places; children: how many finer entries each coarser entry has (their sum is the size of the finer codebook,
    `alphabet` the largest of them); codebooks: the values are codebooks in blocks, and the last axis of `shape` is K.
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
    """The base class of all codecs; a subclass sets `id`, `name` and `kinds`, and defines `encode` and `decode`.

    samples: the codec takes a sample of long streams by itself, so the writer doesn't try it on one; repetitions: it
    gains by words that come again, not by how often each occurs, and most weights have none; since: the first
    minor version of the format that has the codec; footprint: about how many bytes decoding takes at its peak for each
    value, besides the decoded words; gain: bytes of a section that the codec must save, since older readers lack it;
    together: several small payloads take less time in one call of `decode_many` than one by one; order0: codes each
    symbol by how often it occurs in its stream, so it takes no less than the entropy.

    `encode` returns None if the codec can't hold the streams. `decode` gets the bytes that `encode` returned and the
    same streams. It raises CodecError for bytes that `encode` never returns, and allocates no more than a small
    multiple of the payload and of the streams' counts.
    """

    id: ClassVar[int]
    name: ClassVar[str]
    kinds: ClassVar[tuple[Kind, ...]]
    samples: ClassVar[bool] = False
    repetitions: ClassVar[bool] = False
    since: ClassVar[int] = 0
    footprint: ClassVar[int] = 0
    gain: ClassVar[int] = 0
    together: ClassVar[bool] = False
    order0: ClassVar[bool] = False

    def without(self, names: Collection[str]) -> "Codec":
        """Return a codec of the same id that uses none of these codecs inside; self, if it uses none of them anyway."""
        return self

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Return the encoded parts, one flat array for each stream, or None if the codec can't hold them."""
        raise NotImplementedError

    def encode_below(self, parts: Sequence[Array], streams: Sequence[Stream], most: int) -> bytes | None:
        """Encode as `encode` does; may return None early if the result would take more than `most` bytes."""
        return self.encode(parts, streams)

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Return the parts that were encoded, bit for bit. Raises CodecError for a damaged payload."""
        raise NotImplementedError

    def decode_many(self, payloads: Sequence[tuple[memoryview, Sequence[Stream]]]) -> list[list[Array]]:
        """Decode several payloads, each with its streams, as `decode` does. Raises CodecError if one is damaged."""
        return [self.decode(payload, streams) for payload, streams in payloads]

    def shares(self, streams: Sequence[Stream]) -> list[int] | None:
        """Return in what proportion a section's bytes belong to its streams; None if only their contents tell."""
        return None if any(stream.kind == "indices" for stream in streams) else [stream.count for stream in streams]

    def work(self, payload: memoryview, streams: Sequence[Stream]) -> int:
        """Estimate the nanoseconds of decoding from the first fields of the payload. May raise CodecError."""
        return SECTION_WORK + sum(STREAM_WORK + stream.count * word_dtype(stream).itemsize for stream in streams)


SECTION_WORK, STREAM_WORK = 50_000, 5_000
"""Nanoseconds that decoding takes for each section and for each stream, besides the values."""

PRIVATE, LAST = 192, 255
"""The range of ids, both ends included, that SPEC.md leaves to codecs of other packages."""

CODECS: dict[int, Codec] = {}
PROBLEMS: list[str] = []
"""One line for each installed package whose codec can't be used."""

C = TypeVar("C", bound=type[Codec])


def register(cls: C) -> C:
    """Register a codec by its id and name. Raises ValueError if one of them is taken, or the id isn't allowed."""
    own = cls.__module__.startswith(f"{__package__}.")
    if not own and not PRIVATE <= cls.id <= LAST:
        raise ValueError(f"codec {cls.name}: the id {cls.id} isn't allowed; choose one from {PRIVATE} to {LAST}")
    for number, codec in CODECS.items():
        if cls.id == number or cls.name == codec.name:
            raise ValueError(
                f"codec {cls.name} with id {cls.id}: {type(codec).__module__} already has the codec {codec.name} with"
                f" id {number}; choose another name and id"
            )
    CODECS[cls.id] = cls()
    return cls


def standard_codecs() -> tuple[str, ...]:
    """Return the names of the codecs of SPEC.md, in the order of their ids; a writer tries these by default."""
    return tuple(codec.name for number, codec in sorted(CODECS.items()) if number < PRIVATE)


def codec_of(number: int) -> Codec:
    """Return the codec of an id. Raises UnsupportedVersionError for an unknown id."""
    if number in CODECS:
        return CODECS[number]
    if number < PRIVATE:
        raise UnsupportedVersionError(f"codec {number} isn't known here; update qacomp")
    why = "".join(f"; {problem}" for problem in PROBLEMS)
    raise UnsupportedVersionError(f"codec {number} isn't known here; install the package that has it{why}")


def codec_name(number: int) -> str:
    """Return the name of a codec in reports: its own name, or unknown-77 for the unknown id 77."""
    return CODECS[number].name if number in CODECS else f"unknown-{number}"


def word_dtype(stream: Stream) -> "np.dtype[np.unsignedinteger]":
    """Return the unsigned dtype of a stream: for indices by the alphabet, for values by the size of an element."""
    if stream.kind == "indices":
        return np.dtype("u1") if max(stream.alphabet, 1) <= 256 else np.dtype("<u2")
    from qacomp.formats.dtypes import dtype_of

    return np.dtype(f"<u{dtype_of(stream.dtype).itemsize}")


def split(flat: Array, streams: Sequence[Stream]) -> list[Array]:
    """Cut one flat array into one part for each stream."""
    ends = np.cumsum([stream.count for stream in streams])
    return [flat[end - stream.count : end] for end, stream in zip(ends.tolist(), streams, strict=True)]


def sample(parts: Sequence[Array], streams: Sequence[Stream], count: int) -> tuple[list[Array], list[Stream]]:
    """Return about `count` values as (parts, streams): the front of each stream, in proportion to its length."""
    total = sum(stream.count for stream in streams)
    cut_parts, cut_streams = [], []
    for part, stream in zip(parts, streams, strict=True):
        length = min(stream.count, -(-stream.count * count // max(total, 1)))
        parents = None if stream.parents is None else stream.parents[:length]
        cut_parts.append(part[:length])
        cut_streams.append(replace(stream, count=length, parents=parents))
    return cut_parts, cut_streams
