"""What an ONNX operator multiplies its weight with: its inputs as columns, and its weight as matrices of rows."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from onnx import NodeProto, helper
from torch import Tensor

from qacomp.calibration.layer_inputs import rows_as_columns
from qacomp.calibration.windows import Pick, Window, everything, window_columns
from qacomp.graphs.taps import RECURRENT, Tap
from qacomp.rate.matrices import MatrixView, input_major, output_major

_MOST_AXES = 2  # of a convolution


def operator_view(tap: Tap, shape: Sequence[int]) -> MatrixView | None:
    """Return how a weight of this shape is seen as matrices by the operator that reads it, None where it can't be."""
    node, sizes = tap.node, tuple(shape)
    given = attributes(node)
    if node.op_type in ("Conv", "ConvTranspose"):
        if not 3 <= len(sizes) <= 2 + _MOST_AXES or 0 in sizes:
            return None
        major = output_major if node.op_type == "Conv" else input_major
        return major(sizes, int(given.get("group", 1)))
    if node.op_type in RECURRENT:
        known = len(sizes) == 3 and 0 not in sizes and not given.get("layout", 0)
        return MatrixView(sizes, (0, 1, 2), sizes[0], sizes[1]) if known else None
    if node.op_type not in ("MatMul", "Gemm") or len(sizes) < 2 or math.prod(sizes[:-2]) != 1 or 0 in sizes:
        return None
    turned = bool(given.get("transA" if tap.position == 0 else "transB", 0))
    return output_major(sizes[-2:]) if (tap.position == 0) != turned else input_major(sizes[-2:])


def operator_columns(
    tap: Tap, shape: Sequence[int], data: Sequence[NDArray[Any]], pick: Pick = everything
) -> Tensor | None:
    """Return what each row of the weight is multiplied with in one run, (groups, n, positions) float32.

    shape: the weight's, as the operator reads it; data: the values of the tap's outputs of one run. None where the
    operator didn't run, or where its inputs don't fit.
    """
    given = torch.from_numpy(data[0])
    if not given.numel():
        return None
    if tap.node.op_type in ("Conv", "ConvTranspose"):
        window = _window(tap.node, shape, given.shape[2:])
        return window_columns(window, given if given.dim() == 4 else given[:, :, None], pick)
    if tap.node.op_type in RECURRENT:
        if tap.position == 1:
            return rows_as_columns(given, pick).expand(shape[0], -1, -1)
        return _states(tap.node, given, torch.from_numpy(data[1]) if len(data) > 1 else None, pick)
    return rows_as_columns(_vectors(tap, given), pick)


def _states(node: NodeProto, made: Tensor, first: Tensor | None, pick: Pick) -> Tensor:
    """Return the states that each step starts from, (directions, hidden, positions).

    made: those after each step, (steps, directions, batch, hidden); first: before all, (directions, batch, hidden),
    None for zeros. A GRU multiplies some of its rows with gated states, which are taken for these.
    """
    steps, directions, batch, hidden = made.shape
    start = made.new_zeros(directions, batch, hidden) if first is None else first.expand(directions, batch, hidden)
    backwards = attributes(node).get("direction", b"forward") == b"reverse"
    before = [
        torch.cat([made[1:, d] if backwards or d else made[:-1, d], start[d][None]]).reshape(steps * batch, hidden)
        for d in range(directions)
    ]
    states = torch.stack(before).transpose(1, 2)
    taken = pick(steps * batch)
    return states if taken is None else states[:, :, taken]


def _vectors(tap: Tap, given: Tensor) -> Tensor:
    """Return the other factor of a product with what is multiplied with the weight along its last axis."""
    along = given.dim() - 1
    if given.dim() > 1:
        turned = bool(attributes(tap.node).get("transB" if tap.position == 0 else "transA", 0))
        along -= (tap.position == 0) != turned
    return given.movedim(along, -1)


def attributes(node: NodeProto) -> dict[str, Any]:
    """Return a node's attributes by name, those that refer to a function's left out."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute if not a.ref_attr_name}


def _window(node: NodeProto, shape: Sequence[int], sides: Sequence[int]) -> Window:
    """Return the window of a convolution; shape: its weight's; sides: of its input, without batch and channels."""
    given, axes = attributes(node), len(sides)
    kernel = [int(n) for n in shape[2:]]
    stride, dilation = ([int(n) for n in given.get(name, [1] * axes)] for name in ("strides", "dilations"))
    pads = _pads(node, sides, kernel, stride, dilation)
    if axes == 1:
        kernel, stride, dilation = ([1, n[0]] for n in (kernel, stride, dilation))
        pads = [(0, 0), pads[0]]
    return Window(
        (kernel[0], kernel[1]),
        (stride[0], stride[1]),
        (dilation[0], dilation[1]),
        (*pads[0], *pads[1]),
        int(given.get("group", 1)),
        node.op_type == "ConvTranspose",
    )


def _pads(
    node: NodeProto, sides: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int]]:
    """Return the padding in front of and behind each axis, as ONNX's specification computes it."""
    given, axes = attributes(node), len(sides)
    transposed = node.op_type == "ConvTranspose"
    auto = given.get("auto_pad", b"NOTSET").decode()
    more = [int(n) for n in given.get("output_padding", [0] * axes)]
    wanted = given.get("output_shape")
    if auto in ("NOTSET", "") and wanted is None:
        flat = [int(n) for n in given.get("pads", [0] * 2 * axes)]
        return [(flat[i], flat[axes + i] - more[i] * transposed) for i in range(axes)]
    if auto == "VALID" and wanted is None:
        return [(0, -more[i] * transposed) for i in range(axes)]
    pads = []
    for i in range(axes):
        reach = dilation[i] * (kernel[i] - 1) + 1
        if transposed:
            size = int(wanted[len(wanted) - axes + i]) if wanted is not None else sides[i] * stride[i]
            total = stride[i] * (sides[i] - 1) + more[i] + reach - size
        else:
            total = max(0, (-(-sides[i] // stride[i]) - 1) * stride[i] + reach - sides[i])
        less, rest = total // 2, total - total // 2
        front, behind = (less, rest) if auto == "SAME_UPPER" else (rest, less)
        pads.append((front, behind - more[i] * transposed))
    return pads
