"""View a weight tensor as the matrices that its operator multiplies with: each row makes one output channel."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MatrixView:
    """How a tensor's axes become `groups` matrices of (rows, inputs).

    split: the shape that the tensor is given first; order: the permutation of those axes that follows; rows: of one
    matrix. A convolution's groups are matrices of their own, since each reads other channels of its input.
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
        """Return (groups, rows, inputs) in the tensor's own order; shape: the tensor's."""
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
    """Return the view of a weight whose rows run along `axis`, all others together being its inputs."""
    order = (axis, *(i for i in range(len(shape)) if i != axis))
    return MatrixView(shape, order, 1, shape[axis] if shape else 1)
