"""Round matrices so that errors compensate each other along inputs and along outputs.

Errors E of a weight move the outputs of the whole network by trace(G E H Eᵀ). H is the second moment of the operator's
inputs, and G that of gradients at its outputs. Rounding one weight corrects those in later columns, in later rows, and
in both. It is Babai's nearest plane algorithm in that lattice. YAQA (Tseng et al.,
2025) rounds language models so.

A weight depends on those that lie before it in its row and in its column, so all weights on an antidiagonal are rounded
together: first those of the tiles on an antidiagonal, in turn, then the next tiles. Corrections from other tiles are
matrix products.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TILE = 32  # rows and inputs of a tile: of 16, 32 and 64 the fastest for matrices of 384 × 1536

Round = Callable[[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]], NDArray[np.float64]]
"""Returns the integers of multiples of steps, given with their rows and inputs."""


@dataclass(frozen=True)
class Factors:
    """The upper Cholesky factors of G⁻¹, (rows, rows), and of H⁻¹, (n, n); steps: (n,) of each input."""

    outputs: NDArray[np.float64]
    inputs: NDArray[np.float64]
    steps: NDArray[np.float64]

    def padded(self) -> "Factors":
        """Return factors of whole tiles: what is added predicts nothing, and has steps of 1."""
        steps = np.ones(_whole(self.steps.size))
        steps[: self.steps.size] = self.steps
        return Factors(_padded(self.outputs), _padded(self.inputs), steps)


def compensated_both_ways(weights: NDArray[np.float64], factors: Factors, nearest: Round) -> NDArray[np.int64]:
    """Return integers (rows, n): multiples of each input's step, whose errors compensate each other.

    weights: (rows, n); nearest: rounds multiples to integers.
    """
    rows, count = weights.shape
    whole = factors.padded()
    height, width = len(whole.outputs), len(whole.inputs)
    found, wanted = np.zeros((height, width), np.int64), np.zeros((height, width))
    wanted[:rows, :count] = weights
    moved = np.zeros((height, width))  # errors times the factor of the inputs, of the tiles that are done

    def inside(multiples: NDArray[np.float64], i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.float64]:
        integers = nearest(multiples, np.minimum(i, rows - 1), np.minimum(j, count - 1))
        return np.where((i < rows) & (j < count), integers, 0)

    down, across = height // _TILE, width // _TILE
    for diagonal in range(down + across - 1):
        tops = np.arange(max(0, diagonal - across + 1), min(down, diagonal + 1)) * _TILE
        lefts = diagonal * _TILE - tops
        places = [
            (slice(t, t + _TILE), slice(n, n + _TILE)) for t, n in zip(tops.tolist(), lefts.tolist(), strict=True)
        ]
        values = np.stack(
            [wanted[i, j] - whole.outputs[: i.stop, i].T @ moved[: i.stop, j] for i, j in places]
        )  # (tiles, _TILE, _TILE)
        integers, errors = _tiles(values, (tops, lefts), whole, inside)
        for (i, j), own, error in zip(places, integers, errors, strict=True):
            found[i, j] = own
            moved[i, j.start :] += error @ whole.inputs[j, j.start :]
    return found[:rows, :count]


def _tiles(
    values: NDArray[np.float64], starts: tuple[NDArray[np.intp], NDArray[np.intp]], factors: Factors, nearest: Round
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the integers of tiles (tiles, _TILE, _TILE), and their errors in units of the factors.

    starts: the first row and the first input of each tile.
    """
    tops, lefts = starts
    span = np.arange(_TILE)
    down = np.stack([factors.outputs[t : t + _TILE, t : t + _TILE] for t in tops])
    along = np.stack([factors.inputs[t : t + _TILE, t : t + _TILE] for t in lefts])
    steps = factors.steps[lefts[:, None] + span]  # (tiles, _TILE)
    unit = np.diagonal(down, axis1=1, axis2=2)[:, :, None] * np.diagonal(along, axis1=1, axis2=2)[:, None]
    found, errors = np.empty(values.shape, np.int64), np.empty(values.shape)
    for diagonal in range(2 * _TILE - 1):
        i = np.arange(max(0, diagonal - _TILE + 1), min(_TILE, diagonal + 1))
        j = diagonal - i
        here = values[:, i, j]
        integers = nearest(here / steps[:, j], tops[:, None] + i, lefts[:, None] + j)
        found[:, i, j] = integers
        error = (here - integers * steps[:, j]) / unit[:, i, j]
        errors[:, i, j] = error
        values -= (down[:, i] * error[:, :, None]).transpose(0, 2, 1) @ along[:, j]
    return found, errors


def _whole(size: int) -> int:
    return -(-size // _TILE) * _TILE


def _padded(factor: NDArray[np.float64]) -> NDArray[np.float64]:
    found = np.eye(_whole(len(factor)))
    found[: len(factor), : len(factor)] = factor
    return found
