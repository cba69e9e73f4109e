"""Run a recurrent model step by step: each step's state inputs are the state outputs of the step before.

A state that is drawn at random may be far from any that occurs, and would hide the change that a step makes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qacomp.runtime.agreement import Feed, run_feed
from qacomp.runtime.session import OnnxModel, open_session


def carried_states(first: Feed, outputs: Mapping[str, Any]) -> dict[str, str]:
    """Return state input name -> name of the output that is fed to it in the next step; empty without a state.

    first: one run's inputs; outputs: the outputs of that run; both in the model's order. The first input is taken for
    the signal and the first output for the result. Of the others, float arrays of the same shape and dtype are paired
    in their order, such as h and c of an LSTM with h_n and c_n.
    """
    pairs: dict[str, str] = {}
    for name, value in list(first.items())[1:]:
        if value.dtype.kind != "f" or not value.size:
            continue
        for output, result in list(outputs.items())[1:]:
            fits = isinstance(result, np.ndarray) and (result.shape, result.dtype) == (value.shape, value.dtype)
            if fits and output not in pairs.values():
                pairs[name] = output
                break
    return pairs


def run_steps(model: OnnxModel, feeds: Sequence[Feed], states: Mapping[str, str]) -> tuple[list[Feed], list[Feed]]:
    """Run the model in steps; return (inputs, outputs) of each step, by name.

    feeds: the inputs of each step, in which the `states` (see `carried_states`) are replaced: by zeros in the first
    step, then by the outputs of the step before. A state that isn't finite is set to zero. Raises ExportError if
    onnxruntime refuses the model or a feed.
    """
    session = open_session(model)
    state = {name: np.zeros_like(feeds[0][name]) for name in states}
    inputs, outputs = [], []
    for feed in feeds:
        inputs.append({**feed, **state})
        outputs.append(run_feed(session, inputs[-1]))
        for name, output in states.items():
            new = outputs[-1][output]
            state[name] = new if np.isfinite(new).all() else np.zeros_like(new)
    return inputs, outputs
