"""The inputs that a program is exported with: `1,576`, `batch,3,32,32`, `1,77:int64`, one for each of forward's."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from qacomp.errors import ConfigError

_DTYPES = ("float32", "float64", "float16", "int64", "int32", "uint8", "bool")
_AXIS = re.compile(r"\d{1,9}|([A-Za-z_]\w*)(=(\d{1,9}))?")
_MOST_VALUES = 1 << 28
_FREE = 2  # the size of a free axis that names none: torch.export takes 1 for a constant


@dataclass(frozen=True)
class ExampleInput:
    """sizes: of each axis in the example; names: of the axes whose size stays free, by axis."""

    sizes: tuple[int, ...]
    names: dict[int, str]
    dtype: torch.dtype

    def drawn(self, rng: np.random.Generator, longer: int = 0) -> torch.Tensor:
        """Draw standard normal floats, zeros of any other dtype; free axes are `longer` than in the example."""
        shape = [size + (longer if axis in self.names else 0) for axis, size in enumerate(self.sizes)]
        if not self.dtype.is_floating_point:
            return torch.zeros(shape, dtype=self.dtype)
        return torch.from_numpy(np.asarray(rng.standard_normal(shape))).to(self.dtype)


def parse_inputs(specs: Sequence[str]) -> tuple[ExampleInput, ...]:
    """Parse each spec's sizes, separated by commas, and `:dtype` unless it is float32. Empty sizes are a scalar's.

    A name in place of a size leaves the axis free; `frames=50` gives its size in the example too, which the same name
    shares. Raises ConfigError, which names the spec.
    """
    sizes: dict[str, int] = {}
    return tuple(_parsed(spec, sizes) for spec in specs)


def _parsed(spec: str, sizes: dict[str, int]) -> ExampleInput:
    shape, _, dtype = spec.replace(" ", "").partition(":")
    if dtype and dtype not in _DTYPES:
        raise ConfigError(f"--input {spec}: the dtype must be one of {', '.join(_DTYPES)}")
    found: list[int] = []
    names: dict[int, str] = {}
    for axis, text in enumerate(shape.split(",") if shape else ()):
        match = _AXIS.fullmatch(text)
        if match is None:
            raise ConfigError(f"--input {spec}: give sizes or names of axes, as 1,576 or batch,3,32,32:int64")
        name, _, size = match.groups()
        if name is None:
            found.append(int(text))
            continue
        names[axis] = name
        wanted = int(size) if size else sizes.get(name, _FREE)
        if sizes.setdefault(name, wanted) != wanted:
            raise ConfigError(f"--input {spec}: the axis {name} has two sizes, {sizes[name]} and {wanted}")
        found.append(wanted)
    if math.prod(found) > _MOST_VALUES:
        raise ConfigError(f"--input {spec}: {math.prod(found):,} values; an example may have {_MOST_VALUES:,}")
    return ExampleInput(tuple(found), names, getattr(torch, dtype or "float32"))
