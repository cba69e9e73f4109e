"""Example inputs for exporting a program: one spec for each argument of forward, as 1,576 or batch,3,32,32:int64."""

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
_FREE = 2  # the example's size of a free axis without a given size: torch.export would treat 1 as a constant


@dataclass(frozen=True)
class ExampleInput:
    """One example input. `sizes`: size of each axis; `names`: axis -> name, for the axes whose size stays free."""

    sizes: tuple[int, ...]
    names: dict[int, str]
    dtype: torch.dtype

    def drawn(self, rng: np.random.Generator, longer: int = 0) -> torch.Tensor:
        """Return a tensor of `sizes`: standard normal values for a float dtype, zeros for any other.

        longer: elements that are added to the size of each free axis.
        """
        shape = [size + (longer if axis in self.names else 0) for axis, size in enumerate(self.sizes)]
        if not self.dtype.is_floating_point:
            return torch.zeros(shape, dtype=self.dtype)
        return torch.from_numpy(np.asarray(rng.standard_normal(shape))).to(self.dtype)


def parse_inputs(specs: Sequence[str]) -> tuple[ExampleInput, ...]:
    """Parse specs: sizes separated by commas, then `:dtype` unless it is float32. A spec without sizes is a scalar.

    A name in place of a size leaves that axis free. `frames=50` is a free axis with size 50 in the example; every axis
    of the same name has the same size. Raises ConfigError, which names the spec.
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
            raise ConfigError(
                f"--input {spec}: {text!r} is no size and no name of an axis; write, for example, 1,576 or "
                "batch,3,32,32:int64"
            )
        name, _, size = match.groups()
        if name is None:
            found.append(int(text))
            continue
        names[axis] = name
        wanted = int(size) if size else sizes.get(name, _FREE)
        if sizes.setdefault(name, wanted) != wanted:
            raise ConfigError(f"--input {spec}: the axis {name} has two sizes, {sizes[name]} and {wanted}; give it one")
        found.append(wanted)
    if math.prod(found) > _MOST_VALUES:
        raise ConfigError(
            f"--input {spec}: {math.prod(found):,} values, but an example may have at most {_MOST_VALUES:,}; give "
            "smaller sizes"
        )
    return ExampleInput(tuple(found), names, getattr(torch, dtype or "float32"))
