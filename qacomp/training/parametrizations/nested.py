"""A module that holds one layer's nested codebooks (see `qacomp.sharing.nested`) and trains them with the weights.

Training may move the values in any way: `index_coarse == parents[index_fine]` always holds, exactly.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from qacomp.formats import Level, SharedTensor
from qacomp.sharing import nested
from qacomp.training.parametrizations.shared import Gather
from qacomp.training.parametrizations.straight_through import Assign
from qacomp.training.regularizers import Regularizer


def nested_boundaries(books: Sequence[Tensor], parents: Sequence[Tensor]) -> list[Tensor]:
    """Return each level's boundaries between neighbouring cells: (K − 1,) ascending.

    The boundaries of the coarser level are among those of the finer one. books: ascending (K,) values of each level,
    the coarsest first; parents: for each level but the coarsest, the coarse cell of each fine cell, (K,) int64. The
    boundary of two fine cells is their midpoint, clamped to the coarse cell that holds them.
    """
    bounds = [_middles(books[0])]
    for book, parent in zip(books[1:], parents, strict=True):
        outer = functional.pad(bounds[-1], (1, 1), value=torch.inf)  # (K_coarse + 1,)
        outer[0] = -torch.inf
        left, right = parent[:-1], parent[1:]  # (K − 1,): the cells on both sides of each boundary
        inner = torch.minimum(torch.maximum(_middles(book), outer[left]), outer[left + 1])
        bounds.append(torch.where(left == right, inner, outer[right]))
    return bounds


def _middles(book: Tensor) -> Tensor:
    return (book[1:] + book[:-1]) / 2


class NestedCodebooks(nn.Module):
    """One layer's nested codebooks, trained straight-through with the weights until `freeze` fixes the clusters.

    owner: a regularizer whose representatives are the finest codebook; None: the finest codebook is trained here too.
    gain: factor on the gradient of the owner's representatives. mask: in the weight's shape, False where the weight
    stays zero at every level; `freeze` gives these weights an entry of their own in each codebook. After `freeze` only
    the shared values are trained.
    """

    mask: Tensor | None

    def __init__(
        self,
        books: Sequence[NDArray[np.floating]],
        parents: Sequence[NDArray[np.int64]],
        owner: Regularizer | None = None,
        gain: float = 1.0,
        mask: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)
        own = books if owner is None else books[:-1]
        self.values = nn.ParameterList(nn.Parameter(torch.tensor(book)) for book in own)
        self.owner, self.gain = owner, gain
        self.levels, self.frozen = len(books), False
        for level, parent in enumerate(parents, start=1):
            self.register_buffer(f"parents{level}", torch.from_numpy(parent))

    @classmethod
    def held(cls, shared: SharedTensor) -> Self:
        """Return codebooks with the clusters and values of a tensor with levels; none of them is trained."""
        books = [*(level.codebook for level in shared.levels), shared.codebook]
        made = cls(books, [np.asarray(level.parents, np.int64) for level in shared.levels])
        made._fix([torch.from_numpy(shared.at_level(i).indices.astype(np.int64)) for i in range(len(books))])
        return made.requires_grad_(False)

    def _fix(self, indices: Sequence[Tensor]) -> None:
        """Fix the clusters. indices: at each level, in the weight's shape."""
        self.owner, self.frozen = None, True
        for level, index in enumerate(indices):
            self.register_buffer(f"index{level}", index)

    def parents(self) -> list[Tensor]:
        """Return, for each level but the coarsest, the next coarser level's cell of each entry: (K,) int64."""
        return [self.get_buffer(f"parents{level}") for level in range(1, self.levels)]

    def books(self) -> list[Tensor]:
        """Return the codebooks (K,), the coarsest first; each is ascending until `freeze` has fixed the clusters."""
        if self.frozen:
            return list(self.values)
        books = [book.sort().values for book in self.values]
        return books if self.owner is None else [*books, self.owner.representatives()]

    def forward(self, weight: Tensor, level: int) -> Tensor:
        """Return the shared weights at a level, for full-precision weights of any shape.

        A layer with fewer levels returns its finest one.
        """
        level, books = min(level, self.levels - 1), self.books()
        if self.frozen:
            fixed: Tensor = Gather.apply(books[level], self.get_buffer(f"index{level}"))  # type: ignore[no-untyped-call]
            return fixed if self.mask is None else fixed * self.mask
        index = self.index(weight.detach(), level)
        gain = self.gain if level == self.levels - 1 else 1.0
        assigned: Tensor = Assign.apply(  # type: ignore[no-untyped-call]
            weight, books[level].to(weight), index, gain, self.mask
        )
        return assigned if self.mask is None else assigned * self.mask

    def index(self, weight: Tensor, level: int) -> Tensor:
        """Return the index of each weight's cell at a level: int64, in the weight's shape."""
        if self.frozen:
            return self.get_buffer(f"index{level}")
        books = [book.detach().to(weight) for book in self.books()]
        return torch.bucketize(weight, nested_boundaries(books, self.parents())[level])

    def freeze(self, weight: Tensor) -> None:
        """Fix the clusters at the present assignment of `weight` and drop empty cells; the values stay trainable."""
        index = self.index(weight.detach(), self.levels - 1)
        index = index if self.mask is None else index[self.mask]
        books, parents, finest = [book.detach() for book in self.books()], self.parents(), self.levels - 1
        indices: list[Tensor] = []
        for level in range(finest, -1, -1):
            used, index = torch.unique(index, return_inverse=True)
            books[level] = books[level][used].to(weight)
            indices.insert(0, index)
            if level:
                parents[level - 1] = parents[level - 1][used]
                index = parents[level - 1][index]
        for level, parent in enumerate(parents):  # renumber, since empty coarse cells are gone
            parents[level] = torch.unique(parent, return_inverse=True)[1]
        if self.mask is not None:
            indices = _with_zeros(books, parents, indices, self.mask)
        self.values = nn.ParameterList(nn.Parameter(book.clone()) for book in books)
        self._fix(indices)
        for level, parent in enumerate(parents, start=1):
            self.register_buffer(f"parents{level}", parent)

    def shared_tensor(self) -> SharedTensor:
        """Return the nested codebooks (float32 or float64) and the finest indices; call it after `freeze`."""
        exact = [book.detach() if book.dtype == torch.float64 else book.detach().float() for book in self.values]
        books = [book.cpu().numpy().copy() for book in exact]
        parents = [parent.cpu().numpy() for parent in self.parents()]
        indices = (
            self.get_buffer(f"index{self.levels - 1}")
            .cpu()
            .numpy()
            .astype(np.uint8 if books[-1].size <= 256 else np.uint16)
        )
        levels = tuple(Level(book, parent) for book, parent in zip(books[:-1], parents, strict=True))
        return SharedTensor(books[-1], indices, levels)


