"""Make a section's payload again from what it decodes to, and from the choices of its encoder, which are few bytes.

A payload of raw, bitpack, rans, context or planes is determined by its symbols and by its first fields: the tables of
rans, the parameters of context. So a delta holds these fields instead of the payload.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.codecs import lanes as coder
from qacomp.formats.codecs.base import Array, Codec, word_dtype
from qacomp.formats.codecs.bitpack import BitPack
from qacomp.formats.codecs.context import MAX_ALPHABET, Context, encoded, read_parameters
from qacomp.formats.codecs.contextlanes import Runs, forward
from qacomp.formats.codecs.contextmodel import contexts_of
from qacomp.formats.codecs.frequencies import TableModel, from_codes, normalised
from qacomp.formats.codecs.lanes import pack_tails
from qacomp.formats.codecs.planes import RANS_FORM, RAW_FORM, ZSTD_FORM, Planes, byte_planes
from qacomp.formats.codecs.rangecoder import RangeDecoder
from qacomp.formats.codecs.rans import Rans, group_symbols
from qacomp.formats.codecs.ranspayload import MAX_ALPHABET as MAX_RANS_ALPHABET
from qacomp.formats.codecs.ranspayload import group_tables
from qacomp.formats.codecs.raw import Raw
from qacomp.formats.errors import CodecError
from qacomp.formats.limits import MAX_CONTEXT_CELLS, MAX_LANES, MAX_STEPS, MAX_TABLE_SLOTS

_DAMAGED = "the choices of an encoder are out of range; the delta is damaged"


@dataclass(frozen=True)
class _Form:
    """Say how a codec's payloads are made again.

    read: returns the choices of a payload's encoder; make: returns the payload of the choices and the parts.
    """

    read: Callable[[memoryview, Sequence[Stream]], bytes]
    make: Callable[[memoryview, Sequence[Array], Sequence[Stream]], bytes]


def choices_of(codec: int, payload: memoryview, streams: Sequence[Stream]) -> bytes | None:
    """Return the choices of a payload's encoder, with which `rebuilt` makes it again; None for other codecs."""
    form = _FORMS.get(codec)
    return None if form is None else form.read(payload, streams)


