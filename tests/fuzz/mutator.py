"""Mutants of containers: fields, tables, lengths and metadata changed, in half of them with every checksum made right.

A mutant follows from (seed, number) alone, so that a finding is repeated by its number.
"""

import random
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qacomp.formats import FormatError, Limits
from qacomp.formats.codecs import CODECS, Stream, codec_of
from qacomp.formats.header import read_header, write_header
from qacomp.formats.layout import offsets
from qacomp.formats.merkle import leaf_hash
from qacomp.formats.prefix import PREFIX_BYTES, Prefix, read_prefix, write_prefix
from qacomp.formats.records import META, Header, SectionRecord, TensorRecord

SIZES = (0, 1, 2, 3, 5, 7, 8, 16, 31, 32, 33, 63, 64, 127, 128, 255, 256, 257, 4095, 4096, 65_535, 65_536, 1 << 20)
HUGE = (1 << 22, 1 << 24, (1 << 27) - 1, 1 << 28, (1 << 31) - 1, 1 << 32, 1 << 40, 1 << 48)
SNIPPETS = (
    b"[" * 200,
    b'{"a":',
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 40,
    b'"\\ud800"',
    b"null",
    b"{}",
    b"\xff",
    b",,",
)


@dataclass(frozen=True)
class Parsed:
    """A file in its parts: the prefix's version, the records, and each section's payload."""

    version: tuple[int, int]
    header: Header
    payloads: tuple[bytes, ...]


def parse(data: bytes) -> Parsed:
    """The parts of a good file."""
    prefix = read_prefix(memoryview(data), "seed", Limits())
    end = PREFIX_BYTES + prefix.stored_bytes
    stored = memoryview(data)[PREFIX_BYTES:end]
    raw = codec_of(prefix.header_codec).decode(stored, [Stream("values", prefix.header_bytes)])[0]
    header = read_header(raw.tobytes(), Limits(), prefix.flags)
    places, _ = offsets(header.sections, end)
    payloads = [data[at : at + s.stored_bytes] for at, s in zip(places, header.sections, strict=True)]
    return Parsed(prefix.version, header, tuple(payloads))


def assemble(
    version: tuple[int, int], raw: bytes, flags: int, sections: Sequence[SectionRecord], payloads: Sequence[bytes]
) -> bytes:
    """A file around these header bytes, stored raw, whose prefix and header checksum are right."""
    body = bytearray(raw)
    places, _ = offsets(sections, PREFIX_BYTES + len(raw))
    for place, payload in zip(places, payloads, strict=False):
        gap = place - PREFIX_BYTES - len(body)
        body += bytes(gap if 0 < gap < 64 else 0)
        body += payload
    for payload in payloads[len(places) :]:
        body += payload
    size = PREFIX_BYTES + len(body)
    prefix = Prefix(version, 0, len(raw), len(raw), size, zlib.crc32(raw), flags)
    return write_prefix(prefix) + bytes(body)


