"""Follow indices along a trellis of eight states, and turn them into the symbols of the codec trellis and back.

A state belongs to one of two quantizers: the even multiples of a step, or zero and the odd ones. A symbol q stands for
the multiple 2q, or 2q - sgn(q) in the second quantizer; its parity leads to the next state. Trellis-coded quantization
is Marcellin and Fischer (1990); the transitions are those of dependent quantization in video coding (ISO/IEC 15938-17
has the smaller trellis of four states).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs.base import Array, Stream, word_dtype

_AFTER_EVEN = (0, 5, 1, 6, 2, 4, 3, 7)
NEXT = np.array([[state, state ^ 2] for state in _AFTER_EVEN], np.uint8).reshape(-1)
"""The next state, by 2 * state + parity of the symbol; a state's quantizer is its lowest bit."""
STATES = len(_AFTER_EVEN)
NO_PATH, ALONG_FIRST, FROM_SECOND, FROM_THIRD = 0, 1, 2, 3
"""Ways of a stream: no path; rows along the first axis, for which the tensor is transposed; rows of all values with
one index of the first axis, or with one of the first and one of the second."""
_EVIDENT = 16
"""Values under the second quantizer, and not zero, that tell a path: others have so many by chance once in 2^16."""
_CENTRES = 4  # the commonest indices that are tried as that of zero


@dataclass(frozen=True)
class Paths:
    """The rows of all streams of a payload, one stream after the other.

    on: (streams,) which of them are paths; odd: (streams,) the parity of the symbol of zero; fresh: (count,) where a
    row starts, and all of a stream without a path; starts: (lanes,) the states of lanes at their first symbols, for a
    decoder; states: (count,), for an encoder.
    """

    on: NDArray[np.bool_]
    odd: NDArray[np.uint8]
    fresh: NDArray[np.bool_]
    starts: NDArray[np.uint8]
    states: NDArray[np.uint8]


@dataclass(frozen=True)
class Path:
    """Hold how a stream follows the trellis. way: see above; centre: the index of zero; start: the state before it."""

    way: int
    centre: int
    start: int = 0


def row_length(stream: Stream, way: int) -> int:
    """Return the number of values of a row; 0 without a path."""
    if way == NO_PATH:
        return 0
    if way == ALONG_FIRST:
        return stream.count // math.prod(stream.shape[1:])
    return math.prod(stream.shape[way - 1 :])


def fits(stream: Stream, way: int) -> bool:
    """Return whether a stream with values may have this way: only whole rows are transposed."""
    if way == ALONG_FIRST and len(stream.shape) > 1:
        whole = math.prod(stream.shape[1:])
        return stream.start % whole == 0 and stream.count % whole == 0
    return way == NO_PATH or len(stream.shape) > 1


