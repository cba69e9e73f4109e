"""Adaptive counts of symbols in contexts, and the frequencies that the coder takes from them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs.base import Array
from qacomp.formats.codecs.frequencies import normalise_rows

Ints = NDArray[Any]

PRIOR_BITS = 12
COUNT_WEIGHT = 384
"""One observation weighs about a tenth of the whole prior, which is 2**12."""


class Counts:
    """Adaptive frequency rows: contexts under priors, a prior being the counts of all its contexts together.

    prior: (contexts,) row of each context's prior; valid: (priors, alphabet) which symbols may occur there.
    frequencies, first: (contexts, alphabet) uint32, rows with sums 2**bits and their first slots, as of the last
    `refresh` of each row.
    """

    def __init__(self, prior: Ints, valid: NDArray[np.bool_], bits: int) -> None:
        self.prior = prior
        self.valid = valid
        self.bits = bits
        shape = len(prior), valid.shape[1]
        self._seen: Ints = np.zeros(shape, np.int64)
        self._of_prior: Ints = np.zeros(valid.shape, np.int64)
        self.frequencies = np.zeros(shape, np.uint32)
        self.frequencies[:, 0] = 1 << bits  # every row has its sum, also one that nothing needs
        self.first = np.zeros(shape, np.uint32)

    def add(self, contexts: Ints, symbols: Array) -> None:
        """Take in an epoch's symbols with their contexts, both flat."""
        width = self.valid.shape[1]
        add_each(self._seen.reshape(-1), contexts * width + symbols)
        add_each(self._of_prior.reshape(-1), self.prior.take(contexts) * width + symbols)

    def refresh(self, needed: NDArray[np.bool_]) -> None:
        """Bring the rows of the contexts that are needed (contexts,) up to date; no other will be looked up."""
        rows = needed.nonzero()[0]
        used = np.zeros(len(self.valid), bool)
        used[self.prior[rows]] = True
        places = np.cumsum(used) - 1
        prior = normalise_rows(2 * self._of_prior[used] + self.valid[used], PRIOR_BITS).astype(np.int64)
        fresh = normalise_rows(self._seen[rows] * COUNT_WEIGHT + prior[places[self.prior[rows]]], self.bits)
        self.frequencies[rows] = fresh
        self.first[rows] = np.cumsum(fresh, axis=1, dtype=np.uint32) - fresh

    def marked(self, contexts: Ints) -> NDArray[np.bool_]:
        """Return a mask (contexts,): which of them occur among these."""
        mask = np.zeros(len(self.prior), bool)
        mask[contexts.reshape(-1)] = True
        return mask


def add_each(target: Ints, keys: Ints, amounts: Ints | None = None) -> None:
    """Add an amount (1 where none is given) to target (n,) at each key, in time of the keys, not of n."""
    np.add.at(target, keys, target.dtype.type(1) if amounts is None else amounts)  # another type would be slow
