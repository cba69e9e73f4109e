"""Look up weights with torch, on any device: in one codebook, in codebooks in blocks, or on grids without codebooks."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qacomp.formats import CodecError, blocks
from qacomp.formats.codecs.grids import Grids, numbers_of
from qacomp.formats.coded import CodedSection, CodedTensor
from qacomp.formats.dtypes import dtype_name
from qacomp.formats.tensor_decoder import parents_at
from qacomp.tensors.torch_format import to_tensor

_PIECE = 1 << 22
"""Weights looked up at once, since the temporary arrays take 8 bytes for each."""


def weights(coded: CodedTensor, indices: Tensor) -> Tensor:
    """Return the weights of flat indices, in the tensor's dtype and shape, on the device of the indices."""
    record, device = coded.record, indices.device
    if record.blocks is None:
        book = to_tensor(coded.book()).to(device)
        if record.at_once:
            parents = torch.from_numpy(parents_at(record, coded.level)).to(device)
            book = book[parents]
        out = torch.empty(len(indices), dtype=book.dtype, device=device)
        for start in range(0, len(indices), _PIECE):
            piece = indices[start : start + _PIECE].int()
            torch.index_select(book, 0, piece, out=out[start : start + _PIECE])
        return out.reshape(record.shape)
    given = _grids(coded.books, device) if coded.books and all(s.codec == Grids.id for s in coded.books) else None
    books = None if given else to_tensor(coded.book()).to(device).reshape(-1)
    dtype = getattr(torch, dtype_name(record.dtype))
    out = torch.empty(len(indices), dtype=dtype, device=device)
    for start, numbers in _book_numbers(record.shape, record.blocks, device):
        piece = indices[start : start + _PIECE]
        if given is not None:
            steps = (piece - given.zeros[numbers]).to(given.scales.dtype)
            out[start : start + _PIECE] = (steps * given.scales[numbers]).to(given.stored)
        elif books is not None:
            out[start : start + _PIECE] = books[numbers * record.levels[0] + piece]
    return out.reshape(record.shape)


@dataclass(frozen=True)
class _AffineGrids:
    """A zero point and a scale for each codebook. stored: the type to which products are rounded."""

    zeros: Tensor
    scales: Tensor
    stored: torch.dtype


def _grids(sections: Sequence[CodedSection], device: torch.device) -> _AffineGrids:
    """Read the grids of all codebooks, of which only zero points and scales are stored. Raises CodecError."""
    zeros, scales = [], []
    dtype = sections[0].stream.dtype
    for section in sections:
        try:
            ((zero, scale),) = Grids().read(section.payload, [section.stream])
        except CodecError as error:
            raise CodecError(f"{section.where}: {error}") from error
        zeros.append(zero.astype(np.int32))
        scales.append(numbers_of(scale, dtype))
    stored = getattr(torch, dtype_name(dtype))
    zero_points, steps = (torch.from_numpy(np.concatenate(parts)).to(device) for parts in (zeros, scales))
    return _AffineGrids(zero_points, steps, stored)


def _book_numbers(shape: Sequence[int], spans: Sequence[int], device: torch.device) -> Iterator[tuple[int, Tensor]]:
    """Yield (start, numbers): the number of the codebook that each value reads, int64, a piece at a time.

    The counterpart in numpy is `formats.blocks.lookup`.
    """
    sizes, steps = blocks.merge(shape, spans)
    inner, books = math.prod(sizes[1:]), blocks.grid(sizes[1:], steps[1:])
    along = torch.zeros((1,) * len(books), dtype=torch.int64, device=device)
    for axis, (size, step) in enumerate(zip(sizes[1:], steps[1:], strict=True)):
        place = torch.arange(size, device=device) // step * math.prod(books[axis + 1 :])
        along = along + place.reshape([-1 if i == axis else 1 for i in range(len(books))])
    along = along.reshape(-1)
    count = math.prod(shape)
    for start in range(0, count, _PIECE):
        place = torch.arange(start, min(start + _PIECE, count), device=device)
        row = place // inner
        yield start, row // steps[0] * math.prod(books) + along[place - row * inner]
