"""Decode a container's large tensors on the device that they are loaded to, bit for bit as numpy does."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from qacomp.formats import Container
from qacomp.torch.indices import decode_indices
from qacomp.torch.lookup import weights

_WANTED: ContextVar[bool] = ContextVar("decoding on the device", default=False)


@contextmanager
def decoding_on_device() -> Iterator[None]:
    """Let `load_into` and `from_pretrained` decode large tensors with torch, on the tensors' device, in this block.

    The values are those of the numpy reader. Sections under the codecs rans, bitpack, raw and twobyte, affine grids and
    the look-up in codebooks are decoded on the device; other codecs, tensors that share a section and values that
    aren't shared are decoded on the CPU (`Loaded.on_cpu` names the shared ones).
    """
    token = _WANTED.set(True)
    try:
        yield
    finally:
        _WANTED.reset(token)


def wanted_on_device() -> bool:
    """Return whether the caller is within `decoding_on_device`."""
    return _WANTED.get()


def decode_on(container: Container, name: str, level: int | None, device: torch.device) -> tuple[Tensor, bool] | None:
    """Return (tensor, whole): on the device, and whether its indices were decoded there; None if numpy must decode it.

    Raises FormatError.
    """
    coded = container.coded(name, level=level)
    if coded is None:
        return None
    indices, whole = decode_indices(coded.indices, device)
    return weights(coded, indices), whole