def _with_zeros(books: list[Tensor], parents: list[Tensor], indices: list[Tensor], mask: Tensor) -> list[Tensor]:
    """Insert an entry of zero into each codebook, in place; return the indices of all weights at each level.

    books: (K,) ascending within each coarser cell; parents: (K,) for each level but the coarsest, changed too; indices:
    (n,) at each level, of the weights where the mask is True. The zero entries of the levels nest like all others.
    """
    whole = []
    place = int((books[0] < 0).sum())
    for level, book in enumerate(books):
        if level:
            parent, outer = parents[level - 1], place
            place = int((parent < outer).sum())
            moved = parent + (parent >= outer).to(parent)
            parents[level - 1] = torch.cat([moved[:place], moved.new_tensor([outer]), moved[place:]])
        books[level] = torch.cat([book[:place], book.new_zeros(1), book[place:]])
        full = torch.full(mask.shape, place, dtype=torch.int64, device=mask.device)
        full[mask] = indices[level] + (indices[level] >= place).to(torch.int64)
        whole.append(full)
    return whole


def nested_codebooks(
    weight: NDArray[np.floating],
    ks: Sequence[int],
    owner: Regularizer | None = None,
    gain: float = 1.0,
    mask: Tensor | None = None,
) -> NestedCodebooks:
    """Cluster a weight by k-means at each level of `ks` (ascending) and nest the codebooks.

    With an owner its representatives are the finest codebook; owner, gain, mask: see `NestedCodebooks`. Only weights
    where the mask is True are clustered.
    """
    if mask is not None and bool(mask.any()):
        weight = weight[mask.cpu().numpy()]
    if owner is None:
        return NestedCodebooks(*nested.nested_codebooks(weight, ks), mask=mask)
    books = [nested.level_codebook(weight, k) for k in ks[:-1]]
    books.append(owner.representatives().detach().cpu().numpy().astype(weight.dtype))
    return NestedCodebooks(*nested.nest(books), owner, gain, mask)