def symbol_stream(stream: Stream, path: Path) -> Stream:
    """Return the stream of a path's symbols: fewer of them, and transposed if rows are along the first axis."""
    if path.way == NO_PATH:
        return stream
    alphabet = centre_of(path) + (stream.alphabet - path.centre) // 2 + 1
    if path.way > ALONG_FIRST:
        return replace(stream, alphabet=alphabet)
    length = row_length(stream, path.way)
    return replace(stream, alphabet=alphabet, shape=(stream.count // length, length), start=0)


def centre_of(path: Path) -> int:
    """Return the symbol of zero."""
    return path.centre if path.way == NO_PATH else (path.centre + 1) // 2


def turned(part: Array, stream: Stream, way: int) -> Array:
    """Return a stream's values in the order in which the codec codes them."""
    if way != ALONG_FIRST:
        return part
    return np.ascontiguousarray(part.reshape(row_length(stream, way), -1).T).reshape(-1)


def turned_back(part: Array, stream: Stream, way: int) -> Array:
    """Return values in the stream's own order: the inverse of `turned`."""
    if way != ALONG_FIRST:
        return part
    return np.ascontiguousarray(part.reshape(-1, row_length(stream, way)).T).reshape(-1)


def fresh_of(stream: Stream, way: int) -> NDArray[np.bool_]:
    """Return (count,) where rows start; everywhere without a path."""
    length = row_length(stream, way)
    if way == NO_PATH:
        return np.ones(stream.count, bool)
    found = np.zeros(stream.count, bool)
    found[-_skipped(stream, way) % length :: length] = True
    return found


def _skipped(stream: Stream, way: int) -> int:
    """Return how many values of its first row a stream lacks."""
    return 0 if way == ALONG_FIRST else stream.start % row_length(stream, way)


def _rows(part: Array, skipped: int, length: int) -> Array:
    """Return values as whole rows (rows, length), filled up with zeros in front of them and behind them."""
    rows = -(-(skipped + part.size) // length)
    table = np.zeros(rows * length, part.dtype)
    table[skipped : skipped + part.size] = part
    return table.reshape(rows, length)


def walked(symbols: Array, stream: Stream, path: Path) -> NDArray[np.uint8]:
    """Return the state before each symbol, (count,), in the codec's order; 0 without a path."""
    if path.way == NO_PATH or not symbols.size:
        return np.zeros(symbols.size, np.uint8)
    odd = ((symbols ^ centre_of(path)) & 1).astype(np.uint8)
    return np.concatenate([_states(odd[run.part], run) for run in _runs(symbols.size, stream, path)])


@dataclass(frozen=True)
class _Run:
    """Values that follow each other. part: which ones; skipped: places of their first row before them; length: of a
    row; start: the state before the first one.
    """

    part: slice
    skipped: int
    length: int
    start: int


def _runs(count: int, stream: Stream, path: Path) -> list[_Run]:
    """Return all values as one run of rows; fewer than a row as runs of their own length, without what isn't there."""
    length, skipped = row_length(stream, path.way), _skipped(stream, path.way)
    if count >= length:
        return [_Run(slice(0, count), skipped, length, path.start)]
    first = min(length - skipped, count)
    found = [_Run(slice(0, first), 0, first, path.start)]
    return found if first == count else [*found, _Run(slice(first, count), 0, count - first, 0)]


def _states(odd: NDArray[np.uint8], run: _Run) -> NDArray[np.uint8]:
    """Return the state before each value of a run, from the parities of their symbols."""
    columns = _rows(odd, run.skipped, run.length).T  # (length, rows)
    states = np.empty(columns.shape, np.uint8)
    state = np.zeros(columns.shape[1], np.uint8)
    for j, parity in enumerate(np.ascontiguousarray(columns)):
        if j == run.skipped:
            state[0] = run.start
        states[j] = state
        state = NEXT.take(2 * state + parity)
    return np.ascontiguousarray(states.T).reshape(-1)[run.skipped : run.skipped + odd.size]


def indices_of(symbols: Array, states: NDArray[np.uint8], stream: Stream, path: Path) -> Array:
    """Return the indices that symbols stand for, in the codec's order; those beyond the codebook are beyond it here."""
    if path.way == NO_PATH:
        return symbols.astype(word_dtype(stream), copy=False)
    away = symbols.astype(np.int32) - centre_of(path)
    found = path.centre + 2 * away - np.sign(away) * (states & 1)
    return np.where(found < 0, stream.alphabet, found)


def found_path(part: Array, stream: Stream) -> tuple[Path, Array, NDArray[np.uint8]] | None:
    """Return a stream's path, its symbols and the states before them, in the codec's order; None if it has no path."""
    if stream.parents is not None or stream.children or part.size < _EVIDENT:
        return None
    for way in (FROM_SECOND, ALONG_FIRST, FROM_THIRD):
        if not fits(stream, way) or (length := row_length(stream, way)) < 2:
            continue
        skipped = _skipped(stream, way)
        first = part[: part.size // length] if way == ALONG_FIRST else part[-skipped % length :: length]
        if first.size and (first & 1 != first[0] & 1).any():  # state 0 has even multiples only
            continue
        indices = turned(part, stream, way)
        for centre in _likely(part, int(first[0]) & 1 if first.size else None):
            for start in range(STATES if skipped else 1):
                path = Path(way, centre, start)
                found = symbols_along(indices, stream, path)
                if found is not None and _evident(indices, found[1], centre):
                    return path, *found
    return None


def follows(indices: Array) -> bool:
    """Return whether the indices of a whole tensor follow a trellis along its rows."""
    alphabet = int(indices.max(initial=0)) + 1
    return found_path(indices.reshape(-1), Stream("indices", indices.size, alphabet, shape=indices.shape)) is not None


def _likely(part: Array, parity: int | None) -> Sequence[int]:
    """Return the indices that are most likely zero's: the commonest ones, of this parity if it is known."""
    order = np.argsort(-np.bincount(part), kind="stable")
    return [int(index) for index in order if parity is None or index & 1 == parity][:_CENTRES]


def _evident(indices: Array, states: NDArray[np.uint8], centre: int) -> bool:
    """Return whether indices don't follow a trellis by chance."""
    return int(np.count_nonzero((states & 1).astype(bool) & (indices != centre))) >= _EVIDENT


def symbols_along(indices: Array, stream: Stream, path: Path) -> tuple[Array, NDArray[np.uint8]] | None:
    """Return the symbols of turned indices along a path, and the states before them; None if they don't follow it."""
    multiples, found = indices.astype(np.int32) - path.centre, []
    for run in _runs(indices.size, stream, path):
        along = _doubled(multiples[run.part], run)
        if along is None:
            return None
        found.append(along)
    symbols = np.concatenate([doubled for doubled, _ in found]) // 2 + centre_of(path)
    before = np.concatenate([states for _, states in found])
    return symbols.astype(np.uint8 if symbols.max() < 256 else np.uint16), before


def _doubled(multiples: NDArray[np.int32], run: _Run) -> tuple[NDArray[np.int32], NDArray[np.uint8]] | None:
    """Return twice the symbols of a run, less twice the centre, and the states; None if they don't follow the path."""
    columns = np.ascontiguousarray(_rows(multiples, run.skipped, run.length).T)
    doubled, states = np.empty(columns.shape, np.int32), np.empty(columns.shape, np.uint8)
    state = np.zeros(columns.shape[1], np.uint8)
    for j, column in enumerate(columns):
        if j == run.skipped:
            state[0] = run.start
        states[j] = state
        here = column + np.sign(column) * (state & 1)
        if (here & 1).any():
            return None
        doubled[j] = here
        state = NEXT.take(2 * state + (here >> 1 & 1).astype(np.uint8))
    span = slice(run.skipped, run.skipped + multiples.size)
    return np.ascontiguousarray(doubled.T).reshape(-1)[span], np.ascontiguousarray(states.T).reshape(-1)[span]