class Mutator:
    """Makes mutants of parsed seeds; rng decides everything."""

    def __init__(self, seeds: dict[str, bytes]) -> None:
        self.names = list(seeds)
        self.seeds = seeds
        self.parsed = {name: parse(data) for name, data in seeds.items()}
        self._payloads = [payload for parts in self.parsed.values() for payload in parts.payloads]

    def mutant(self, seed: int, number: int) -> tuple[str, bool, bytes]:
        """(the name of what it comes from, whether its checksums are right, the bytes)."""
        rng = random.Random(seed << 40 | number)
        name = rng.choice(self.names)
        sealed = number % 2 == 0
        if not sealed:
            return name, False, self._bytes(rng, self.seeds[name])
        for _ in range(10):
            try:
                return name, True, self._sealed(rng, self.parsed[name])
            except (ValueError, OverflowError, struct.error, IndexError, TypeError):
                continue  # these records can't be written: other changes
        return name, True, self.seeds[name]

    def _sealed(self, rng: random.Random, parts: Parsed) -> bytes:
        tensors, sections = list(parts.header.tensors), list(parts.header.sections)
        payloads, header, version = list(parts.payloads), parts.header, parts.version
        kept = set(range(len(sections)))  # sections whose length goes on being told right
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
            kind = rng.random()
            if kind < 0.5 and payloads:
                at = rng.randrange(len(payloads))
                payloads[at] = self._payload(rng, sections[at], payloads[at])
            elif kind < 0.7 and tensors:
                at = rng.randrange(len(tensors))
                tensors[at] = self._tensor(rng, tensors[at])
            elif kind < 0.86 and sections:
                at = rng.randrange(len(sections))
                sections[at] = self._section(rng, sections[at])
                if rng.random() < 0.1:
                    kept.discard(at)
            elif kind < 0.88:
                version = (1, rng.choice((0, 1, 2, 3, 4, 255)))
            elif kind < 0.92:
                header = replace(header, digest_bytes=rng.choice((0, 1, 4, 32, 33)))
                header = replace(header, chunk_log2=rng.choice((0, 1, 4, 5, 22, 30, 31, 63)))
            else:
                self._list(rng, tensors, sections, payloads)
        digest = header.digest_bytes if rng.random() < 0.3 else 0  # most attackers leave proofs out
        tensors = [replace(t, digest=t.digest[:digest].ljust(digest, b"\0")) for t in tensors]
        for at, payload in enumerate(payloads[: len(sections)]):
            stored = len(payload) if at in kept else max(len(payload) + rng.choice((-1, 1, 7, 1 << 40)), 0)
            crc, leaf = zlib.crc32(payload), leaf_hash(payload)
            sections[at] = replace(sections[at], stored_bytes=stored, crc=crc, leaf=leaf)
        changed = Header(tuple(tensors), tuple(sections), digest, header.chunk_log2, header.leaves)
        raw, flags = write_header(changed), changed.flags
        if rng.random() < 0.15:
            raw = self._bytes(rng, raw)
        if rng.random() < 0.03:
            flags = rng.randrange(9)
        return assemble(version, raw, flags, sections, payloads)

    def _bytes(self, rng: random.Random, data: bytes) -> bytes:
        """Bits, bytes and runs changed, put in, taken out or moved."""
        out = bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            at = rng.randrange(len(out) + 1)
            length = rng.choice((1, 1, 1, 2, 4, 16))
            kind = rng.randrange(8)
            if kind <= 1 and at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            elif kind == 2 and at < len(out):
                out[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
            elif kind == 3:
                out[at:at] = rng.randbytes(length)
            elif kind == 4:
                del out[at : at + length]
            elif kind == 5:
                out[at:at] = out[at : at + length]
            elif kind == 6:
                del out[at:]
            else:
                out[at : at + length] = bytes(length) if rng.random() < 0.5 else b"\xff" * length
        return bytes(out)

    def _payload(self, rng: random.Random, section: SectionRecord, payload: bytes) -> bytes:
        """A payload changed as bytes, near its front (where parameters stand), or one of another section."""
        kind = rng.random()
        if section.kind <= META and kind < 0.7:
            return self._text(rng, section, payload)
        if kind < 0.35:
            return self._bytes(rng, payload)
        if kind < 0.8 and payload:
            front = bytearray(payload)
            at = rng.randrange(min(len(front), 12))
            front[at] = rng.choice((0, 1, 2, 3, 5, 9, 12, 14, 15, 64, 127, rng.randrange(256)))
            if rng.random() < 0.15:
                front[at : at + 1] = _leb(rng.choice(SIZES + HUGE))
            return bytes(front)
        if kind < 0.9:
            return rng.choice(self._payloads)
        return rng.choice((b"", bytes(rng.choice(SIZES[:18])), b"\xff" * rng.randrange(40)))

    def _text(self, rng: random.Random, section: SectionRecord, payload: bytes) -> bytes:
        """Metadata or a graph changed as text, and compressed again."""
        codec = CODECS[section.codec if section.codec in (6, 7) else 0]
        try:
            text = codec.decode(memoryview(payload), [Stream("values", section.count)])[0].tobytes()
        except FormatError:  # its records are changed already
            text = payload
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(SNIPPETS) + text[at + rng.choice((0, 1, 4)) :]
        coded = codec.encode([_words(text)], [Stream("values", len(text))])
        return payload if coded is None else coded

    def _tensor(self, rng: random.Random, t: TensorRecord) -> TensorRecord:
        size = rng.choice(SIZES if rng.random() < 0.8 else HUGE)
        axes = len(t.shape)
        changes: list[Callable[[], dict[str, Any]]] = [
            lambda: {"kind": rng.randrange(4)},
            lambda: {"dtype": rng.randrange(16)},
            lambda: {"stored": rng.randrange(16)},
            lambda: {"dtype": (kind := rng.randrange(13)), "stored": kind},
            lambda: {"shape": (*t.shape, size)},
            lambda: {"shape": t.shape[:-1]},
            lambda: {"shape": t.shape[::-1]},
            lambda: {"shape": _put(rng, t.shape, size)},
            lambda: {"shape": _put(rng, t.shape, size)},
            lambda: {"shape": _put(rng, _put(rng, t.shape, 0), size)},
            lambda: {"shape": (1,) * rng.choice((2, 31, 32, 33))},
            lambda: {"group": rng.randrange(4)},
            lambda: {"book_group": rng.randrange(4)},
            lambda: {"levels": _put(rng, t.levels, size)},
            lambda: {"levels": t.levels * rng.choice((0, 2, 9)), "children": t.children * 2},
            lambda: {"children": tuple(_put(rng, level, size) for level in t.children)},
            lambda: {"same_as": rng.randrange(5)},
            lambda: {"blocks": _put(rng, t.blocks or (1,) * axes, rng.choice((0, 1, 2, 3, 6, 1 << 48)))},
            lambda: {"blocks": None},
            lambda: {"at_once": not t.at_once},
            lambda: {"name": rng.choice(("", "a.w", "w", "x" * 300, "\0", "é", "../../x", "[red]"))},
        ]
        return replace(t, **rng.choice(changes)())

    def _section(self, rng: random.Random, s: SectionRecord) -> SectionRecord:
        changes: list[dict[str, Any]] = [
            {"codec": rng.randrange(12)},
            {"codec": rng.randrange(12)},
            {"codec": rng.randrange(256)},
            {"kind": rng.randrange(7)},
            {"level": rng.choice((0, 1, 2, 3, 15, 16))},
            {"owner": rng.randrange(5)},
            {"count": rng.choice(SIZES + HUGE)},
        ]
        return replace(s, **rng.choice(changes))

    def _list(
        self,
        rng: random.Random,
        tensors: list[TensorRecord],
        sections: list[SectionRecord],
        payloads: list[bytes],
    ) -> None:
        """A tensor or a section taken out, told twice, or moved."""
        if rng.random() < 0.5 and tensors:
            at = rng.randrange(len(tensors))
            if rng.random() < 0.3:
                del tensors[at]
            else:
                copy = replace(tensors[at], name=tensors[at].name + "'")
                tensors[at:at] = (
                    [copy]
                    if rng.random() < 0.9
                    else [replace(copy, name=f"{copy.name}{i}") for i in range(rng.choice((64, 300)))]
                )
        elif sections:
            at, other = rng.randrange(len(sections)), rng.randrange(len(sections))
            kind = rng.randrange(3)
            if kind == 0:
                del sections[at], payloads[at]
            elif kind == 1:
                sections.insert(other, sections[at])
                payloads.insert(other, payloads[at])
            else:
                sections[at], sections[other] = sections[other], sections[at]
                payloads[at], payloads[other] = payloads[other], payloads[at]


def _put(rng: random.Random, values: tuple[int, ...], new: int) -> tuple[int, ...]:
    """The tuple with another value in one place."""
    if not values:
        return (new,)
    at = rng.randrange(len(values))
    return (*values[:at], new, *values[at + 1 :])


def _leb(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _words(text: bytes) -> Any:
    import numpy as np

    return np.frombuffer(text, np.uint8)
