"""Code a section as its difference from the base: the payload of a delta, and the section's payload out of it."""

from collections.abc import Sequence

import numpy as np

from qacomp.formats.budget import Budget, check_expansion
from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.codecs import Stream
from qacomp.formats.codecs.base import Array, Codec, word_dtype
from qacomp.formats.codecs.codebooks import ascending, descending, fold, unfold
from qacomp.formats.codecs.planes import Planes
from qacomp.formats.deltas.changes import (
    SETTINGS,
    SYMBOL_WORK,
    ChangeDecoder,
    ChangeEncoder,
    Predicted,
    Symbols,
    best_setting,
)
from qacomp.formats.deltas.prediction import (
    BY_VALUE,
    MOST_FORM,
    NO_BASE,
    SHIFTED,
    Base,
    finite,
    folded,
    predicted,
    shift_of,
    unfolded,
)
from qacomp.formats.deltas.rebuilding import choices_of, rebuilding_work, rebuilt
from qacomp.formats.deltas.sections import SectionContents, StreamPart
from qacomp.formats.errors import CodecError
from qacomp.formats.limits import SECTION_FLOOR, Limits

_FOOTPRINT = 64  # bytes of memory for each symbol
_UNSIGNED = {1: 1, 2: 3, 4: 5, 8: 7}  # the id of the unsigned element type of so many bytes


def difference(place: int, new: SectionContents, base: Base, planes: Codec) -> bytes | None:
    """Return the difference of a section from the base; None if it can't be made again from one.

    planes: the codec planes, perhaps without zstd, with which differences of values are stored.
    """
    parts = [new.with_parents(part) for part in new.parts(place) if part.stream.count]
    if not parts:
        return None
    codec, stored = new.container.header.sections[place].codec, new.container.stored(place)
    streams, symbols = [part.stream for part in parts], [new.symbols(part) for part in parts]
    choices = choices_of(codec, stored, streams)
    if choices is None or rebuilt(codec, memoryview(choices), symbols, streams) != stored:
        return None
    out = ByteWriter()
    out.uint(len(choices))
    out.raw(choices)
    if parts[0].is_indices:
        _write_indices(out, parts, [found.astype(np.int32) for found in symbols], new, base)
    else:
        _write_values(out, parts, symbols, base, planes)
    return bytes(out.buffer)


def restored(
    payload: memoryview, place: int, new: SectionContents, base: Base, budget: Budget, limits: Limits
) -> bytes:
    """Return the payload of a section of the new container from its difference. Raises a FormatError."""
    parts = [new.with_parents(part) for part in new.parts(place) if part.stream.count]
    streams = [part.stream for part in parts]
    if not parts:
        raise CodecError("a section without tensors has a difference; the delta is damaged")
    codec, count = new.container.header.sections[place].codec, sum(stream.count for stream in streams)
    known = sum(part.stream.count for part in parts if base.of(part) is not None)
    check_expansion(f"section {place}", len(payload) + known, _FOOTPRINT * count, SECTION_FLOOR, limits.expansion)
    reader = ByteReader(payload, CodecError)
    choices = reader.raw(reader.uint(len(payload)))
    budget.spend(place, count * SYMBOL_WORK + rebuilding_work(codec, choices, streams))
    symbols = _read_indices(reader, parts, new, base) if parts[0].is_indices else _read_values(reader, parts, base)
    return rebuilt(codec, choices, symbols, streams)


def _write_indices(
    out: ByteWriter, parts: Sequence[StreamPart], symbols: Sequence[Symbols], new: SectionContents, base: Base
) -> None:
    forms: list[int] = []
    given: list[Predicted | None] = []
    for part, found in zip(parts, symbols, strict=True):
        form = NO_BASE
        best: Predicted | None = None
        for tried in _forms(part, new, base):
            found_by = predicted(part, base, new.container, tried)
            if best is None or _differing(found, found_by) < _differing(found, best):
                form, best = tried, found_by
        forms.append(form)
        given.append(best)
    pairs = [(found, expected) for found, expected in zip(symbols, given, strict=True) if expected is not None]
    setting = best_setting([found for found, _ in pairs], [expected for _, expected in pairs])
    out.uint(setting)
    for form in forms:
        out.uint(form)
    encoder = ChangeEncoder(setting)
    for part, found, expected in zip(parts, symbols, given, strict=True):
        if expected is None:
            encoder.add_alone(found, part.stream.alphabet)
        else:
            encoder.add(found, expected)
    out.raw(encoder.finish())


