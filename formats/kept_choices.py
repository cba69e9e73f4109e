"""Keep what small sections were encoded to, since a search writes nearly the same container again and again."""

import hashlib
from collections.abc import Sequence

from qacomp.formats.codec_choice import Choice, choose
from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.codecs.base import Array, Kind

_LARGEST = 1 << 17  # values of a section that is kept; larger ones are rare, and their payloads take memory
_MOST_BYTES = 16 << 20  # of all payloads that are kept


class KeptChoices:
    """The choices of the last sections, up to 16 MiB of payloads."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Choice] = {}
        self._bytes = 0

    def choose(
        self, kind: Kind, parts: Sequence[Array], streams: Sequence[Stream], names: Sequence[str] | None
    ) -> Choice:
        """Return what `codec_choice.choose` returns; nothing is encoded if the same streams were encoded before."""
        if sum(part.size for part in parts) > _LARGEST:
            return choose(kind, parts, streams, names)
        key = _digest(kind, parts, streams, names)
        found = self._kept.pop(key, None)  # to be put at the end: what was used last is kept longest
        if found is None:
            found = choose(kind, parts, streams, names)
            self._bytes += len(found.payload)
        self._kept[key] = found
        while self._bytes > _MOST_BYTES and len(self._kept) > 1:
            self._bytes -= len(self._kept.pop(next(iter(self._kept))).payload)
        return found


def _digest(kind: Kind, parts: Sequence[Array], streams: Sequence[Stream], names: Sequence[str] | None) -> bytes:
    """Return a digest of all that a choice depends on, also the codecs that are registered."""
    digest = hashlib.blake2b(digest_size=32)
    digest.update(repr((kind, names, [(number, id(codec)) for number, codec in CODECS.items()])).encode())
    for part, stream in zip(parts, streams, strict=True):
        described = (stream.kind, stream.count, stream.alphabet, stream.dtype, stream.shape, stream.start)
        arrays = [part] if stream.parents is None else [part, stream.parents]
        forms = [(array.dtype.str, array.shape) for array in arrays]
        digest.update(repr((described, stream.children, stream.codebooks, forms)).encode())
        for array in arrays:
            digest.update(array.tobytes())
    return digest.digest()


KEPT = KeptChoices()
"""The choices of this process."""
