"""Round matrices to a uniform grid; the weights of later inputs compensate the rounding error of each input.

The error of the operator's outputs is trace((W − Ŵ) H (W − Ŵ)ᵀ), with H the second moment of its inputs. Rounding one
input after the other, and correcting the weights of the later inputs by H, keeps it small. This is GPTQ (Frantar et
al., 2023), which is Babai's nearest plane algorithm in the lattice that H defines. Where it is known how errors of the
outputs act together further on, they compensate each other too (see two_sided.py).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.rate.two_sided import Factors, compensated_both_ways
from qacomp.sharing.base import held

DAMPING = 0.01
"""Fraction of H's mean diagonal that is added to it: GPTQ's own."""
_BETTER = 0.99  # of the natural order's loss: for less than a percent rounding stays in it
_BLOCK = 64  # inputs that are rounded before the weights of later inputs are corrected, by one matrix product


@dataclass(frozen=True)
class Side:
    """The upper Cholesky factor U of M⁻¹ for each group, (groups, n, n) float64, of a damped second moment M.

    order: (groups, n), the numbers of the values of M, in the order in which U has them and they are rounded.
    """

    upper: NDArray[np.float64]
    order: NDArray[np.intp]

    @property
    def conditional_power(self) -> NDArray[np.float64]:
        """Return (groups, n): the part of the power of each value that those after it don't predict."""
        return self.back(1.0 / np.diagonal(self.upper, axis1=1, axis2=2) ** 2, 1)

    def in_order(self, array: NDArray[Any], axis: int) -> NDArray[Any]:
        """Return an array (groups, ...) with the values along an axis in this order."""
        return np.take_along_axis(array, self._along(axis, array.ndim), axis)

    def back(self, array: NDArray[Any], axis: int) -> NDArray[Any]:
        """Undo `in_order`."""
        found = np.empty_like(array)
        np.put_along_axis(found, self._along(axis, array.ndim), array, axis)
        return found

    def natural(self) -> NDArray[np.float64]:
        """Return U (groups, n, n) for values that are rounded in the order of their numbers."""
        inverse = self.upper.transpose(0, 2, 1) @ self.upper
        back = np.argsort(self.order, axis=1)
        return _cholesky(_ordered(inverse, back))

    def _along(self, axis: int, dimensions: int) -> NDArray[np.intp]:
        return np.expand_dims(self.order, [i for i in range(1, dimensions) if i != axis])


@dataclass(frozen=True)
class Factor:
    """Hold what is known of an operator. inputs: of the second moment H of its inputs; rounding follows their order.

    outputs: the same of the second moment of gradients at its outputs; None where it isn't known.
    """

    inputs: Side
    outputs: Side | None = None

    @property
    def conditional_power(self) -> NDArray[np.float64]:
        """Return (groups, n): the output error of an error of 1 in an input's weight, after compensation."""
        return self.inputs.conditional_power

    def output_error(self, errors: NDArray[np.float64]) -> float:
        """Return trace(E H Eᵀ) of errors E (groups, rows, n) of the weights, summed over the groups.

        All outputs count alike here.
        """
        ordered = self.inputs.in_order(errors, 2).transpose(0, 2, 1)
        moved = np.linalg.solve(self.inputs.upper.transpose(0, 2, 1), ordered)  # H = U⁻¹ U⁻ᵀ
        return float((moved**2).sum())


def factorized(
    moment: NDArray[np.float64], outputs: NDArray[np.float64] | None = None, damping: float = DAMPING
) -> Factor:
    """Return the factor of a second moment (groups, n, n); a group whose inputs are all zero gets the identity.

    outputs: the second moment of gradients at the outputs, (groups, rows, rows).
    """
    return Factor(_side(moment, damping), None if outputs is None else _side(outputs, damping))


def _side(moment: NDArray[np.float64], damping: float) -> Side:
    """Return the factor of a moment (groups, n, n), in the order in which equal steps lose least, of two.

    These are the natural one, and that of descending power: what has most of it is rounded while most is left that
    compensates it.
    """
    size = moment.shape[-1]
    scale = np.trace(moment, axis1=1, axis2=2) / size  # (groups,)
    scale = np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)
    damped = moment + (damping * scale)[:, None, None] * np.eye(size)
    dead = ~np.isfinite(damped).all(axis=(1, 2)) | (np.trace(moment, axis1=1, axis2=2) <= 0)
    damped[dead] = np.eye(size)
    inverse = np.linalg.inv(damped)
    natural = np.broadcast_to(np.arange(size), damped.shape[:2])
    descending = np.argsort(-np.diagonal(damped, axis1=1, axis2=2), axis=1, kind="stable")
    sides = [Side(_cholesky(_ordered(inverse, order)), order) for order in (natural, descending)]
    lost = [side.conditional_power.mean(axis=1) for side in sides]  # (groups,)
    moved = lost[1] < _BETTER * lost[0]
    upper = np.where(moved[:, None, None], sides[1].upper, sides[0].upper)
    return Side(upper, np.where(moved[:, None], descending, natural))


