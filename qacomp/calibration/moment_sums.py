"""Sum second moments of what the weights at one place of a transformer are multiplied with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qacomp.calibration.block_model import BlockModel
from qacomp.calibration.halved_moment import HalvedMoment
from qacomp.calibration.layer_inputs import rows_as_columns, second_moment, serving_rows
from qacomp.calibration.plain_products import PlainProducts, plain_weights
from qacomp.calibration.stored_state import MadeOf
from qacomp.rate.calibrated import Moment
from qacomp.rate.matrices import MatrixView, input_major, output_major

_POSITIONS = 40_000  # of all texts together that are taken into a weight's moment, as for ONNX models
_MOST_INPUTS = 6_144  # of a row: the factor of one with more takes minutes and gigabytes
_MOST_BYTES = 1 << 30  # of the moments of experts that are held together
FEWEST = 128
"""Tokens of an expert: with fewer its rounding would follow these few."""


@dataclass
class _InputSum:
    """Hold Σ x xᵀ; calls: how often x were added; sent: those of them that the router sent here."""

    total: HalvedMoment = field(default_factory=HalvedMoment)
    calls: int = 0
    sent: int = 0

    def add(self, moment: Tensor, count: int, *, sent: bool) -> None:
        """Add Σ x xᵀ (1, n, n) over the tokens of a run."""
        self.total.add(moment, count, self.calls)
        self.calls += 1
        self.sent += count if sent else 0


@dataclass
class _ExpertSums:
    """Hold the sums of a stack of experts. shape: (experts, rows, n), or (experts, n, rows) if not `outputs_first`."""

    stored: MadeOf
    shape: tuple[int, ...]
    sums: list[_InputSum] = field(default_factory=list)
    outputs_first: bool = True

    def read_as(self, *, outputs_first: bool) -> None:
        """Keep how the model reads the matrices."""
        self.outputs_first = outputs_first


@dataclass(frozen=True)
class Portion:
    """Say which weights at a place are summed: of `of` portions of the experts number `number`; linear layers in 0."""

    number: int = 0
    of: int = 1

    def has(self, expert: int) -> bool:
        """Return whether an expert is in it."""
        return expert % self.of == self.number


def portions(names: Mapping[str, tuple[int, ...]], model: BlockModel, place: int) -> list[Portion]:
    """Return portions of the experts at a place, the moments of each of which take at most `_MOST_BYTES`."""
    taken = most = 0
    for own, held in plain_weights(model.modules(place)).items():
        if own in model.stored and any(name in names for name in model.stored[own].names):
            shape = tuple(getattr(*held).shape)
            side = max((n for n in shape[-2:] if n <= _MOST_INPUTS), default=0)
            experts = shape[0] if len(shape) == 3 else 1
            taken, most = taken + 2 * 8 * side**2 * experts, max(most, experts)  # two halves of float64
    count = min(-(-taken // _MOST_BYTES), most)
    return [Portion(number, count) for number in range(count)] or [Portion()]


class MomentSums:
    """Sums of the moments at one place. names: shapes of the tensors that are asked for; runs: how often it runs."""

    def __init__(
        self, names: Mapping[str, tuple[int, ...]], seed: Sequence[int], runs: int, portion: Portion = Portion()
    ) -> None:
        self._names, self._rng, self._portion = names, np.random.default_rng(seed), portion
        self._most = -(-_POSITIONS // max(1, runs))
        self._sums: dict[str, _InputSum] = {}
        self._views: dict[str, MatrixView] = {}
        self._embedded: set[str] = set()
        self._experts: dict[str, _ExpertSums] = {}
        self._sent = True

    @contextmanager
    def watching(self, model: BlockModel, place: int) -> Iterator[None]:
        """Add what the weights at a place are multiplied with in the block."""
        with ExitStack() as stack:
            for name, module in model.linears(place).items() if self._portion.number == 0 else ():
                if (view := self._view(name, module)) is not None:
                    self._views[name] = view
                    if name in model.embedded:
                        self._embedded.add(name)
                    stack.callback(module.register_forward_pre_hook(self._adder(name)).remove)
            weights = {}
            for own, held in plain_weights(model.modules(place)).items():
                stored = model.stored.get(own)
                if stored is not None and any(name in self._names for name in stored.names):
                    shape = tuple(getattr(*held).shape)
                    shape = shape if len(shape) == 3 else (1, *shape)
                    self._experts.setdefault(own, _ExpertSums(stored, shape, [_InputSum() for _ in range(shape[0])]))
                    weights[own] = held
            stack.enter_context(PlainProducts(weights, self._add_expert))
            yield

    @contextmanager
    def sending_all(self, model: BlockModel, place: int) -> Iterator[None]:
        """Send all tokens to experts that got too few: each of them gets its share of the tokens of its layer."""
        self._sent = False
        with ExitStack() as stack:
            for prefix, module in model.modules(place).items():
                few = self._few(prefix)
                if few:
                    stack.callback(module.register_forward_pre_hook(_sends(few)).remove)
            yield
        self._sent = True

    @property
    def starved(self) -> int:
        """Return how many experts got fewer than `FEWEST` tokens."""
        few: set[tuple[str, int]] = set()
        for own in self._experts:
            prefix = own.rpartition(".")[0]
            few |= {(prefix, expert) for expert in self._few(f"{prefix}.")}
        return len(few)

    @property
    def experts(self) -> int:
        """Return how many experts there are in the portion."""
        count = {own.rpartition(".")[0]: held.shape[0] for own, held in self._experts.items() if held.shape[0] > 1}
        return sum(self._portion.has(expert) for most in count.values() for expert in range(most))

    def _few(self, prefix: str) -> list[int]:
        stacks = [h for own, h in self._experts.items() if own.rpartition(".")[0] == prefix[:-1] and h.shape[0] > 1]
        return sorted(
            {i for held in stacks for i, one in enumerate(held.sums) if self._portion.has(i) and one.sent < FEWEST}
        )

    def moments(self) -> dict[str, Moment]:
        """Return the mean over all positions that were taken; a table that is read by row too serves both uses."""
        found = {}
        for name, one in self._sums.items():
            if (mean := one.total.mean()) is not None:
                mean = serving_rows(mean) if name in self._embedded else mean
                found[name] = Moment(self._views[name], mean.numpy())
        for held in self._experts.values():
            found |= self._of_experts(held)
        return found

    def _of_experts(self, held: _ExpertSums) -> dict[str, Moment]:
        major = output_major if held.outputs_first else input_major
        if not held.stored.stacked:
            (name,) = held.stored.names
            means = [mean for one in held.sums if (mean := one.total.mean()) is not None]
            if name not in self._names or len(means) < len(held.sums):
                return {}
            values = torch.cat(means).numpy()
            if len(self._names[name]) == 2:
                return {name: Moment(major(held.shape[1:]), values)}
            experts, first, second = held.shape
            view = (
                MatrixView(held.shape, (0, 1, 2), experts, first)
                if held.outputs_first
                else MatrixView(held.shape, (0, 2, 1), experts, second)
            )
            return {name: Moment(view, values)}
        if not held.outputs_first and len(held.stored.parts) > 1:
            return {}  # the parts lie along the inputs
        found = {}
        for expert, one in enumerate(held.sums):
            if (mean := one.total.mean()) is None:
                continue
            values = mean.numpy()
            for part in held.stored.parts:
                if (name := part[expert]) in self._names and len(self._names[name]) == 2:
                    found[name] = Moment(major(self._names[name]), values)
        return found

    def _view(self, name: str, module: nn.Module) -> MatrixView | None:
        shape = self._names.get(name)
        if shape is None or len(shape) != 2:
            return None
        if isinstance(module, nn.Linear):
            view = output_major(shape)
        elif type(module).__name__ == "Conv1D":  # transformers' linear layer of (inputs, outputs), as in GPT-2
            view = input_major(shape)
        else:
            return None
        return view if view.inputs <= _MOST_INPUTS else None

    def _adder(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def add(module: nn.Module, given: tuple[Any, ...]) -> None:
            self._add(self._sums.setdefault(name, _InputSum()), given[0])

        return add

    def _add_expert(self, own: str, expert: int, given: Tensor, outputs_first: bool) -> None:
        held = self._experts[own]
        if (
            self._portion.has(expert)
            and given.shape[-1] <= _MOST_INPUTS
            and given.shape[-1] == held.shape[2 if outputs_first else 1]
        ):
            held.read_as(outputs_first=outputs_first)
            self._add(held.sums[expert], given)

    def _add(self, one: _InputSum, given: Tensor) -> None:
        if given.numel():
            taken = rows_as_columns(given.detach().float(), self._pick)
            one.add(second_moment(taken), taken.shape[2], sent=self._sent)

    def _pick(self, count: int) -> Tensor | None:
        return torch.from_numpy(self._rng.integers(0, count, self._most)) if count > self._most else None


def _sends(experts: Sequence[int]) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...] | None]:
    """Return a hook that gives tokens to these experts in turn, if a module is called as transformers calls experts.

    That is with the tokens (tokens, n), and with the number and the weight of each expert that one goes to.
    """

    def send(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        tensors = len(given) == 3 and all(isinstance(part, Tensor) and part.dim() == 2 for part in given)
        if not tensors or given[1].is_floating_point() or not len(given[0]) == len(given[1]) == len(given[2]):
            return None
        turn = torch.tensor(experts, dtype=given[1].dtype)[torch.arange(len(given[0])) % len(experts)]
        return given[0], turn[:, None], torch.ones_like(given[2][:, :1])

    return send
