"""View a weight tensor as the matrices that its operator multiplies with; each row belongs to one output channel."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MatrixView:
    """How to view a tensor as `groups` matrices of (rows, inputs).

    split: the shape to which the tensor is first reshaped; order: the permutation of these axes that follows; rows: of
    one matrix. Each group of a convolution is a matrix, since it reads other channels of the input.
    """

    split: tuple[int, ...]
    order: tuple[int, ...]
    groups: int
    rows: int

    @property
    def inputs(self) -> int:
        """Return the length of a row."""
        return math.prod(self.split) // max(1, self.groups * self.rows)

    def matrices(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return the tensor's values as (groups, rows, inputs)."""
        return tensor.reshape(self.split).transpose(self.order).reshape(self.groups, self.rows, -1)

    def tensor(self, matrices: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return matrices (groups, rows, inputs) as a tensor of `shape`, the inverse of `matrices`."""
        moved = matrices.reshape([self.split[axis] for axis in self.order])
        return np.ascontiguousarray(moved.transpose(np.argsort(self.order))).reshape(shape)


def output_major(shape: tuple[int, ...], groups: int = 1) -> MatrixView:
    """Return the view of a weight whose first axis is the output channels: Conv (out, in / groups, ...), Linear."""
    rows = shape[0] // groups
    return MatrixView((groups, rows, *shape[1:]), tuple(range(len(shape) + 1)), groups, rows)


def input_major(shape: tuple[int, ...], groups: int = 1) -> MatrixView:
    """Return the view of a weight whose first axis is the inputs: ConvTranspose (in, out / groups, ...), MatMul."""
    split = (groups, shape[0] // groups, *shape[1:])
    return MatrixView(split, (0, 2, 1, *range(3, len(split))), groups, shape[1])


def along_axis(shape: tuple[int, ...], axis: int) -> MatrixView:
    """Return the view of a weight whose rows are along `axis`; all other axes together are its inputs."""
    order = (axis, *(i for i in range(len(shape)) if i != axis))
    return MatrixView(shape, order, 1, shape[axis] if shape else 1)


@dataclass(frozen=True)
class PlacedView:
    """A view of a tensor whose values an operator reads in any other places. places: (groups, rows, n), each once."""

    places: NDArray[np.integer]

    def matrices(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return the tensor's values as (groups, rows, inputs)."""
        found: NDArray[Any] = tensor.reshape(-1)[self.places]
        return found

    def tensor(self, matrices: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return (groups, rows, inputs) in the tensor's own order; shape: the tensor's."""
        found = np.empty(math.prod(shape), matrices.dtype)
        found[self.places.reshape(-1)] = matrices.reshape(-1)
        return found.reshape(shape)


View: TypeAlias = MatrixView | PlacedView
