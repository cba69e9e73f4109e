"""Round matrices on a trellis of eight states, with error compensation: each state may use every second multiple.

A state belongs to one of two quantizers: the even multiples of a step, or zero and the odd ones (see
`qacomp.formats.codecs.trellispaths`). The multiples that cost least, in output error and bits, are found by Viterbi's
algorithm along the inputs. Each survivor carries its own compensated weights through a block of inputs; then the best
one is taken, and the weights of later inputs are corrected once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs.trellispaths import NEXT, STATES

_BLOCK = 64  # inputs after which the best survivor is taken
_ROWS = 1024  # that are rounded together: more of them don't fit into a cache
_BANDS, _NARROWEST, _WIDEST = 16, 4, 32  # of rows whose errors don't compensate each other: see `_band`
_PRICE = 0.02  # of a bit, in squared steps; a higher price gives more error at equal bytes (benchmark `trellis`)
_UNLIKELY = 0.05  # times that an integer that doesn't occur counts as having occurred
HELD = 1.0
"""Tells what keeping a base's multiple is worth, in squared steps. On a uniform grid, whose steps are larger, it is
worth the same error (`qacomp.sharing.base.HELD`, and `FINER` of trellis_form.py)."""
_FAR = 1e30
_QUANTIZER = np.arange(STATES) & 1
_INTO = [[(s, p) for s in range(STATES) for p in (0, 1) if NEXT[2 * s + p] == t] for t in range(STATES)]
_FROM, _PARITY = np.array(_INTO).transpose(2, 1, 0)  # (2, states): of the two ways into each state


@dataclass(frozen=True)
class ScaledRows:
    """Rows of one matrix to round. weights: (rows, n) in steps; upper: (n, n), how an input's errors change later ones.

    upper has ones on its diagonal; power: (n,), the output error of an error of one step, 1 on average. Both are None
    without compensation. most: the largest absolute value of a symbol. before: (rows, n), the multiples of a base,
    which paths rather keep; None without one.
    """

    weights: NDArray[np.float64]
    upper: NDArray[np.float64] | None
    power: NDArray[np.float64] | None
    most: int
    before: NDArray[np.float64] | None = None


def on_trellis(rows: ScaledRows, outputs: NDArray[np.float64] | None = None) -> NDArray[np.int64]:
    """Return the multiples (rows, n) of the step; each row is a path from state 0. A weight of zero stays zero.

    outputs: (rows, rows), the upper Cholesky factor of G⁻¹, with G the second moment of gradients at the outputs, as in
    two_sided.py; errors of a band of rows then compensate those of later bands too.
    """
    bits, size = _PRICE * _bits(rows), _ROWS if outputs is None else _band(len(rows.weights))
    left, found = rows.weights.copy(), np.empty(rows.weights.shape, np.int64)
    for start in range(0, len(left), size):
        band = slice(start, start + size)
        found[band] = _rounded(rows, band, left[band], bits)
        if outputs is not None:
            errors = np.linalg.solve(outputs[band, band].T, left[band] - found[band])
            left[band.stop :] -= outputs[band, band.stop :].T @ errors
    return found


def _band(rows: int) -> int:
    """Return the rows of a band. With fewer rounding takes longer; with more, less of the errors is compensated.

    By the spectra of a sentence encoder, with outputs of 384 and 1,536 values, bands of 32 lose little beside single
    rows.
    """
    return min(_WIDEST, max(_NARROWEST, rows // _BANDS))


def is_path(multiples: NDArray[np.integer]) -> bool:
    """Return whether each row of multiples (rows, n) is a path from state 0."""
    state = np.zeros(len(multiples), np.int64)
    for column in multiples.T:
        doubled = column + np.sign(column) * (state & 1)
        if (doubled & 1).any():
            return False
        state = NEXT.take(2 * state + (doubled >> 1 & 1)).astype(np.int64)
    return True


def _bits(rows: ScaledRows) -> NDArray[np.float64]:
    """Return the bits of each symbol under each quantizer, (2, 2 · most + 1), estimated from plain rounding."""
    found = []
    size, sign = np.abs(rows.weights), np.sign(rows.weights)
    odd = np.where(size < 0.5, 0.0, np.maximum(np.rint((size + 1) / 2), 1.0))
    for symbols in (np.rint(size / 2), odd):
        near = np.clip(sign * symbols, -rows.most, rows.most).astype(np.int64).reshape(-1) + rows.most
        counts = np.bincount(near, minlength=2 * rows.most + 1) + _UNLIKELY
        found.append(-np.log2(counts / counts.sum()))
    return np.stack(found)


def _rounded(
    whole: ScaledRows, band: slice, wanted: NDArray[np.float64], bits: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the multiples of a band of rows; bits: the price of each symbol under each quantizer.

    wanted: the rows' weights, after what errors of rows before them changed.
    """
    weights = whole.weights[band]
    left, count = wanted.copy(), weights.shape[1]
    found = np.empty(weights.shape, np.int64)
    state = np.zeros(len(weights), np.int64)
    for first in range(0, count, _BLOCK):
        last = min(first + _BLOCK, count)
        upper = None if whole.upper is None else whole.upper[first:last, first:last]
        power = np.ones(last - first) if whole.power is None else whole.power[first:last]
        before = None if whole.before is None else whole.before[band, first:last]
        block = _Block(left[:, first:last], weights[:, first:last] != 0, upper, power, before)
        found[:, first:last], state = block.rounded(state, bits, whole.most)
        if whole.upper is not None and last < count:
            errors = _errors(left[:, first:last], found[:, first:last], whole.upper[first:last, first:last])
            left[:, last:] -= errors @ whole.upper[first:last, last:]
    return found


