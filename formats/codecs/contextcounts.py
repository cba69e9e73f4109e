"""Count symbols in contexts, and turn the counts into the frequencies of the coder."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs.base import Array
from qacomp.formats.codecs.frequencies import normalise_rows

Ints = NDArray[Any]

PRIOR_BITS = 12
COUNT_WEIGHT = 384
"""One observation weighs about a tenth of the whole prior, which is 2**12."""
_BINS = 4
"""With up to this many bins a key, `bincount` takes less time than adding each; measured."""


class Counts:
    """The adaptive frequencies of each context; a context's counts are mixed with those of all contexts of its prior.

    prior: (contexts,) row of each context's prior; valid: (priors, alphabet) mask of the symbols that may occur; bits:
    log2 of a row's sum. frequencies: (contexts, alphabet) uint32, rows with the sum 2**bits; first: the same shape, the
    first slot of each symbol; both as of the last `refresh` of the row.
    """

    def __init__(self, prior: Ints, valid: NDArray[np.bool_], bits: int) -> None:
        self.prior = prior
        self.valid = valid
        self.bits = bits
        shape = len(prior), valid.shape[1]
        self._seen: Ints = np.zeros(shape, np.int64)
        self._of_prior: Ints = np.zeros(valid.shape, np.int64)
        self.frequencies = np.zeros(shape, np.uint32)
        self.frequencies[:, 0] = 1 << bits  # a row must have the right sum even if it is never used
        self.first = np.zeros(shape, np.uint32)

    def add(self, contexts: Ints, symbols: Array) -> None:
        """Count an epoch's symbols in their contexts, both flat."""
        width = self.valid.shape[1]
        self.add_keys(contexts * width + symbols, self.prior.take(contexts) * width + symbols)

    def add_keys(self, keys: Ints, of_prior: Ints) -> None:
        """Count an epoch's symbols by their keys, context * width + symbol and prior * width + symbol."""
        add_each(self._seen.reshape(-1), keys)
        add_each(self._of_prior.reshape(-1), of_prior)

    def refresh(self, needed: NDArray[np.bool_]) -> None:
        """Update the rows of the needed contexts, a mask (contexts,); other rows are stale and must not be used."""
        rows = needed.nonzero()[0]
        used = np.zeros(len(self.valid), bool)
        used[self.prior[rows]] = True
        places = np.cumsum(used) - 1
        prior = normalise_rows(2 * self._of_prior[used] + self.valid[used], PRIOR_BITS).astype(np.int64)
        fresh = normalise_rows(self._seen[rows] * COUNT_WEIGHT + prior[places[self.prior[rows]]], self.bits)
        self.frequencies[rows] = fresh
        self.first[rows] = np.cumsum(fresh, axis=1, dtype=np.uint32) - fresh

    def marked(self, contexts: Ints) -> NDArray[np.bool_]:
        """Return a mask (contexts,) of the contexts that occur in an array of contexts."""
        mask = np.zeros(len(self.prior), bool)
        mask[contexts.reshape(-1)] = True
        return mask


def add_each(target: Ints, keys: Ints, amounts: Ints | None = None) -> None:
    """Add amounts (or 1) to target (n,) at each key; the time grows with the number of keys, not with n."""
    if len(target) <= _BINS * len(keys):  # the sums are exact: below 2**53
        target += np.bincount(keys, amounts, len(target)).astype(target.dtype, copy=False)
    else:
        np.add.at(target, keys, target.dtype.type(1) if amounts is None else amounts)  # a 1 of another dtype is slow
