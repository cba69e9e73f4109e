"""Encode the indices of large codebooks (257 to 65,536 values): high bytes and low bytes apart, each with a codec."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.codecs.base import CODECS, Array, Codec, Stream, register, word_dtype
from qacomp.formats.codecs.context import Context
from qacomp.formats.codecs.rans import Rans
from qacomp.formats.codecs.raw import Raw
from qacomp.formats.errors import CodecError

_INNER = (Raw, Rans, Context)


@register
class TwoByte(Codec):
    """Encodes as the module describes; not for refinements and for alphabets of at most 256."""

    id = 8
    name = "twobyte"
    kinds = ("indices",)
    footprint = 60

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Return high bytes, then low bytes, each as codec id, length, payload; None for a stream of another kind."""
        if any(s.alphabet <= 256 or s.parents is not None for s in streams):
            return None
        out = ByteWriter()
        for half, inner in enumerate(halves_of(streams)):
            bytes_of = [(part & 255 if half else part >> 8).astype(np.uint8) for part in parts]
            tried = [(coded, codec.id) for codec in _INNER if (coded := CODECS[codec.id].encode(bytes_of, inner))]
            coded, number = min(tried, key=lambda pair: (len(pair[0]), pair[1])) if tried else (b"", 0)
            out.uint(number)
            out.uint(len(coded))
            out.raw(coded)
        return bytes(out.buffer)

    def work(self, payload: memoryview, streams: Sequence[Stream]) -> int:
        """Estimate the nanoseconds of decoding: those of the high bytes and the low bytes."""
        halves = zip(read_halves(payload), halves_of(streams), strict=True)
        return super().work(payload, streams) + sum(codec.work(coded, inner) for (codec, coded), inner in halves)

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Decode the indices. Raises CodecError, also for an index outside its alphabet."""
        if any(s.alphabet <= 256 or s.parents is not None for s in streams):
            raise CodecError("the codec twobyte is only for alphabets above 256; the file is damaged")
        coded_halves = zip(read_halves(payload), halves_of(streams), strict=True)
        halves = [codec.decode(coded, inner) for (codec, coded), inner in coded_halves]
        parts: list[Array] = []
        for high, low, stream in zip(*halves, streams, strict=True):
            part = (high.astype(np.uint16) << 8 | low).astype(word_dtype(stream))
            if part.size and int(part.max()) >= stream.alphabet:
                raise CodecError("an index lies outside its codebook; the file is damaged")
            parts.append(part)
        return parts


def read_halves(payload: memoryview) -> list[tuple[Codec, memoryview]]:
    """Read the codec and the payload of the high bytes and of the low bytes."""
    reader, halves = ByteReader(payload, CodecError), []
    for _ in range(2):
        number = reader.uint(255)
        if number not in [codec.id for codec in _INNER]:
            raise CodecError(f"the codec {number} isn't allowed inside the codec twobyte; the file is damaged")
        halves.append((CODECS[number], reader.raw(reader.uint(len(payload)))))
    reader.end()
    return halves


def halves_of(streams: Sequence[Stream]) -> tuple[list[Stream], list[Stream]]:
    """Return the streams of the high bytes and of the low bytes."""
    high = [replace(s, alphabet=(s.alphabet - 1 >> 8) + 1) for s in streams]
    return high, [replace(s, alphabet=256) for s in streams]
