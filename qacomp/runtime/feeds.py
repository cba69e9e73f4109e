"""Inputs for an ONNX model that nobody gave data for: plausible ones, of sizes that it runs with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import DataError, StoppedRunError
from qacomp.runtime.input_plan import PlannedInput, plan_inputs, sizes_to_try
from qacomp.runtime.input_values import draw
from qacomp.runtime.session import OnnxModel, line

Feeds = Mapping[str, NDArray[Any]]
Runner = Callable[[dict[str, Any]], object]
"""Runs a model on one feed; raises where it can't."""
_MOST_VALUES = 1 << 26  # of one input: 256 MiB of floats
_MOST_TURNS = 3  # constants that an input is held against


@dataclass(frozen=True)
class GeneratedInputs:
    """Inputs of a model, with the sizes that it runs with; as many feeds as one wants."""

    inputs: tuple[PlannedInput, ...]
    sizes: Mapping[str, int]

    def feed(self, seed: int | Sequence[int], loud: bool = True) -> dict[str, NDArray[Any]]:
        """Draw one run's inputs by name, the same for the same seed. Floats that aren't `loud` are a tenth as large."""
        rng = np.random.default_rng(seed)
        return {planned.name: draw(planned, self.sizes, rng, loud) for planned in self.inputs}

    def __str__(self) -> str:
        """Return what they are: `ids 1×32 (ids below 30,522), mask 1×32 (ones)`."""
        return ", ".join(map(self._text, self.inputs))

    def _text(self, planned: PlannedInput) -> str:
        name = "".join(c if c.isprintable() else "?" for c in planned.name[:40])
        shape = "×".join(map(str, planned.sized(self.sizes)))
        return f"{name} {shape or 'scalar'} ({_words(planned)})"


def _words(planned: PlannedInput) -> str:
    if planned.kind == "ids":
        return f"ids below {planned.use.rows or 0:,}"
    if planned.kind == "constant":
        return f"{planned.use.compared[0]:g}"
    words = {"image": "a picture", "signal": "noise, a voice", "values": "normal", "mask": "ones", "factor": "ones"}
    words |= {"flag": "false", "size": "the picture's size", "counts": "small integers"}
    return words.get(planned.kind, planned.kind)


def generated_inputs(model: OnnxModel, run: Runner, *, input_shape: Sequence[int] | None = None) -> GeneratedInputs:
    """Find inputs that `run` accepts, for a model whose graph tells what they are.

    input_shape: one example's shape of the first input. Open sizes are chosen by what an axis is, and others are tried
    where the model doesn't run with them. Raises DataError where no size works or an input is no tensor of numbers,
    StoppedRunError where the model was stopped.
    """
    planned = plan_inputs(_proto(model), input_shape)
    problem = "the model takes no input"
    turns = max((len(p.use.compared) for p in planned if p.kind == "constant"), default=1)
    for turn in range(min(turns, _MOST_TURNS)):
        chosen = tuple(_turned(p, turn) for p in planned)
        for sizes in sizes_to_try(chosen):
            found = GeneratedInputs(chosen, sizes)
            if any(math.prod(p.sized(sizes)) > _MOST_VALUES for p in chosen):
                problem = f"an input of more than {_MOST_VALUES:,} values"
                continue
            try:
                run(found.feed(0))
            except StoppedRunError:
                raise
            except Exception as error:  # onnxruntime's classes share no public root
                problem = line(error)
            else:
                return found
    raise DataError(f"the model runs with none of the inputs that were tried ({problem}): give --data")


def generated_feeds(
    session: Any, model: OnnxModel, *, input_shape: Sequence[int] | None = None, seed: int = 0
) -> dict[str, Any]:
    """Return one feed that `session`, which holds `model`, runs with. Raises DataError as `generated_inputs` does."""
    found = generated_inputs(model, lambda feed: session.run(None, feed), input_shape=input_shape)
    return found.feed(seed)


def _turned(planned: PlannedInput, turn: int) -> PlannedInput:
    """Return the input with the constant of that turn first."""
    held = planned.use.compared
    if planned.kind != "constant" or not held:
        return planned
    return replace(planned, use=replace(planned.use, compared=held[turn % len(held) :] + held[: turn % len(held)]))


def _proto(model: OnnxModel) -> Any:
    import onnx

    if isinstance(model, onnx.ModelProto):
        return model
    if isinstance(model, bytes):
        return onnx.ModelProto.FromString(model)
    return onnx.load(model, load_external_data=False)