def rebuilt(codec: int, choices: memoryview, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes:
    """Return the payload that decodes to the parts and was made with these choices. Raises CodecError."""
    form = _FORMS.get(codec)
    if form is None:
        raise CodecError(f"a section of codec {codec} can't be made again; the delta is damaged")
    return form.make(choices, parts, streams)


def _nothing(payload: memoryview, streams: Sequence[Stream]) -> bytes:
    return b""


def _plainly(codec: Codec) -> Callable[[memoryview, Sequence[Array], Sequence[Stream]], bytes]:
    def make(choices: memoryview, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes:
        payload = codec.encode(parts, streams)
        if len(choices) or payload is None:
            raise CodecError(_DAMAGED)
        return payload

    return make


def _used(parts: Sequence[Array], streams: Sequence[Stream]) -> tuple[list[Array], list[Stream]]:
    pairs = [(part, stream) for part, stream in zip(parts, streams, strict=True) if stream.count]
    return [part for part, _ in pairs], [stream for _, stream in pairs]


def _context_choices(payload: memoryview, streams: Sequence[Stream]) -> bytes:
    used, reader = [s for s in streams if s.count], ByteReader(payload, CodecError)
    if used:
        read_parameters(reader, used)
    return bytes(payload[: reader.position])


def _context(choices: memoryview, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes:
    parts, used = _used(parts, streams)
    if not used:
        return b""
    reader = ByteReader(choices, CodecError)
    lanes, chosen = read_parameters(reader, used)
    reader.end()
    width, count = max(s.alphabet for s in used), sum(s.count for s in used)
    if chosen.bits < 9 or not 0 < lanes <= count <= lanes * MAX_STEPS or width > MAX_ALPHABET:
        raise CodecError(_DAMAGED)
    contexts = sum(contexts_of(s, setting) for s, setting in zip(used, chosen.settings, strict=True))
    if contexts * width > MAX_CONTEXT_CELLS:
        raise CodecError(_DAMAGED)
    flat, runs = np.concatenate(parts), Runs(count, lanes, width)
    frequency, first = forward(flat, chosen, runs)
    if not frequency.all():
        raise CodecError("a symbol can't stand where it does; the delta is damaged")
    states, words = encoded(pack_tails(flat.take(runs.tails()), width, lanes), frequency, first, runs, chosen.bits)
    return bytes(choices) + states.astype("<u4").tobytes() + words.astype("<u2").tobytes()


def _rans_choices(payload: memoryview, streams: Sequence[Stream]) -> bytes:
    reader = ByteReader(payload, CodecError)
    if any(stream.count for stream in streams):
        for _ in range(4):
            reader.uint()
        reader.raw(reader.uint(len(payload)))
    return bytes(payload[: reader.position])


def _rans(choices: memoryview, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes:
    parts, used = _used(parts, streams)
    if not used:
        return b""
    reader = ByteReader(choices, CodecError)
    group, bits = 1 << reader.uint(3), reader.uint(coder.MAX_BITS)
    mantissa, lanes = reader.uint(12), reader.uint(MAX_LANES)
    tables = RangeDecoder(reader.raw(reader.uint(len(choices))))
    reader.end()
    largest = max(stream.alphabet for stream in used)
    groups = sum(-(-stream.count // group) for stream in used)
    small = largest**group <= MAX_RANS_ALPHABET and len(used) << bits <= MAX_TABLE_SLOTS
    if not small or not 0 < lanes <= groups <= lanes * MAX_STEPS:
        raise CodecError(_DAMAGED)
    model = TableModel()
    singles = normalised([from_codes(model.read(tables, s.alphabet, mantissa), mantissa) for s in used], bits)
    for part, single in zip(parts, singles, strict=True):
        if not single.take(part).all():
            raise CodecError("a symbol isn't in its table; the delta is damaged")
    grouped = [group_symbols(part, s.alphabet, group) for part, s in zip(parts, used, strict=True)]
    contexts = None
    if len(grouped) > 1:
        contexts = np.repeat(np.arange(len(grouped), dtype=np.uint16), [len(g) for g in grouped])
    states, words = coder.encode(np.concatenate(grouped), group_tables(singles, group, bits), lanes, contexts)
    return bytes(choices) + states.astype("<u4").tobytes() + words.astype("<u2").tobytes()


def _planes_choices(payload: memoryview, streams: Sequence[Stream]) -> bytes:
    out, reader = ByteWriter(), ByteReader(payload, CodecError)
    count = sum(stream.count for stream in streams)
    for _ in range(word_dtype(streams[0]).itemsize if streams else 0):
        form = reader.uint(ZSTD_FORM)
        out.uint(form)
        coded = reader.raw(count if form == RAW_FORM else reader.uint(len(payload)))
        if form != RAW_FORM:
            told = _rans_choices(coded, [Stream("indices", count, 256)]) if form == RANS_FORM else coded
            out.uint(len(told))
            out.raw(told)
    return bytes(out.buffer)


def _planes(choices: memoryview, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes:
    if len({stream.dtype for stream in streams}) != 1:
        raise CodecError(_DAMAGED)
    out, reader = ByteWriter(), ByteReader(choices, CodecError)
    for plane in byte_planes(parts, streams):
        form = reader.uint(ZSTD_FORM)
        out.uint(form)
        if form == RAW_FORM:
            out.raw(plane.tobytes())
            continue
        told = reader.raw(reader.uint(len(choices)))
        coded = bytes(told)
        if form == RANS_FORM:
            coded = _rans(told, [plane], [Stream("indices", len(plane), 256)])
        out.uint(len(coded))
        out.raw(coded)
    reader.end()
    return bytes(out.buffer)


_FORMS = {
    Raw.id: _Form(_nothing, _plainly(CODECS[Raw.id])),
    BitPack.id: _Form(_nothing, _plainly(CODECS[BitPack.id])),
    Rans.id: _Form(_rans_choices, _rans),
    Context.id: _Form(_context_choices, _context),
    Planes.id: _Form(_planes_choices, _planes),
}


def rebuilding_work(codec: int, choices: memoryview, streams: Sequence[Stream]) -> int:
    """Estimate the nanoseconds of `rebuilt`. Raises CodecError for choices that end too early."""
    if codec != Planes.id:
        return 2 * CODECS[codec].work(choices, streams) if codec in _FORMS else 0
    reader, total, count = ByteReader(choices, CodecError), 0, sum(stream.count for stream in streams)
    for _ in range(word_dtype(streams[0]).itemsize if streams else 0):
        if (form := reader.uint(ZSTD_FORM)) != RAW_FORM:
            told = reader.raw(reader.uint(len(choices)))
            total += 2 * Rans().work(told, [Stream("indices", count, 256)]) if form == RANS_FORM else 0
    return total
