"""Iterate a user's loader with random numbers that depend on a seed only, and leave the caller's generators alone."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import numpy as np
import torch


def seeded_pass(loader: Any, entropy: Sequence[int]) -> Iterator[Any]:
    """Yield a loader's batches. The loader's own generator starts from its initial seed and `entropy`.

    So every pass with the same entropy gives the same order, however often the loader was iterated before. The random
    numbers of Python, numpy and torch are seeded while a batch is made, for augmentations in this process.
    """
    seed = crc32(repr(list(entropy)).encode())
    own = _generator_of(loader)
    before = torch.empty(0) if own is None else own.get_state()
    if own is not None:
        own.manual_seed((own.initial_seed() + seed) % (1 << 63))
    states = _Random.seeded(seed)
    try:
        with states.inside():
            batches = iter(loader)
        while True:
            with states.inside():
                try:
                    batch = next(batches)
                except StopIteration:
                    return
            yield batch
    finally:
        if own is not None:
            own.set_state(before)


def _generator_of(loader: Any) -> torch.Generator | None:
    for place in (loader, getattr(loader, "sampler", None)):
        found = getattr(place, "generator", None)
        if isinstance(found, torch.Generator):
            return found
    return None


class _Random:
    """The states of the generators of Python, numpy and torch (on the CPU)."""

    def __init__(self, states: tuple[Any, Any, Any]) -> None:
        self.states = states

    @classmethod
    def seeded(cls, seed: int) -> "_Random":
        """Return the states after seeding; the present ones don't change."""
        before = cls.present()
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        made = cls.present()
        before.set()
        return made

    @classmethod
    def present(cls) -> "_Random":
        """Return the present states."""
        return cls((random.getstate(), np.random.get_state(), torch.default_generator.get_state()))

    def set(self) -> None:
        """Make these states the present ones."""
        random.setstate(self.states[0])
        np.random.set_state(self.states[1])
        torch.default_generator.set_state(self.states[2])

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Use these states in the block, and remember how it changes them; afterwards restore the former ones."""
        before = self.present()
        self.set()
        try:
            yield
        finally:
            self.states = self.present().states
            before.set()
