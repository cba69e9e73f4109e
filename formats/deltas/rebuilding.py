"""Make a section's payload again from what it decodes to, and from the choices of its encoder, which are few bytes.

A payload of raw, bitpack, rans, context, trellis, mixing or planes is determined by its symbols and by its first
fields: the tables of rans, the parameters of context. So a delta holds these fields instead of the payload.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.codecs import lanes as coder
from qacomp.formats.codecs import trellispaths as paths
from qacomp.formats.codecs.base import Array, Codec, word_dtype
from qacomp.formats.codecs.bitpack import BitPack
from qacomp.formats.codecs.context import Context, check, encoded, read_parameters
from qacomp.formats.codecs.contextlanes import Parameters, Runs, forward
from qacomp.formats.codecs.frequencies import TableModel, from_codes, normalised
from qacomp.formats.codecs.lanes import pack_tails
from qacomp.formats.codecs.mixing import Mixing
from qacomp.formats.codecs.mixing import coded as mixed
from qacomp.formats.codecs.mixing import read_parameters as read_mixing_parameters
from qacomp.formats.codecs.planes import RANS_FORM, RAW_FORM, ZSTD_FORM, Planes, byte_planes
from qacomp.formats.codecs.rangecoder import RangeDecoder
from qacomp.formats.codecs.rans import Rans, group_symbols
from qacomp.formats.codecs.ranspayload import MAX_ALPHABET as MAX_RANS_ALPHABET
from qacomp.formats.codecs.ranspayload import group_tables
from qacomp.formats.codecs.raw import Raw
from qacomp.formats.codecs.trellis import Trellis, rows_of
from qacomp.formats.codecs.trellis import read_parameters as read_trellis_parameters
from qacomp.formats.errors import CodecError
from qacomp.formats.limits import MAX_LANES, MAX_STEPS, MAX_TABLE_SLOTS

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


def _front(
    read: Callable[[ByteReader, Sequence[Stream]], object],
) -> Callable[[memoryview, Sequence[Stream]], bytes]:
    """Return what finds the choices of a payload that begins with what `read` reads, if any stream has symbols."""

    def choices(payload: memoryview, streams: Sequence[Stream]) -> bytes:
        used, reader = [s for s in streams if s.count], ByteReader(payload, CodecError)
        if used:
            read(reader, used)
        return bytes(payload[: reader.position])

    return choices


def _context(choices: memoryview, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes:
    parts, used = _used(parts, streams)
    if not used:
        return b""
    reader = ByteReader(choices, CodecError)
    lanes, chosen = read_parameters(reader, used)
    reader.end()
    return bytes(choices) + _coded(np.concatenate(parts), chosen, _runs(lanes, chosen))


def _runs(lanes: int, chosen: Parameters) -> Runs:
    """Return the lanes of a payload with these parameters, which are checked. Raises CodecError."""
    count = sum(stream.count for stream in chosen.streams)
    check(lanes, chosen)
    if lanes > count:
        raise CodecError(_DAMAGED)
    return Runs(count, lanes, max(stream.alphabet for stream in chosen.streams))


def _coded(flat: Array, chosen: Parameters, runs: Runs) -> bytes:
    """Return the lanes' states and words of symbols. Raises CodecError for a symbol above its alphabet."""
    frequency, first = forward(flat, chosen, runs)
    if not frequency.all():
        raise CodecError("a symbol can't stand where it does; the delta is damaged")
    width = max(stream.alphabet for stream in chosen.streams)
    tails = pack_tails(flat.take(runs.tails()), width, runs.lanes)
    states, words = encoded(tails, frequency, first, runs, chosen.bits)
    return states.astype("<u4").tobytes() + words.astype("<u2").tobytes()


def _trellis_front(reader: ByteReader, used: Sequence[Stream]) -> None:
    read_trellis_parameters(reader, used)
    reader.raw(1)  # the state before the first symbol, which may be in the midst of a row


def _trellis(choices: memoryview, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes:
    parts, used = _used(parts, streams)
    if not used:
        return b""
    reader = ByteReader(choices, CodecError)
    lanes, chosen, ways = read_trellis_parameters(reader, used)
    start = reader.raw(1)[0]
    reader.end()
    runs = _runs(lanes, chosen)
    if start >= paths.STATES:
        raise CodecError(_DAMAGED)
    ways[0] = replace(ways[0], start=start)
    found = [_along(part, stream, path) for part, stream, path in zip(parts, used, ways, strict=True)]
    flat, states = (np.concatenate([pair[i] for pair in found]) for i in (0, 1))
    if states[0] != start:
        raise CodecError(_DAMAGED)
    on_paths = replace(chosen, paths=rows_of(used, ways, np.zeros(0, np.uint8), states))
    return bytes(choices) + states.take(runs.first[1:]).tobytes() + _coded(flat, on_paths, runs)


def _along(part: Array, stream: Stream, path: paths.Path) -> tuple[Array, Array]:
    """Return the symbols of indices and the states before them. Raises CodecError where they don't follow the path."""
    if path.way == paths.NO_PATH:
        return part, np.zeros(stream.count, np.uint8)
    found = paths.symbols_along(paths.turned(part, stream, path.way), stream, path)
    if found is None:
        raise CodecError("indices don't follow a trellis; the delta is damaged")
    return found


def _mixing(choices: memoryview, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes:
    parts, used = _used(parts, streams)
    if not used:
        return b""
    reader = ByteReader(choices, CodecError)
    lanes, symbols = read_mixing_parameters(reader, used)
    reader.end()
    if not 0 < lanes <= sum(stream.count for stream in used):
        raise CodecError(_DAMAGED)
    found = [_along(part, stream, s.path) for part, stream, s in zip(parts, used, symbols, strict=True)]
    if any(int(states[0]) != s.path.start for (_, states), s in zip(found, symbols, strict=True)):
        raise CodecError(_DAMAGED)
    return bytes(choices) + mixed(symbols, [part for part, _ in found], lanes)


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
    Context.id: _Form(_front(read_parameters), _context),
    Trellis.id: _Form(_front(_trellis_front), _trellis),
    Mixing.id: _Form(_front(read_mixing_parameters), _mixing),
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
