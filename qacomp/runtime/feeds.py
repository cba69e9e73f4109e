"""Generate plausible inputs for an ONNX model without data, of sizes with which the model runs."""

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
"""Runs a model on one feed; raises if the model can't run on it."""
_MOST_VALUES = 1 << 26  # in one input: 256 MiB of floats
_MOST_TURNS = 3  # constants that are tried as the value of an input, if the graph compares it with them


@dataclass(frozen=True)
class GeneratedInputs:
    """The inputs of a model, and sizes with which it runs; `feed` draws any number of feeds from them."""

    inputs: tuple[PlannedInput, ...]
    sizes: Mapping[str, int]

    def feed(self, seed: int | Sequence[int], loud: bool = True) -> dict[str, NDArray[Any]]:
        """Draw the inputs of one run, by name; a seed always gives the same. loud: see `draw`."""
        rng = np.random.default_rng(seed)
        return {planned.name: draw(planned, self.sizes, rng, loud) for planned in self.inputs}

    def __str__(self) -> str:
        """Return a description such as `ids 1×32 (ids below 30,522), mask 1×32 (ones)`."""
        return ", ".join(map(self._text, self.inputs))

    def _text(self, planned: PlannedInput) -> str:
        name = "".join(c if c.isprintable() else "?" for c in planned.name[:40])
        shape = "×".join(map(str, planned.sized(self.sizes)))
        return f"{name} {shape or 'scalar'} ({_words(planned)})"


def _words(planned: PlannedInput) -> str:
    if planned.kind == "ids":
        trained = planned.use.words
        which = "" if trained is None else f", of {trained.size:,} rows that look trained"
        return f"ids below {planned.use.rows or 0:,}{which}"
    if planned.kind == "constant":
        return f"{planned.use.compared[0]:g}"
    words = {"image": "a picture", "signal": "noise, a voice", "values": "normal", "mask": "ones", "factor": "ones"}
    words |= {"flag": "false", "size": "the picture's size", "counts": "small integers"}
    return words.get(planned.kind, planned.kind)


def generated_inputs(model: OnnxModel, run: Runner, *, input_shape: Sequence[int] | None = None) -> GeneratedInputs:
    """Find inputs that `run` accepts; the model's graph tells what kind of data each input is.

    input_shape: shape of one example of the first input. Sizes of open axes are chosen by the kind of axis; if the
    model doesn't run with them, others are tried. Raises DataError if no size works or an input isn't a tensor of
    numbers, StoppedRunError if the model was stopped.
    """
    planned = plan_inputs(_proto(model), input_shape)
    problem = "the model has no inputs"
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
            except Exception as error:  # onnxruntime's errors have no common public class
                problem = line(error)
            else:
                return found
    raise DataError(f"the model runs with none of the inputs that were generated ({problem}); give --data")


def generated_feeds(
    session: Any, model: OnnxModel, *, input_shape: Sequence[int] | None = None, seed: int = 0
) -> dict[str, Any]:
    """Return one feed on which `session`, a session of `model`, runs. Raises what `generated_inputs` raises."""
    found = generated_inputs(model, lambda feed: session.run(None, feed), input_shape=input_shape)
    return found.feed(seed)


def _turned(planned: PlannedInput, turn: int) -> PlannedInput:
    """Return the input with another of the constants that the graph compares it with in the first place."""
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
