"""Read and write containers with torch tensors, like the functions of `qacomp.formats` for arrays."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qacomp import formats
from qacomp.formats import BFLOAT16, SharedTensor, WriteReport
from qacomp.tensors.foreign_dtypes import FOREIGN, Meant
from qacomp.tensors.torch_quantized import of_type, quantized_type


def to_array(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as a contiguous array that a container can store; bfloat16 becomes `formats.BFLOAT16`.

    A type that the container lacks (such as 8-bit floats) gets the stored form of `qacomp.tensors.foreign_dtypes`.
    """
    if tensor.is_quantized:
        tensor = tensor.int_repr()
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    dtype = str(plain.dtype).removeprefix("torch.")
    if dtype in FOREIGN:
        stored: torch.dtype = getattr(torch, FOREIGN[dtype].stored)
        plain = torch.view_as_real(plain) if FOREIGN[dtype].pairs else plain.view(stored)
    if plain.dtype == torch.bfloat16:
        return plain.view(torch.int16).numpy().view(np.uint16).view(BFLOAT16)
    array: NDArray[Any] = plain.numpy()
    return array


def foreign_dtypes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Map names of tensors whose type the container lacks to that type, in the form of the metadata."""
    types: dict[str, Any] = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()}
    types = {name: dtype for name, dtype in types.items() if dtype in FOREIGN}
    return types | {name: asdict(quantized_type(t)) for name, t in tensors.items() if t.is_quantized}


def to_tensor(array: NDArray[Any], dtype: Meant | None = None) -> Tensor:
    """Return a tensor with a copy of a container's array: the same values and dtype.

    dtype: the real type of the stored values, if it is one of `qacomp.tensors.foreign_dtypes`.
    """
    if dtype is not None:
        stored = torch.from_numpy(np.array(array, order="C"))
        if not isinstance(dtype, str):
            numbers: Tensor = of_type(stored, dtype)
            return numbers
        meant: torch.dtype = getattr(torch, dtype)
        return torch.view_as_complex(stored) if FOREIGN[dtype].pairs else stored.view(meant)
    if array.dtype == BFLOAT16:
        bits = np.array(array, order="C").view(np.uint16).view(np.int16)
        return torch.from_numpy(bits).view(torch.bfloat16)
    return torch.from_numpy(np.array(array, order="C"))


def save_file(path: str | PathLike[str], tensors: Mapping[str, Tensor | SharedTensor], **options: Any) -> WriteReport:
    """Write torch tensors and SharedTensors to a container; options and errors as for `qacomp.formats.save_file`."""
    arrays = {name: t if isinstance(t, SharedTensor) else to_array(t) for name, t in tensors.items()}
    return formats.save_file(path, arrays, **options)


def load_file(path: str | PathLike[str], *, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """Read all tensors of a container as dense torch tensors, by name. Raises FormatError and OSError."""
    with open_file(path, device=device) as tensors:
        return {name: tensors[name] for name in tensors}


class LazyTensors(Mapping[str, Tensor]):
    """The tensors of a container by name; each one is decoded when it is read."""

    def __init__(self, container: formats.Container, device: str | torch.device) -> None:
        self.container = container
        self.device = device

    def __getitem__(self, name: str) -> Tensor:
        """Decode and return one dense tensor. Raises TensorNotFoundError."""
        return to_tensor(self.container.tensor(name)).to(self.device)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the tensors' names."""
        return iter(self.container.names)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self.container.names)


@contextmanager
def open_file(
    path: str | PathLike[str], *, device: str | torch.device = "cpu", **options: Any
) -> Iterator[LazyTensors]:
    """Open a container and yield a mapping from names to tensors; options as for `qacomp.formats.open_file`."""
    with formats.open_file(path, **options) as container:
        yield LazyTensors(container, device)
