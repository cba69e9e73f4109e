"""Store values unchanged, little-endian: the fallback for every stream, which can be mapped into memory."""

from collections.abc import Sequence

import numpy as np

from qacomp.formats.codecs.base import Array, Codec, Stream, register, word_dtype
from qacomp.formats.errors import CodecError


@register
class Raw(Codec):
    """Stores the streams' words one after the other."""

    id = 0
    name = "raw"
    kinds = ("indices", "values")
    order0 = True

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Return the bytes of all words."""
        return b"".join(
            part.astype(word_dtype(s), copy=False).tobytes() for part, s in zip(parts, streams, strict=True)
        )

    def shares(self, streams: Sequence[Stream]) -> list[int] | None:
        """Return the bytes of each stream, or for values, which have one type, their numbers."""
        return super().shares(streams) or [stream.count * word_dtype(stream).itemsize for stream in streams]

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Return views of the payload, one for each stream. Raises CodecError."""
        parts: list[Array] = []
        start = 0
        for stream in streams:
            dtype = word_dtype(stream)
            stop = start + stream.count * dtype.itemsize
            if stop > len(payload):
                raise CodecError("the raw values end too early; the file is damaged")
            part: Array = np.frombuffer(payload[start:stop], dtype)
            if stream.kind == "indices" and stream.count and int(part.max()) >= stream.alphabet:
                raise CodecError("an index lies outside its codebook; the file is damaged")
            parts.append(part)
            start = stop
        if start != len(payload):
            raise CodecError("bytes follow after the raw values; the file is damaged")
        return parts
