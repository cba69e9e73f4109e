"""Calibrate a transformer block by block: moments of what its products read, and how far its outputs move.

Everything equals what a run of the whole model gives; only one block's weights are held at a time. The activations of
all texts between two blocks are held, and those of the few texts on which changed weights are tried between all blocks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qacomp.calibration.block_model import OUTSIDE, Between, BlockModel, Feed
from qacomp.calibration.gradient_moments import MOST_WEIGHTS, PASSES
from qacomp.calibration.moment_sums import FEWEST, MomentSums, portions
from qacomp.calibration.text_vectors import share_of, with_vectors
from qacomp.calibration.tuning import STEPS
from qacomp.calibration.whole_transformer import WholeTransformer
from qacomp.rate.calibrated import Moment
from qacomp.rate.matrices import output_major
from qacomp.tensors.digest import arrays_digest


@dataclass(frozen=True)
class TextInputs:
    """Token ids, as inputs of a model, to calibrate it on. text: what they are; words: they are drawn at random.

    of_moments: what second moments are taken from; tried: a few on which changed weights are tried; others: apart from
    both, for the comparison of two ways of rounding.
    """

    text: str
    of_moments: tuple[Feed, ...]
    tried: tuple[Feed, ...]
    others: tuple[Feed, ...]
    words: bool = False


class BlockCalibration:
    """A transformer with texts; see `CalibratedModel` and `TunableModel`.

    seed: of the positions that are taken into moments; note: is told of experts that get few tokens. whole: makes the
    same model in one piece; without it no vectors can be tuned.
    """

    of_outputs = True
    tuning_steps = STEPS

    def __init__(
        self,
        model: BlockModel,
        inputs: TextInputs,
        seed: int,
        note: Callable[[str], None] = lambda _: None,
        whole: Callable[[], WholeTransformer] | None = None,
    ) -> None:
        self._model, self._inputs, self._seed, self._note, self._make = model, inputs, seed, note, whole

    @property
    def text(self) -> str:
        """Return what the texts are and how many."""
        return self._inputs.text

    @property
    def of_words(self) -> bool:
        """Return whether the texts are words at random; see `OnnxCalibration.of_words`."""
        return self._inputs.words

    @property
    def tables(self) -> frozenset[str]:
        """Return the tensor whose rows are looked up by the ids of words."""
        return self._model.words

    @property
    def digest(self) -> str:
        """Return the SHA-256, in hex, over all texts."""
        feeds = (*self._inputs.of_moments, *self._inputs.tried, *self._inputs.others)
        return arrays_digest([{name: value.numpy() for name, value in feed.items()} for feed in feeds])

    @property
    def batches(self) -> int:
        """Return in how many steps the moments are taken: for each block, what is around them, and the gradients."""
        return len(self._model.blocks) + 1 + (PASSES if self._has_gradients else 0)

    def moments(self, names: Mapping[str, tuple[int, ...]], advance: Callable[[], None]) -> dict[str, Moment]:
        """Return the moment of each weight that a linear layer multiplies with; see `CalibratedModel`.

        Of models that aren't too large, those of gradients too, and the moments of tables.
        """
        found = {name: moment for block in self.each_moment(names, advance) for name, moment in block.items()}
        if self._whole is None or not self._has_gradients:
            if self._whole is not None:
                self._note(
                    f"rounding errors compensate each other along inputs alone: a transformer of more than "
                    f"{MOST_WEIGHTS:,} weights isn't run backwards"
                )
            return found
        linears, tables = self._whole.gradient_moments(self._inputs.of_moments, self._seed, advance)
        if unreached := [n for n in self._whole.watched if n in names and n not in linears and n not in tables]:
            few = ", ".join(name[:80] for name in unreached[:3]) + (", ..." if len(unreached) > 3 else "")
            self._note(
                f"{len(unreached)} weights ({few}): no gradients reach them, or ones that are no numbers, so their "
                "rounding errors compensate each other along inputs alone"
            )
        for name, values in linears.items():
            moment = found.get(name)
            if moment is not None and moment.view.matrices(np.empty(names[name], bool)).shape[:2] == values.shape[:2]:
                found[name] = replace(moment, outputs=values)
        for name, values in tables.items():
            if name in names and name not in found and names[name][1:] == values.shape[1:2]:
                found[name] = Moment(output_major(names[name]), values, table=True)
        return found

    @property
    def _has_gradients(self) -> bool:
        return self._whole is not None and self._whole.weights <= MOST_WEIGHTS

    def each_moment(
        self, names: Mapping[str, tuple[int, ...]], advance: Callable[[], None]
    ) -> Iterator[dict[str, Moment]]:
        """Yield the moments of the weights of each block, then of those around the blocks."""
        feeds, model = self._inputs.of_moments, self._model
        states = [model.start(feed, {}) for feed in feeds]
        starved = experts = 0
        for place in range(len(model.blocks)):
            before, states = states, []
            for portion in portions(names, model, place):
                sums = MomentSums(names, [self._seed, place], len(feeds), portion)
                with sums.watching(model, place):
                    states = self._after(place, before)
                if sums.starved:
                    starved += sums.starved
                    with sums.watching(model, place), sums.sending_all(model, place):
                        self._after(place, before)
                experts += sums.experts
                yield sums.moments()
            advance()
        sums = MomentSums(names, [self._seed, len(model.blocks)], len(feeds))
        with sums.watching(model, OUTSIDE):
            for feed, last in zip(feeds, states, strict=True):
                model.outputs(feed, last, {})
        advance()
        yield sums.moments()
        if starved:
            self._note(
                f"{starved} of {experts} experts get fewer than {FEWEST} of the texts' tokens, so they are calibrated "
                "on other tokens of their layer too"
            )

    def _after(self, place: int, states: Sequence[Between]) -> list[Between]:
        return [self._model.after(place, f, s, {}) for f, s in zip(self._inputs.of_moments, states, strict=True)]

    def distance(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return how far the outputs move, relative to how they vary over all positions of the texts."""
        return self._tried(values)

    def distance_elsewhere(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return the same on texts that neither the moments nor the steps come from."""
        return self._elsewhere(values)

    @property
    def vectors(self) -> Sequence[str]:
        """Return the names of the norms and biases; none where they can't be tuned."""
        return () if self._whole is None else self._whole.vectors

    @property
    def weights(self) -> int:
        """Return the number of weights beside them."""
        return 0 if self._whole is None else self._whole.weights

    def tuned(self, values: Mapping[str, NDArray[Any]], advance: Callable[[], None]) -> dict[str, NDArray[Any]]:
        """Return norms and biases, tuned on the texts of the moments; see `TunableModel`."""
        return {} if self._whole is None else self._whole.tuned(values, self._inputs.of_moments, self._seed, advance)

    @cached_property
    def _whole(self) -> WholeTransformer | None:
        return None if self._make is None else self._make()

    @cached_property
    def _tried(self) -> "BlockDistance":
        return BlockDistance(self._model, self._inputs.tried)

    @cached_property
    def _elsewhere(self) -> "BlockDistance":
        return BlockDistance(self._model, self._inputs.others)


class BlockDistance:
    """Runs a model on a few texts with changed weights, from the first block that any of them changes."""

    def __init__(self, model: BlockModel, feeds: Sequence[Feed]) -> None:
        self._model, self._feeds = model, feeds
        self._held: list[list[Between]] = [[model.start(feed, {}) for feed in feeds]]  # at the entry of each block
        for place in range(len(model.blocks)):
            self._held.append(self._after(place, self._held[-1], {}))
        pairs = zip(feeds, self._held[-1], strict=True)
        self._wanted = [self._felt(feed, state, {}) for feed, state in pairs]
        self._sizes = {name: _variation([run[name] for run in self._wanted]) for name in self._wanted[0]}

    def __call__(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return Σ|y − ŷ|² / Σ|y − mean y|², the mean over the outputs by their shares.

        values: by the names of tensors.
        """
        places = [place for name in values if (place := self._model.place(name)) is not None]
        if not places:
            return 0.0
        first = min(place for place in (*places, len(self._model.blocks)))
        states = self._held[max(first, 0)]
        if first == OUTSIDE:
            states = [self._model.start(feed, values) for feed in self._feeds]
            if all(torch.equal(a.hidden, b.hidden) for a, b in zip(states, self._held[0], strict=True)):
                first = min((place for place in places if place != OUTSIDE), default=len(self._model.blocks))
                first = min(first, self._model.felt_from)
                states = self._held[first]
        if self._model.starts_again(first):
            pairs = zip(self._feeds, states, strict=True)
            states = [self._model.entered(feed, state.done, values) for feed, state in pairs]
        for place in range(max(first, 0), len(self._model.blocks)):
            states = self._after(place, states, values)
        errors = dict.fromkeys(self._sizes, 0.0)
        for feed, last, wanted in zip(self._feeds, states, self._wanted, strict=True):
            found = self._felt(feed, last, values)
            for name, own in wanted.items():
                errors[name] += float(((own - found[name]).double() ** 2).sum())
        told = {name: errors[name] / size for name, size in self._sizes.items() if size > 0}
        shares = [share_of(name, self._sizes) for name in told]
        return float(np.average(list(told.values()), weights=shares)) if told else 0.0

    def _felt(self, feed: Feed, last: Between, values: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        return with_vectors(self._model.outputs(feed, last, values), self._model.made.pooling)

    def _after(self, place: int, states: Sequence[Between], values: Mapping[str, NDArray[Any]]) -> list[Between]:
        return [self._model.after(place, f, s, values) for f, s in zip(self._feeds, states, strict=True)]


def _variation(runs: Sequence[Tensor]) -> float:
    """Return Σ|y − mean y|² over all positions of runs (..., values); the mean of each value is over the positions."""
    rows = torch.cat([run.reshape(-1, run.shape[-1]) for run in runs]).double()
    return float(((rows - rows.mean(0)) ** 2).sum())
