"""Run a transformer block by block: its weights are read when a block runs, so one block is in memory at a time.

The model itself is run with its blocks replaced: what each of them is called with is recorded, or what the last one
returned is given back. So norms, masks, angles of positions and heads are those of the model's own code. A decoder
that attends to an encoder is a second stack of blocks, which starts when the first one has ended.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from qacomp.calibration.block_stubs import BlockForm, Stub
from qacomp.calibration.stored_state import MadeOf, stored_state
from qacomp.calibration.transformer import Transformer
from qacomp.errors import NotACheckpointError
from qacomp.formats import BFLOAT16, bfloat16_to_float32

Feed = Mapping[str, Tensor]
"""Inputs of a model by name: (texts, tokens)."""
OUTSIDE = -1
"""Where a weight is that belongs to no block: embeddings, the last norm, heads."""


@dataclass(frozen=True)
class Between:
    """Hold a run between two blocks. hidden: the input of the next one; given: other arguments of each of its stack.

    done: what the last block of each stack before returned.
    """

    hidden: Tensor
    given: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...]
    done: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class _Stack:
    """A list of blocks. name: in the model; first: the number of its first block among those of all stacks."""

    name: str
    first: int
    stubs: tuple[Stub, ...]
    form: BlockForm


class BlockModel:
    """A transformer whose weights lie elsewhere.

    read: returns a tensor by its name there; names: of all tensors there, more than the model's perhaps. Raises
    NotACheckpointError if a parameter of the model can't be made of them.
    """

    def __init__(self, made: Transformer, read: Callable[[str], NDArray[Any]], names: Sequence[str]) -> None:
        self.made, self.read, self.names = made, read, tuple(names)
        self._module = made.module
        self._shapes = {own: value.shape for own, value in made.module.state_dict().items()}
        self.stored, self._made = stored_state(made.module, frozenset(names))
        self.blocks: list[nn.Module] = []
        self._prefixes: list[str] = []
        self._states: list[list[str]] = []
        self._stacks = [self._stack(name) for name in made.stacks]
        self._outside = list(made.module.state_dict())
        self.embedded = frozenset(self._embedded())
        self._changed: Mapping[str, NDArray[Any]] = {}
        self._places = {name: place for own, stored in self.stored.items() for name, place in self._at(own, stored)}

    def _stack(self, name: str) -> _Stack:
        """Replace a list of blocks by stubs."""
        inside, first = self._module.get_submodule(name), len(self.blocks)
        assert isinstance(inside, nn.ModuleList)
        blocks = list(inside)
        self.blocks += blocks
        self._prefixes += [f"{name}.{i}." for i in range(len(blocks))]
        self._states += [list(block.state_dict()) for block in blocks]
        form = BlockForm(lambda args, named: self._call(first, args, named, self._changed))
        stubs = tuple(Stub(block, form, first=i == 0) for i, block in enumerate(blocks))
        for i, stub in enumerate(stubs):
            inside[i] = stub
        return _Stack(name, first, stubs, form)

    def _at(self, own: str, stored: MadeOf) -> list[tuple[str, int]]:
        place = next((i for i, prefix in enumerate(self._prefixes) if own.startswith(prefix)), OUTSIDE)
        return [(name, place) for name in stored.names]

    def _embedded(self) -> Iterator[str]:
        """Yield the names of the tensors that are tables of embeddings, read by row."""
        for place in range(OUTSIDE, len(self.blocks)):
            for name, module in self.modules(place).items():
                if isinstance(module, nn.Embedding) and f"{name}weight" in self.stored:
                    yield from self.stored[f"{name}weight"].names

    @property
    def words(self) -> frozenset[str]:
        """Return the name of the tensor whose rows are looked up by the ids of words; none if it isn't a single one."""
        module: Any = self.made.module
        table = module.get_input_embeddings()
        name = next((name for name, child in module.named_modules() if child is table), "")
        stored = self.stored.get(f"{name}.weight")
        return frozenset(stored.names) if stored is not None and len(stored.names) == 1 else frozenset()

    def place(self, name: str) -> int | None:
        """Return the number of the block that reads a tensor, OUTSIDE, or None if the model doesn't have it."""
        return self._places.get(name)

    def modules(self, place: int) -> dict[str, nn.Module]:
        """Return the modules at a place by their names in the model, with a dot behind each."""
        module, prefix = (self._module, "") if place == OUTSIDE else (self.blocks[place], self._prefixes[place])
        return {prefix + (f"{name}." if name else ""): child for name, child in module.named_modules()}

    def linears(self, place: int) -> dict[str, nn.Module]:
        """Return the modules at a place that may multiply by a weight, by the name of the weight's tensor."""
        return {
            self.stored[f"{name}weight"].parts[0][0]: child
            for name, child in self.modules(place).items()
            if f"{name}weight" in self.stored and not self.stored[f"{name}weight"].stacked
        }

    def starts_again(self, place: int) -> bool:
        """Return whether other blocks take more than hidden states from this one, the first of its stack."""
        return any(stack.first == place and stack.form.flows for stack in self._stacks)

    @property
    def felt_from(self) -> int:
        """Return the place before which weights outside the blocks are felt at the start of the run alone.

        A decoder starts after the last block of its encoder, with embeddings and norms that aren't in the blocks.
        """
        return len(self._stacks[0].stubs) - 1 if len(self._stacks) > 1 else len(self.blocks)

    def start(self, feed: Feed, changed: Mapping[str, NDArray[Any]]) -> Between:
        """Return what the blocks are called with. changed: other values of weights, by name."""
        return self.entered(feed, (), changed)

    @torch.no_grad()
    def entered(self, feed: Feed, done: tuple[Tensor, ...], changed: Mapping[str, NDArray[Any]]) -> Between:
        """Return what the blocks of the stack after those that are done are called with."""
        for stack, hidden in zip(self._stacks, done, strict=False):
            for stub in stack.stubs:
                stub.answer(hidden)
        for stack in self._stacks[len(done) :]:
            for stub in stack.stubs:
                stub.record()
        self._whole(feed, changed)
        found = [stub.given for stub in self._stacks[len(done)].stubs]
        calls = tuple(given for given in found if given is not None)
        for stack in self._stacks[len(done) :]:
            for stub in stack.stubs:
                stub.record()  # holds no activations
        if len(calls) < len(found):
            raise NotACheckpointError("the model doesn't run all of its blocks; leave out --calibration and --data")
        return Between(calls[0][0][0], tuple((args[1:], named) for args, named in calls), done)

    @torch.no_grad()
    def after(self, place: int, feed: Feed, state: Between, changed: Mapping[str, NDArray[Any]]) -> Between:
        """Return what a block makes of the hidden states (texts, tokens, width)."""
        stack = next(stack for stack in reversed(self._stacks) if stack.first <= place)
        args, named = state.given[place - stack.first]
        found = self._call(place, (state.hidden, *args), named, changed)
        hidden: Tensor = found[0] if isinstance(found, tuple) else found
        ends = place == stack.first + len(stack.stubs) - 1 and stack is not self._stacks[-1]
        return self.entered(feed, (*state.done, hidden), changed) if ends else replace(state, hidden=hidden)

    @torch.no_grad()
    def outputs(self, feed: Feed, state: Between, changed: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        """Return the model's float outputs by name, given what its last block returned."""
        for stack, hidden in zip(self._stacks, (*state.done, state.hidden), strict=True):
            for stub in stack.stubs:
                stub.answer(hidden)
        found = self._whole(feed, changed)
        return {n: y.float() for n, y in found.items() if isinstance(y, Tensor) and y.is_floating_point()}

    def _whole(self, feed: Feed, changed: Mapping[str, NDArray[Any]]) -> Mapping[str, Any]:
        self._changed = changed
        state = self._state("", self._outside, changed)
        more = {"return_dict": True, **({"use_cache": False} if len(self._stacks) > 1 else {})}
        found: Mapping[str, Any] = functional_call(self._module, state, (), {**feed, **more})
        self._changed = {}
        return found

    def _call(self, place: int, args: tuple[Any, ...], named: dict[str, Any], changed: Mapping[str, Any]) -> Any:
        state = self._state(self._prefixes[place], self._states[place], changed)
        return functional_call(self.blocks[place], state, args, named)

    def _state(self, prefix: str, own: Sequence[str], changed: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        """Read the values of a module's state, in single precision."""
        stored = {name: self.stored[prefix + name] for name in own if prefix + name in self.stored}

        def read(name: str) -> Tensor:
            return wide_tensor(changed[name] if name in changed else self.read(name))

        held = {value: value.value(read) for value in dict.fromkeys(stored.values())}
        for name, value in stored.items():
            if held[value].shape != self._shapes[prefix + name]:
                raise NotACheckpointError(
                    f"{value.names[0][:80]}: is {list(held[value].shape)}, but config.json means "
                    f"{list(self._shapes[prefix + name])}; copy or download the folder again, or leave out "
                    "--calibration and --data"
                )
        made = {name: self._made[prefix + name] for name in own if prefix + name in self._made}
        return {**{name: held[value] for name, value in stored.items()}, **made}


def wide_tensor(values: NDArray[Any]) -> Tensor:
    """Return a copy of an array as a tensor: floats in single precision, other types as they are."""
    wide = bfloat16_to_float32(values) if values.dtype == BFLOAT16 else values
    return torch.from_numpy(np.array(wide, np.float32) if wide.dtype.kind == "f" else np.array(wide))
