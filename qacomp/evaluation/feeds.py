"""Inputs for an ONNX model that nobody gave data for: random floats, zeros for integers, sizes that it accepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import DataError
from qacomp.evaluation.session import line

Feeds = Mapping[str, NDArray[Any]]
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int16)": np.int16,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
}
_SIZES = (1, 8, 32, 64, 128, 224, 256, 512, 576, 1024, 4000, 16000)


def generated_feeds(session: Any, *, input_shape: Sequence[int] | None = None, seed: int = 0) -> dict[str, Any]:
    """Feeds that `session` runs with, the same for every model with the same inputs.

    Floats are standard normal, integers and booleans zero. `input_shape`: one example's shape of the first input. An
    open first size is 1, and so is every size of its name; other open sizes are tried from 1 to 16,000, all equal,
    until the model runs.

    Raises DataError where no size works or an input is no tensor of numbers.
    """
    inputs = session.get_inputs()
    for value in inputs:
        if value.type not in _TYPES:
            raise DataError(f"input {value.name!r} is a {value.type}: no inputs can be made up for it; give --data")
    batch = {value.shape[0] for value in inputs if value.shape and isinstance(value.shape[0], str)}
    problem = "the model takes no input"
    for size in _SIZES if _has_open_sizes(inputs) else (1,):
        rng = np.random.default_rng(seed)
        feeds = {}
        for number, value in enumerate(inputs):
            given = input_shape if number == 0 else None
            shape = [
                d if isinstance(d, int) and d >= 0 else (1 if axis == 0 or d in batch else size)
                for axis, d in enumerate(value.shape)
            ]
            if given is not None and len(given) == len(shape) - 1:
                shape[1:] = given
            feeds[value.name] = _values(rng, tuple(shape), _TYPES[value.type])
        try:
            session.run(None, feeds)
        except Exception as error:  # onnxruntime's classes share no public root
            problem = line(error)
        else:
            return feeds
    raise DataError(f"the model runs with none of the inputs that were tried ({problem}): give --data")


def drawn_again(feeds: Feeds, seed: int | Sequence[int], scale: float = 1.0) -> dict[str, Any]:
    """Other values of the same shapes and dtypes, as `generated_feeds` draws them, floats times `scale`."""
    rng = np.random.default_rng(seed)
    again = {name: _values(rng, value.shape, value.dtype.type) for name, value in feeds.items()}
    return {
        name: value * value.dtype.type(scale) if value.dtype.kind == "f" else value for name, value in again.items()
    }


def _has_open_sizes(inputs: Sequence[Any]) -> bool:
    return any(not isinstance(d, int) for value in inputs for d in value.shape[1:])


def _values(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
    if np.issubdtype(dtype, np.floating):
        return np.asarray(rng.standard_normal(shape)).astype(dtype)
    return np.zeros(shape, dtype)
