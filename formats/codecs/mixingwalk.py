"""Walk over the values of streams, block by block, and code their magnitudes and signs bit by bit."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs import mixingmodel as model
from qacomp.formats.codecs.base import Stream
from qacomp.formats.codecs.contextcounts import Ints
from qacomp.formats.codecs.mixingbits import Mixer
from qacomp.formats.codecs.mixingblocks import Block, table_of

_SETS = 7
"""Sets of weights of flags: for above 0, above 1, ..., above 6 or more."""


class Coder(Protocol):
    """Encodes or decodes bits."""

    def batch(self, ones: Ints, bits: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """Code bits (n,) under probabilities of a one, and return them; bits: None if they are decoded."""


class Walk:
    """Codes the streams of a section, one after the other; all of them teach the same contexts.

    streams: how many come.
    """

    def __init__(self, streams: int, coder: Coder) -> None:
        self._streams, self._coder = streams, coder
        magnitudes, signs = model.slots(streams)
        self._magnitudes = Mixer(magnitudes, (_SETS, model.MAGNITUDE_INPUTS))
        self._signs = Mixer(signs, (1, model.SIGN_INPUTS))

    def stream(self, number: int, stream: Stream, most: int, values: Ints | None) -> Ints:
        """Code stream `number`, whose magnitudes are at most `most`, and return its values, (count,)."""
        table = table_of(stream)
        around = model.Surroundings(table, self._streams, number)
        found = np.zeros(stream.count, np.int64)
        for block in table.blocks():
            at = table.positions(block)
            found[at] = self._block(around, block, most, None if values is None else values.take(at))
        return found

    def _block(self, around: model.Surroundings, block: Block, most: int, values: Ints | None) -> Ints:
        contexts, signs = around.contexts(block)
        size = self._sizes(contexts, most, None if values is None else np.abs(values))
        which = size.nonzero()[0]
        if len(which):
            here, expected = signs.contexts(which, size), signs.expected.take(which)
            known = None if values is None else (values.take(which) < 0) == (expected < 0)
            predicted = self._signs.predict(here, 0)
            bits = self._coder.batch(predicted[1], known)
            self._signs.update(here, 0, predicted, bits)
            size[which] *= np.where(bits, expected, -expected)
        around.add(block, size)
        return size

    def _sizes(self, contexts: Ints, most: int, known: Ints | None) -> Ints:
        """Code magnitudes (n,); contexts: (inputs, n), the slots of the first flag."""
        size = np.zeros(contexts.shape[1], np.int64)
        alive = np.arange(len(size))
        for flag in range(most):
            here = (contexts if flag == 0 else contexts.take(alive, axis=1)) + min(flag, model.FLAGS - 1)
            kind = min(flag, _SETS - 1)
            predicted = self._magnitudes.predict(here, kind)
            bits = self._coder.batch(predicted[1], None if known is None else known.take(alive) > flag)
            self._magnitudes.update(here, kind, predicted, bits)
            alive = alive[bits]
            size[alive] += 1
            if not len(alive):
                break
        return size
