"""The container with torch tensors: as `qacomp.formats`' save_file, load_file and open_file, bfloat16 included."""

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
    """Return a tensor as the array that a container stores, on the CPU and contiguous; bfloat16 as `formats.BFLOAT16`.

    Of a type that the container lacks (8-bit floats, complex numbers) the form of `qacomp.tensors.foreign_dtypes`.
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
    """Map names of tensors whose type the container lacks to that type, as metadata tell it."""
    types: dict[str, Any] = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()}
    types = {name: dtype for name, dtype in types.items() if dtype in FOREIGN}
    return types | {name: asdict(quantized_type(t)) for name, t in tensors.items() if t.is_quantized}


def to_tensor(array: NDArray[Any], dtype: Meant | None = None) -> Tensor:
    """Return the tensor of an array that a container gave: its own memory, the same values and dtype.

    dtype: one of `qacomp.tensors.foreign_dtypes`, as which the stored values are meant.
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
    """Write tensors, and shared ones, to a container; `options` and errors as in `qacomp.formats.save_file`."""
    arrays = {name: t if isinstance(t, SharedTensor) else to_array(t) for name, t in tensors.items()}
    return formats.save_file(path, arrays, **options)


def load_file(path: str | PathLike[str], *, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """Read all tensors of a container, dense, by name."""
    with open_file(path, device=device) as tensors:
        return {name: tensors[name] for name in tensors}


class LazyTensors(Mapping[str, Tensor]):
    """A container's tensors by name, each decoded when it is asked for."""

    def __init__(self, container: formats.Container, device: str | torch.device) -> None:
        self.container = container
        self.device = device

    def __getitem__(self, name: str) -> Tensor:
        """Read one dense tensor; TensorNotFoundError where there is none of that name."""
        return to_tensor(self.container.tensor(name)).to(self.device)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.container.names)

    def __len__(self) -> int:
        """Return how many tensors there are."""
        return len(self.container.names)


@contextmanager
def open_file(
    path: str | PathLike[str], *, device: str | torch.device = "cpu", **options: Any
) -> Iterator[LazyTensors]:
    """Open a container lazily: a mapping from names to tensors; `options` as in `qacomp.formats.open_file`."""
    with formats.open_file(path, **options) as container:
        yield LazyTensors(container, device)