def _forms(part: StreamPart, new: SectionContents, base: Base) -> list[int]:
    """Return the forms to try for a stream of indices; none if the base has nothing that predicts it."""
    if base.of(part) is None:
        return []
    forms, own = [], base.indices(part)
    if own is not None:
        whole = new.indices(part.record.name, part.target)[part.start : part.stop].astype(np.int32)
        forms = [SHIFTED, SHIFTED + folded(shift_of(whole, own))]
    return [*forms, BY_VALUE] if finite(base, part, new.container) else forms


def _differing(symbols: Symbols, given: Predicted) -> float:
    """Return about how many bits the differences take: some for each, and more for large ones."""
    moves = np.abs(symbols - given.symbols)
    return float(4 * np.count_nonzero(moves) + 2 * np.log2(1.0 + moves).sum())


def _read_indices(reader: ByteReader, parts: Sequence[StreamPart], new: SectionContents, base: Base) -> list[Array]:
    setting = reader.uint(SETTINGS - 1)
    forms = [reader.uint(MOST_FORM) for _ in parts]
    decoder, symbols = ChangeDecoder(reader.raw(reader.rest()), setting), []
    for part, form in zip(parts, forms, strict=True):
        if form == NO_BASE:
            found = decoder.next_alone(part.stream.count, part.stream.alphabet)
        else:
            found = decoder.next(predicted(_known(part, base), base, new.container, form))
        symbols.append(found.astype(word_dtype(part.stream)))
    return symbols


def _known(part: StreamPart, base: Base) -> StreamPart:
    if base.of(part) is None:
        raise CodecError(f"the base has nothing that predicts {part.record.name[:80]!r}; the delta is damaged")
    return part


def _write_values(
    out: ByteWriter, parts: Sequence[StreamPart], symbols: Sequence[Array], base: Base, planes: Codec
) -> None:
    moved = []
    for part, found in zip(parts, symbols, strict=True):
        best, form = _moved(found, None, part.stream), NO_BASE
        if base.of(part) is not None:
            one = part.level >= 0 and part.record.blocks is None
            tried = {s: _moved(found, base.values(part, s), part.stream) for s in ((0, -1, 1) if one else (0,))}
            shift = min(tried, key=lambda s: _size(tried[s]))
            if _size(tried[shift]) < _size(best):
                best, form = tried[shift], 1 + folded(shift)
        out.uint(form)
        moved.append(best)
    coded = planes.encode(moved, [_unsigned(part.stream) for part in parts])
    assert coded is not None
    out.raw(coded)


def _read_values(reader: ByteReader, parts: Sequence[StreamPart], base: Base) -> list[Array]:
    forms = [reader.uint(MOST_FORM) for _ in parts]
    moved = Planes().decode(reader.raw(reader.rest()), [_unsigned(part.stream) for part in parts])
    found = []
    for part, form, rest in zip(parts, forms, moved, strict=True):
        own = None if form == NO_BASE else base.values(_known(part, base), unfolded(form - 1))
        found.append(_back(rest, own, part.stream))
    return found


def _unsigned(stream: Stream) -> Stream:
    return Stream("values", stream.count, 0, _UNSIGNED[word_dtype(stream).itemsize])


def _moved(words: Array, own: Array | None, stream: Stream) -> Array:
    """Return the differences of ordered words, folded: 0, -1, 1, ... become 0, 1, 2, ...; without a base the words."""
    ordered = ascending(words, stream.dtype)
    return ordered if own is None else fold(ordered - ascending(own, stream.dtype))


def _back(rest: Array, own: Array | None, stream: Stream) -> Array:
    """Return the words of `_moved`."""
    return descending(rest if own is None else unfold(rest) + ascending(own, stream.dtype), stream.dtype)


def _size(rest: Array) -> float:
    return float(np.log2(1.0 + rest.astype(np.float64)).sum())
