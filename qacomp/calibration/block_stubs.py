"""Stand for the blocks of a transformer while the rest of it runs: record their arguments, or give back an answer."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class BlockForm:
    """Return hidden states in the form in which the blocks of a stack do: alone, or first in a tuple.

    run: calls the first block. What a block returns beside the hidden states may be an argument of the next ones: the
    first block of T5 makes the offsets of attention that all others take.
    """

    def __init__(self, run: Callable[[tuple[Any, ...], dict[str, Any]], Any]) -> None:
        self._run = run
        self._tuple: bool | None = None
        self._rest: tuple[Any, ...] = ()

    @property
    def flows(self) -> bool:
        """Return whether tensors beside the hidden states go from the first block to others."""
        return any(isinstance(part, Tensor) for part in self._rest)

    def of(self, hidden: Tensor, args: tuple[Any, ...], named: dict[str, Any], *, first: bool) -> Any:
        """Return hidden states as a block that is called so returns them; first: it is the first one of a new run."""
        if self._tuple is None or (first and self.flows):
            found = self._run(args, named)
            self._tuple = isinstance(found, tuple)
            self._rest = found[1:] if isinstance(found, tuple) else ()
        return (hidden, *self._rest) if self._tuple else hidden


class Stub(nn.Module):
    """Stands for a block: records what it is called with, and returns its input, or what it is told to return."""

    def __init__(self, block: nn.Module, form: BlockForm, *, first: bool) -> None:
        super().__init__()
        self.__dict__ |= {"block": block, "form": form}  # not as parts of the model
        self.given: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._first = first
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
            return self.form.of(self._answer, args, named, first=False)
        self.given = args, named
        return self.form.of(args[0], args, named, first=self._first)
