"""Pack each index into as many bits as its alphabet needs, least significant bit first."""

from collections.abc import Sequence

import numpy as np

from qacomp.formats.codecs.base import Array, Codec, Stream, register, word_dtype
from qacomp.formats.errors import CodecError

_PIECE = 1 << 16  # values unpacked at once; a multiple of 8, so that pieces begin at whole bytes


def bits_of(alphabet: int) -> int:
    """Return the number of bits of the largest index of an alphabet."""
    return (alphabet - 1).bit_length()


def pack(values: Array, bits: int) -> bytes:
    """Pack values (n,) below 2**bits (bits <= 16) into ceil(n * bits / 8) bytes."""
    if bits == 0:
        return b""
    little = np.ascontiguousarray(values, dtype="<u2").view(np.uint8).reshape(-1, 2)
    return np.packbits(np.unpackbits(little, axis=1, count=bits, bitorder="little"), bitorder="little").tobytes()


def unpack(data: memoryview, count: int, bits: int) -> Array:
    """Unpack `count` values as uint16. Raises CodecError unless the length fits and the padding bits are zero."""
    if len(data) != (count * bits + 7) // 8:
        raise CodecError("the packed indices have the wrong length; the file is damaged")
    if bits == 0:
        return np.zeros(count, np.uint16)
    packed, out = np.frombuffer(data, np.uint8), np.empty(count, np.uint16)
    for start in range(0, count, _PIECE):
        part = out[start : start + _PIECE]
        first = start * bits // 8
        flat = np.unpackbits(packed[first : first + (len(part) * bits + 7) // 8], bitorder="little")
        wide = np.zeros((len(part), 16), np.uint8)
        wide[:, :bits] = flat[: len(part) * bits].reshape(-1, bits)
        part[:] = np.packbits(wide, axis=1, bitorder="little").view("<u2").ravel()
    if count * bits % 8 and packed[-1] >> count * bits % 8:
        raise CodecError("padding bits aren't zero; the file is damaged")
    return out


@register
class BitPack(Codec):
    """Packs each stream with the width of its own alphabet; each stream begins at a whole byte."""

    id = 1
    name = "bitpack"
    kinds = ("indices",)
    order0 = True
    footprint = 4

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Return the packed streams, one after the other."""
        return b"".join(pack(part, bits_of(s.alphabet)) for part, s in zip(parts, streams, strict=True))

    def shares(self, streams: Sequence[Stream]) -> list[int] | None:
        """Return the bytes of each stream."""
        return [(stream.count * bits_of(stream.alphabet) + 7) // 8 for stream in streams]

    def work(self, payload: memoryview, streams: Sequence[Stream]) -> int:
        """Estimate the nanoseconds of decoding: 40 for each bit, besides those of every codec."""
        return super().work(payload, streams) + 40 * 8 * len(payload)

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Unpack the indices. Raises CodecError for an index outside its alphabet and for a wrong length."""
        parts: list[Array] = []
        start = 0
        for stream in streams:
            bits = bits_of(stream.alphabet)
            stop = start + (stream.count * bits + 7) // 8
            part = unpack(payload[start:stop], stream.count, bits)
            if stream.count and int(part.max()) >= stream.alphabet:
                raise CodecError("an index lies outside its codebook; the file is damaged")
            parts.append(part.astype(word_dtype(stream)))
            start = stop
        if start != len(payload):
            raise CodecError("bytes follow after the packed indices; the file is damaged")
        return parts
