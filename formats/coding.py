"""Say how a writer codes tensors."""

from dataclasses import dataclass

from qacomp.formats import layout
from qacomp.formats.checksums import DIGEST_BYTES
from qacomp.formats.codec_choice import ADD, LEAVE_OUT, default_codecs


@dataclass(frozen=True)
class Coding:
    """Hold how tensors are coded into bytes; the tensors that a reader gets don't depend on it.

    codecs: names of the codecs to choose from (raw is always added), None for `default_codecs`; a name such as no-zstd
    leaves that codec out everywhere, also of the header, one such as with-mixing adds a codec; only such names: to
    the default ones; chunk_log2: log2 of the
    number of values in a chunk of a large tensor; digest_bytes: length of each tensor's digest, 0 to 32; threads:
    number of processes that encode; the bytes of the file don't depend on it; leaves: whether the header holds the leaf
    hash of each section, so that a part of the file is verified against its root without the rest; None: if these
    hashes take at most a thousandth of the file.
    """

    codecs: tuple[str, ...] | None = None
    chunk_log2: int = layout.CHUNK_LOG2
    digest_bytes: int = DIGEST_BYTES
    threads: int = 1
    leaves: bool | None = None

    @property
    def tried(self) -> tuple[str, ...] | None:
        """Return `codecs` with raw, and with the default ones if all names only leave codecs out or add them."""
        if self.codecs is None:
            return None
        names = tuple(name.removeprefix(ADD) for name in self.codecs)
        if self.codecs and all(name.startswith((LEAVE_OUT, ADD)) for name in self.codecs):
            return (*default_codecs(), *names)
        return (*names, "raw")

    @property
    def newer(self) -> tuple[str, ...]:
        """Return the codecs of newer versions that are tried for the graph and the metadata."""
        named = [name for name in self.codecs or () if not name.startswith((LEAVE_OUT, ADD))]
        return ("deflate",) if not named or "deflate" in named else ()
