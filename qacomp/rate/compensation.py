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
_BLOCK = 64  # inputs that are rounded before the weights of later inputs are corrected, by one matrix product


@dataclass(frozen=True)
class Factor:
    """The upper Cholesky factor of H⁻¹ for each group, (groups, n, n) float64, with H damped.

    1 / upper[g, j, j]² is the part of the power of input j that the later inputs don't predict. outputs: the same of
    the second moment of gradients at the outputs, (groups, rows, rows); None where it isn't known.
    """

    upper: NDArray[np.float64]
    outputs: NDArray[np.float64] | None = None

    @property
    def conditional_power(self) -> NDArray[np.float64]:
        """Return (groups, n): the output error of an error of 1 in an input's weight, after compensation."""
        diagonal = np.diagonal(self.upper, axis1=1, axis2=2)
        return 1.0 / diagonal**2

    def output_error(self, errors: NDArray[np.float64]) -> float:
        """Return trace(E H Eᵀ) of errors E (groups, rows, n) of the weights, summed over the groups.

        All outputs count alike here.
        """
        moved = np.linalg.solve(self.upper.transpose(0, 2, 1), errors.transpose(0, 2, 1))  # H = U⁻¹ U⁻ᵀ
        return float((moved**2).sum())


def factorized(
    moment: NDArray[np.float64], outputs: NDArray[np.float64] | None = None, damping: float = DAMPING
) -> Factor:
    """Return the factor of a second moment (groups, n, n); a group whose inputs are all zero gets the identity.

    outputs: the second moment of gradients at the outputs, (groups, rows, rows).
    """
    return Factor(_upper(moment, damping), None if outputs is None else _upper(outputs, damping))


def _upper(moment: NDArray[np.float64], damping: float) -> NDArray[np.float64]:
    """Return the upper Cholesky factor of the inverse of a damped moment (groups, n, n)."""
    size = moment.shape[-1]
    scale = np.trace(moment, axis1=1, axis2=2) / size  # (groups,)
    scale = np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)
    damped = moment + (damping * scale)[:, None, None] * np.eye(size)
    dead = ~np.isfinite(damped).all(axis=(1, 2)) | (np.trace(moment, axis1=1, axis2=2) <= 0)
    damped[dead] = np.eye(size)
    inverse = np.linalg.inv(damped)
    inverse = (inverse + inverse.transpose(0, 2, 1)) / 2
    return np.ascontiguousarray(np.linalg.cholesky(inverse).transpose(0, 2, 1))


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
    left, upper, nonzero = weights.astype(np.float64), factor.upper, weights != 0
    found = np.empty(left.shape, np.int64)
    count = left.shape[2]
    steps = np.broadcast_to(np.asarray(step, np.float64), (left.shape[0], count))

    def nearest(group: int | slice, multiples: NDArray[np.float64], rows: Any, inputs: Any) -> NDArray[np.float64]:
        kept = None if before is None else before[group, rows, inputs]
        integers = np.where(nonzero[group, rows, inputs], nearest_or(multiples, kept), 0)
        return integers if farthest is None else np.clip(integers, -farthest, farthest)

    if factor.outputs is not None:
        for group in range(len(left)):
            both = Factors(factor.outputs[group], upper[group], steps[group])
            found[group] = compensated_both_ways(left[group], both, partial(nearest, group))
        return found
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        errors = np.empty((*left.shape[:2], stop - start))  # (groups, rows, block)
        for j in range(start, stop):
            multiples = left[:, :, j] / steps[:, j, None]
            integers = nearest(slice(None), multiples, slice(None), j)
            found[:, :, j] = integers
            errors[:, :, j - start] = (left[:, :, j] - integers * steps[:, j, None]) / upper[:, j, j, None]
            left[:, :, j + 1 : stop] -= errors[:, :, j - start, None] * upper[:, None, j, j + 1 : stop]
        left[:, :, stop:] -= errors @ upper[:, start:stop, stop:]
    return found
