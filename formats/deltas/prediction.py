"""Predict the tensors of a new container by those of the same name in its base."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs.base import Array
from qacomp.formats.container import Container
from qacomp.formats.deltas.changes import Predicted, Symbols
from qacomp.formats.deltas.sections import SectionContents, StreamPart, first_children
from qacomp.formats.dtypes import BFLOAT16, bfloat16_to_float32
from qacomp.formats.errors import CodecError
from qacomp.formats.records import DENSE, SHARED, TensorRecord

NO_BASE, BY_VALUE, SHIFTED = 0, 1, 2
"""The forms of a stream of indices: not predicted, by the nearest value, or by the index: SHIFTED + the folded shift.

The forms of a stream of values: NO_BASE, or 1 + the folded shift."""
MOST_FORM = SHIFTED + 2 * 65_536


class Base:
    """The container that a delta starts from."""

    def __init__(self, container: Container) -> None:
        self.contents = SectionContents(container)
        self._names = frozenset(container.names)

    def of(self, part: StreamPart) -> TensorRecord | None:
        """Return the record of the base's tensor that can predict a stream; None if there is none."""
        if part.record.name not in self._names:
            return None
        own, _ = self.contents.container.content(part.record.name)
        if part.is_indices:
            return own if own.shape == part.record.shape else None
        if own.stored != part.record.stored or own.blocks != part.record.blocks:
            return None
        if part.level < 0:
            return own if own.kind == DENSE and own.count == part.record.count else None
        if own.kind != SHARED or len(own.levels) != len(part.record.levels):
            return None
        same = own.blocks is None or (own.books, own.levels) == (part.record.books, part.record.levels)
        return own if same else None

    def indices(self, part: StreamPart) -> Array | None:
        """Return the base's indices at the places of a stream (n,); None if its tensor isn't shared."""
        own = self.of(part)
        if own is None or own.kind != SHARED:
            return None
        return self.contents.indices(part.record.name, _level(part, own))[part.start : part.stop]

    def dense(self, part: StreamPart) -> NDArray[np.float64]:
        """Return the base's values at the places of a stream of indices (n,)."""
        own = self.of(part)
        assert own is not None
        return _wide(self.contents.dense(part.record.name, _level(part, own))[part.start : part.stop])

    def values(self, part: StreamPart, shift: int) -> Array:
        """Return the base's words that predict a stream of values: with a shift, entry k is predicted by k + shift."""
        found = self.contents.values(part.record.name, part.level)
        if part.level < 0 or part.record.blocks is not None:
            if shift:
                raise CodecError("a shift is only for one codebook; the delta is damaged")
            return found[part.start : part.stop]
        return found.take(np.clip(np.arange(part.stream.count) + shift, 0, len(found) - 1))


def predicted(part: StreamPart, base: Base, new: Container, form: int) -> Predicted:
    """Return what a form tells of a stream of indices before its symbols. Raises CodecError for a form that can't be.

    part: with parents, if it is a refinement; new: the new container, of which the codebooks are read.
    """
    record = part.record
    size = record.levels[part.target]
    if form == BY_VALUE:
        if record.blocks is not None:
            raise CodecError("codebooks in blocks aren't compared by value; the delta is damaged")
        found: Symbols = nearest(base.dense(part), new.codebook(record.name, part.target)).astype(np.int32)
    else:
        own = base.indices(part)
        if own is None:
            raise CodecError(f"{record.name[:80]!r} has no indices in the base; the delta is damaged")
        found = np.clip(own.astype(np.int32) + unfolded(form - SHIFTED), 0, size - 1).astype(np.int32)
    most = np.full(len(found), size - 1, np.int32)
    if part.stream.parents is not None:
        parents = part.stream.parents
        most = (np.asarray(part.stream.children) - 1).astype(np.int32).take(parents)
        found = np.clip(found - first_children(part).take(parents), 0, most).astype(np.int32)
    return Predicted(found, most, math.prod(record.shape[1:]) if len(record.shape) > 1 else 0)


def nearest(values: NDArray[np.float64], book: NDArray[Any]) -> NDArray[np.intp]:
    """Return for each value (n,) the index of the nearest one in a codebook.

    Of two that are equally near it is the smaller value, of equal values the first. Raises CodecError for values that
    aren't finite.
    """
    distinct, first = np.unique(_wide(book), return_index=True)
    if not (np.isfinite(values).all() and np.isfinite(distinct).all()):
        raise CodecError("values that aren't finite aren't compared; the delta is damaged")
    right = np.clip(np.searchsorted(distinct, values), 0, len(distinct) - 1)
    left = np.maximum(right - 1, 0)
    lower = np.abs(values - distinct[left]) <= np.abs(distinct[right] - values)
    return first[np.where(lower, left, right)]


def folded(shift: int) -> int:
    """Return a signed integer as 0, 1, 2, ... for 0, -1, 1, ..."""
    return 2 * shift if shift >= 0 else -2 * shift - 1


def unfolded(number: int) -> int:
    """Return the signed integer of `folded`."""
    return -(number + 1) // 2 if number & 1 else number // 2


def finite(base: Base, part: StreamPart, new: Container) -> bool:
    """Return whether a stream of indices can be predicted by value."""
    if part.record.blocks is not None or base.of(part) is None:
        return False
    books = base.dense(part), _wide(new.codebook(part.record.name, part.target))
    return all(bool(np.isfinite(book).all()) for book in books)


def shift_of(symbols: Symbols, own: Array) -> int:
    """Return the commonest difference between new indices and the base's; 0 for none."""
    if not symbols.size:
        return 0
    moves = symbols.astype(np.int64) - own
    low = int(moves.min())
    return int(np.bincount(moves - low).argmax()) + low


def _level(part: StreamPart, own: TensorRecord) -> int:
    """Return the level of the base's tensor that predicts a stream; -1 if it has none."""
    finest = len(own.levels) - 1
    return finest if part.record.at_once or len(part.record.levels) == 1 else min(part.target, finest)


def _wide(book: NDArray[Any]) -> NDArray[np.float64]:
    return (bfloat16_to_float32(book) if book.dtype == BFLOAT16 else book).astype(np.float64)