def _ordered(matrices: NDArray[np.floating], order: NDArray[np.intp]) -> NDArray[np.floating]:
    """Return symmetric matrices (groups, n, n) with rows and columns in an order (groups, n)."""
    return np.take_along_axis(np.take_along_axis(matrices, order[:, :, None], 1), order[:, None], 2)


def _cholesky(inverse: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the upper Cholesky factors of matrices (groups, n, n), which are symmetric but for rounding."""
    lower = np.linalg.cholesky((inverse + inverse.transpose(0, 2, 1)) / 2)
    return np.ascontiguousarray(lower.transpose(0, 2, 1))


def rounded(weights: NDArray[Any], step: float, before: NDArray[np.float64] | None = None) -> NDArray[np.int64]:
    """Return the nearest multiples of `step`, as integers: rounding without compensation. before: see `compensated`."""
    return nearest_or(weights.astype(np.float64) / step, before).astype(np.int64)


def nearest_or(multiples: NDArray[np.float64], before: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return the nearest integers, or those of a base, where there is one, if they are little farther (see `held`)."""
    nearest = np.rint(multiples)
    return nearest if before is None else np.where(held(multiples, before, nearest), before, nearest)


def with_dead_zone(multiples: NDArray[Any], dead: float | NDArray[Any]) -> NDArray[np.int64]:
    """Round values in units of their step to integers: 0 if |value| < dead, else the nearest integer, but at least ±1.

    Plain rounding is dead = 0.5. A wider dead zone gives more zeros, and a smaller file.
    """
    nearest = np.rint(multiples)
    nearest += (nearest == 0) * np.sign(multiples)
    return np.where(np.abs(multiples) < dead, 0, nearest).astype(np.int64)


def compensated(
    weights: NDArray[Any],
    factor: Factor,
    step: float | NDArray[np.float64],
    farthest: int | None = None,
    before: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Return integers (groups, rows, n): multiples of `step` whose errors compensate each other.

    weights: (groups, rows, n). The rounding error of each input corrects the weights of all later inputs. A weight of
    exactly zero stays zero: the whole correction that it gets is its error, and goes to the later inputs. step: one for
    all, or (groups, n), one for each input; farthest: the largest absolute value of an integer; before: the integers of
    a base, which weights rather keep (see `held`).
    """
    sides = [(factor.inputs, 2), *([] if factor.outputs is None else [(factor.outputs, 1)])]

    def in_order(array: NDArray[Any]) -> NDArray[Any]:
        for side, axis in sides:
            array = side.in_order(array, axis)
        return array

    steps = factor.inputs.in_order(np.broadcast_to(np.asarray(step, np.float64), (len(weights), weights.shape[2])), 1)
    ordered = in_order(weights)
    limits = _Limits(ordered != 0, farthest, None if before is None else in_order(before))
    found = _in_order(ordered.astype(np.float64), factor, steps, limits)
    for side, axis in sides:
        found = side.back(found, axis)
    return found


@dataclass(frozen=True)
class _Limits:
    """Bound the integers, (groups, rows, n) in the order of rounding. free: False for those that stay zero."""

    free: NDArray[np.bool_]
    farthest: int | None
    before: NDArray[np.float64] | None

    def nearest(self, group: int | slice, multiples: NDArray[np.float64], rows: Any, inputs: Any) -> NDArray[Any]:
        """Return the integers of multiples of some weights."""
        kept = None if self.before is None else self.before[group, rows, inputs]
        integers = np.where(self.free[group, rows, inputs], nearest_or(multiples, kept), 0)
        return integers if self.farthest is None else np.clip(integers, -self.farthest, self.farthest)


def _in_order(
    left: NDArray[np.float64], factor: Factor, steps: NDArray[np.float64], limits: _Limits
) -> NDArray[np.int64]:
    """Return the integers of weights (groups, rows, n), which are in the order of rounding, and are overwritten.

    steps: (groups, n).
    """
    upper, found = factor.inputs.upper, np.empty(left.shape, np.int64)
    if factor.outputs is not None:
        for group in range(len(left)):
            both = Factors(factor.outputs.upper[group], upper[group], steps[group])
            found[group] = compensated_both_ways(left[group], both, partial(limits.nearest, group))
        return found
    for start in range(0, left.shape[2], _BLOCK):
        stop = min(start + _BLOCK, left.shape[2])
        errors = np.empty((*left.shape[:2], stop - start))  # (groups, rows, block)
        for j in range(start, stop):
            integers = limits.nearest(slice(None), left[:, :, j] / steps[:, j, None], slice(None), j)
            found[:, :, j] = integers
            errors[:, :, j - start] = (left[:, :, j] - integers * steps[:, j, None]) / upper[:, j, j, None]
            left[:, :, j + 1 : stop] -= errors[:, :, j - start, None] * upper[:, None, j, j + 1 : stop]
        left[:, :, stop:] -= errors @ upper[:, start:stop, stop:]
    return found
