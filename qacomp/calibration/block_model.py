"""Run a transformer block by block: its weights are read when a block runs, so one block is in memory at a time.

The model itself is run with its blocks replaced: what each of them is called with is recorded, or what the last one
returned is given back. So norms, masks, angles of positions and heads are those of the model's own code.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from qacomp.calibration.transformer import Transformer
from qacomp.errors import NotACheckpointError
from qacomp.formats import BFLOAT16, bfloat16_to_float32

Feed = Mapping[str, Tensor]
"""Inputs of a model by name: (texts, tokens)."""
OUTSIDE = -1
"""Where a weight is that belongs to no block: embeddings, the last norm, heads."""


@dataclass(frozen=True)
class Entry:
    """Hold what one run calls the blocks with. hidden: the input of the first; given: the other arguments of each."""

    hidden: Tensor
    given: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...]


class BlockModel:
    """A transformer whose weights lie elsewhere.

    read: returns a tensor by its name there; names: of all tensors there, more than the model's perhaps. Raises
    NotACheckpointError if a parameter of the model isn't among them.
    """

    def __init__(self, made: Transformer, read: Callable[[str], NDArray[Any]], names: Sequence[str]) -> None:
        self.made, self.read, self.names = made, read, tuple(names)
        self._module = made.module
        inside = made.module.get_submodule(made.blocks)
        assert isinstance(inside, nn.ModuleList)
        self.blocks: list[nn.Module] = list(inside)
        self._sources = _sources(made.module, frozenset(names))
        self._places = [list(inside.get_submodule(str(i)).state_dict()) for i in range(len(inside))]
        form = _BlockForm(lambda args, named: self._call(0, args, named, {}))
        self._stubs = [_Stub(block, form) for block in self.blocks]
        for i, stub in enumerate(self._stubs):
            inside[i] = stub
        self._outside = list(made.module.state_dict())

    def place(self, name: str) -> int | None:
        """Return the number of the block that reads a tensor, OUTSIDE, or None if the model doesn't have it."""
        return self._found.get(name)

    @property
    def _found(self) -> dict[str, int]:
        prefix = f"{self.made.blocks}."
        found = {}
        for own, name in self._sources.items():
            inside = own.startswith(prefix)
            found[name] = int(own[len(prefix) :].partition(".")[0]) if inside else OUTSIDE
        return found

    def linears(self, place: int) -> dict[str, nn.Module]:
        """Return the modules at a place that may multiply by a weight, by the name of the weight's tensor."""
        module = self._module if place == OUTSIDE else self.blocks[place]
        prefix = "" if place == OUTSIDE else f"{self.made.blocks}.{place}."
        return {
            self._sources[own]: child
            for name, child in module.named_modules()
            if (own := f"{prefix}{name}.weight") in self._sources
        }

    @torch.no_grad()
    def entry(self, feed: Feed, changed: Mapping[str, NDArray[Any]]) -> Entry:
        """Return what the blocks are called with. changed: other values of weights, by name."""
        for stub in self._stubs:
            stub.record()
        self._whole(feed, changed)
        if any(stub.given is None for stub in self._stubs):
            raise NotACheckpointError("the model doesn't run all of its blocks; leave out --calibration and --data")
        calls = tuple(stub.given for stub in self._stubs if stub.given is not None)
        return Entry(calls[0][0][0], tuple((args[1:], named) for args, named in calls))

    @torch.no_grad()
    def after(self, place: int, hidden: Tensor, entry: Entry, changed: Mapping[str, NDArray[Any]]) -> Tensor:
        """Return what a block makes of hidden states (texts, tokens, width)."""
        args, named = entry.given[place]
        found = self._call(place, (hidden, *args), named, changed)
        after: Tensor = found[0] if isinstance(found, tuple) else found
        return after

    @torch.no_grad()
    def outputs(self, feed: Feed, hidden: Tensor, changed: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        """Return the model's float outputs by name, given what its last block returned."""
        for stub in self._stubs:
            stub.answer(hidden)
        found = self._whole(feed, changed)
        return {n: y.float() for n, y in found.items() if isinstance(y, Tensor) and y.is_floating_point()}

    def _whole(self, feed: Feed, changed: Mapping[str, NDArray[Any]]) -> Mapping[str, Any]:
        state = self._state("", self._outside, changed)
        found: Mapping[str, Any] = functional_call(self._module, state, (), {**feed, "return_dict": True})
        return found

    def _call(self, place: int, args: tuple[Any, ...], named: dict[str, Any], changed: Mapping[str, Any]) -> Any:
        prefix = f"{self.made.blocks}.{place}."
        return functional_call(self.blocks[place], self._state(prefix, self._places[place], changed), args, named)

    def _state(self, prefix: str, own: Sequence[str], changed: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        """Read the values of a module's state, in single precision."""
        names = {name: self._sources[prefix + name] for name in own if prefix + name in self._sources}
        read = {name: changed[name] if name in changed else self.read(name) for name in set(names.values())}
        held = {name: _tensor(values) for name, values in read.items()}
        return {name: held[source] for name, source in names.items()}


class _BlockForm:
    """Return whether blocks return a tuple: the first one is run once to see. run: calls it."""

    def __init__(self, run: Callable[[tuple[Any, ...], dict[str, Any]], Any]) -> None:
        self._run = run
        self._tuple: bool | None = None

    def of(self, hidden: Tensor, args: tuple[Any, ...], named: dict[str, Any]) -> Tensor | tuple[Tensor]:
        """Return hidden states as a block that is called so returns them."""
        if self._tuple is None:
            self._tuple = isinstance(self._run(args, named), tuple)
        return (hidden,) if self._tuple else hidden


class _Stub(nn.Module):
    """Stands for a block: records what it is called with, and returns its input, or what it is told to return."""

    def __init__(self, block: nn.Module, form: _BlockForm) -> None:
        super().__init__()
        self.__dict__ |= {"block": block, "form": form}  # not as parts of the model
        self.given: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._answer: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the block, such as the kind of its attention."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["block"], name)

    def record(self) -> None:
        """Record the next call, in which it returns its input."""
        self.given = self._answer = None

    def answer(self, hidden: Tensor) -> None:
        """Return these hidden states when it is called, and record nothing."""
        self._answer = hidden

    def forward(self, *args: Any, **named: Any) -> Any:
        """Return the hidden states as a block does."""
        if "hidden_states" in named:
            args = (named["hidden_states"], *args)
            named = {name: value for name, value in named.items() if name != "hidden_states"}
        if self._answer is not None:
            return self.form.of(self._answer, args, named)
        self.given = args, named
        return self.form.of(args[0], args, named)


def _sources(module: nn.Module, names: frozenset[str]) -> dict[str, str]:
    """Map each name in the model's state to the name of the tensor that it is read from: for tied ones, any of them."""
    kept = module.state_dict(keep_vars=True)
    groups: dict[int, list[str]] = {}
    for own, value in kept.items():
        groups.setdefault(id(value), []).append(own)
    parameters = dict(module.named_parameters(remove_duplicate=False))
    found: dict[str, str] = {}
    missing = []
    for group in groups.values():
        source = next((own for own in group if own in names), None)
        if source is not None:
            found |= dict.fromkeys(group, source)
        elif group[0] in parameters:
            missing.append(group[0])
    if missing:
        raise NotACheckpointError(
            f"{type(module).__name__} of transformers has {len(missing)} weights that the folder hasn't, such as "
            f"{missing[0][:80]}; leave out --calibration and --data"
        )
    return found


def _tensor(values: NDArray[Any]) -> Tensor:
    wide = bfloat16_to_float32(values) if values.dtype == BFLOAT16 else values
    return torch.from_numpy(np.array(wide, np.float32) if wide.dtype.kind == "f" else np.array(wide))
