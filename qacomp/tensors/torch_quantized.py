"""Convert torch's quantized tensors to integers with scales and zero points, and back."""

from typing import Any

from qacomp.tensors.foreign_dtypes import QuantizedType

# torch is imported inside the functions, since reading only the description of a file doesn't need it.


def quantized(numbers: Any, scale: Any, zero_point: Any, axis: int | None) -> Any:
    """Return the quantized tensor with these integers (int8, uint8 or int32).

    axis: None for one scale and zero point (numbers), else the axis along which they are given (tensors).
    """
    import torch

    if axis is None:
        return torch._make_per_tensor_quantized_tensor(numbers, scale, zero_point)
    return torch._make_per_channel_quantized_tensor(numbers, scale.double(), zero_point.long(), axis)


def quantized_type(tensor: Any) -> QuantizedType:
    """Return the type of a quantized tensor: dtype, scales, zero points and axis, as plain values."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if str(tensor.qscheme()) == "torch.per_tensor_affine":
        return QuantizedType(dtype, [tensor.q_scale()], [tensor.q_zero_point()], None)
    scales, zeros = tensor.q_per_channel_scales().double(), tensor.q_per_channel_zero_points().long()
    return QuantizedType(dtype, scales.tolist(), zeros.tolist(), tensor.q_per_channel_axis())


def of_type(numbers: Any, kind: QuantizedType) -> Any:
    """Return the quantized tensor of stored integers and their type."""
    import torch

    if kind.axis is None:
        return quantized(numbers, kind.scale[0], kind.zero_point[0], None)
    return quantized(numbers, torch.tensor(kind.scale).double(), torch.tensor(kind.zero_point), kind.axis)