def _errors(left: NDArray[np.float64], found: NDArray[np.int64], upper: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the error (rows, block) of each input, which corrected the later ones of its block."""
    left, errors = left.copy(), np.empty(left.shape)
    for j in range(left.shape[1]):
        errors[:, j] = left[:, j] - found[:, j]
        left[:, j + 1 :] -= errors[:, j, None] * upper[j, j + 1 :]
    return errors


@dataclass(frozen=True)
class _Block:
    """A block of inputs. left: (rows, block) weights in steps; free: False for those that stay zero."""

    left: NDArray[np.float64]
    free: NDArray[np.bool_]
    upper: NDArray[np.float64] | None
    power: NDArray[np.float64]
    before: NDArray[np.float64] | None

    def rounded(
        self, state: NDArray[np.int64], bits: NDArray[np.float64], most: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the multiples (rows, block) of the best paths from these states, and the states after them."""
        rows, size = self.left.shape
        cost = np.full((rows, STATES), _FAR)
        cost[np.arange(rows), state] = 0.0
        survivors = np.repeat(self.left[:, None, :], STATES, axis=1)  # (rows, states, block)
        came, took = np.empty((size, rows, STATES), np.int8), np.empty((size, rows, STATES), np.int16)
        base = (np.arange(rows) * STATES)[:, None]
        for j in range(size):
            costs, symbols = _candidates(survivors[:, :, j], self.power[j], bits, most)
            if self.before is not None:
                kept = np.where(self.free[:, j], self.before[:, j], 0.0)[:, None]
                error = (survivors[:, :, j] - kept) ** 2 * self.power[j]
                _keep(costs, symbols, kept, error, bits)
            costs[1][~self.free[:, j]] = _FAR
            symbols[0][~self.free[:, j]] = 0
            one, other = (cost[:, s] + costs[p, :, s].T for s, p in zip(_FROM, _PARITY, strict=True))
            first = one <= other
            cost = np.where(first, one, other)
            before = np.where(first, _FROM[0], _FROM[1])
            symbol = np.where(first, symbols[_PARITY[0], :, _FROM[0]].T, symbols[_PARITY[1], :, _FROM[1]].T)
            came[j], took[j] = before, symbol
            if self.upper is not None and j + 1 < size:
                moved = survivors.reshape(rows * STATES, size)[:, j:].take((base + before).reshape(-1), axis=0)
                moved = moved.reshape(rows, STATES, size - j)
                error = moved[:, :, 0] - _multiples(symbol, _QUANTIZER[before])
                survivors[:, :, j + 1 :] = moved[:, :, 1:] - error[..., None] * self.upper[j, j + 1 :]
        return _traced(cost.argmin(1), came, took)


def _multiples(symbols: NDArray[np.float64], quantizers: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the multiples of the step that symbols stand for."""
    found: NDArray[np.float64] = 2 * symbols - np.sign(symbols) * quantizers
    return found


def _candidates(
    wanted: NDArray[np.float64], power: float, bits: NDArray[np.float64], most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the best symbol of each parity at each row and state: costs and symbols, both (2, rows, states)."""
    wide = (wanted + np.sign(wanted) * _QUANTIZER) / 2
    near = np.clip(np.rint(wide), -most, most)
    other = near + np.where(wide >= near, 1.0, -1.0)
    beyond = np.abs(other) > most
    other[beyond] = near[beyond] - np.sign(near[beyond])  # of the other parity too
    odd = (near.astype(np.int64) & 1).astype(bool)
    symbols = np.stack([np.where(odd, other, near), np.where(odd, near, other)])
    prices = bits.reshape(-1).take(symbols.astype(np.int64) + (_QUANTIZER * bits.shape[1] + most))
    costs = (wanted - _multiples(symbols, _QUANTIZER)) ** 2 * power + prices
    zero = wanted**2 * power + bits[_QUANTIZER, most]
    better = zero < costs[0]
    costs[0], symbols[0] = np.where(better, zero, costs[0]), np.where(better, 0.0, symbols[0])
    return costs, symbols


def _keep(
    costs: NDArray[np.float64],
    symbols: NDArray[np.float64],
    before: NDArray[np.float64],
    error: NDArray[np.float64],
    bits: NDArray[np.float64],
) -> None:
    """Put the base's multiples (rows, 1) among the candidates, in place, where a state has them and they cost least.

    error: (rows, states), what they cost but for their bits. A path that leaves the base's comes back by itself where
    states meet again.
    """
    most = bits.shape[1] // 2
    doubled = before + np.sign(before) * _QUANTIZER
    kept = np.clip(np.floor(doubled / 2), -most, most)
    cost = error + bits.reshape(-1).take(kept.astype(np.int64) + (_QUANTIZER * bits.shape[1] + most)) - HELD
    for parity in (0, 1):
        better = (doubled == 2 * kept) & (kept % 2 == parity) & (cost < costs[parity])
        costs[parity] = np.where(better, cost, costs[parity])
        symbols[parity] = np.where(better, kept, symbols[parity])


def _traced(
    last: NDArray[np.intp], came: NDArray[np.int8], took: NDArray[np.int16]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the multiples (rows, block) of the paths that end in the states `last`, and these states."""
    size, rows, _ = came.shape
    found, row = np.empty((rows, size), np.int64), np.arange(rows)
    state = last.astype(np.int64)
    for j in range(size - 1, -1, -1):
        symbols = took[j, row, state].astype(np.int64)
        state = came[j, row, state].astype(np.int64)
        found[:, j] = _multiples(symbols, state & 1)
    return found, last.astype(np.int64)
