"""Compare two containers: tensors, sizes, settings, provenance and graphs. Doesn't need torch."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import ConfigError
from qacomp.formats import BFLOAT16, Container, TensorInfo, UnsupportedVersionError, bfloat16_to_float32
from qacomp.graphs.metadata import metadata
from qacomp.options.older import translated
from qacomp.remote import open_file


@dataclass(frozen=True)
class TensorChange:
    """One tensor that differs; change: "added", "removed" or "changed"; pairs are (value in a, value in b).

    max_abs, rms: largest and root-mean-square |b − a|, if both have the same shape, else None; NaN if values aren't
    finite. relative: rms divided by the root mean square of a's values; infinite if only those of a are all zero.
    bytes: stored bytes, as in `TensorInfo`; None also if only a newer version can decode what tells them.
    """

    name: str
    change: str
    shape: tuple[tuple[int, ...] | None, tuple[int, ...] | None]
    dtype: tuple[str | None, str | None]
    k: tuple[int | None, int | None]
    bytes: tuple[int | None, int | None]
    max_abs: float | None
    rms: float | None
    relative: float | None = None


@dataclass(frozen=True)
class Difference:
    """The differences between two containers.

    bytes: sizes of the two files; unchanged: number of equal tensors; settings, provenance: name -> (value in a, value
    in b) of the entries that differ, None for a missing value.
    """

    a: Path
    b: Path
    bytes: tuple[int, int]
    unchanged: int
    tensors: tuple[TensorChange, ...]
    settings: dict[str, tuple[Any, Any]]
    provenance: dict[str, tuple[Any, Any]]
    graph_differs: bool

    @property
    def same(self) -> bool:
        """Return whether tensors, settings, provenance and graphs are all equal."""
        return not (self.tensors or self.settings or self.provenance or self.graph_differs)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document that `diff --json` prints."""
        return {**asdict(self), "a": str(self.a), "b": str(self.b), "same": self.same}


def compare(a: Path, b: Path) -> Difference:
    """Compare two containers, decoding one tensor of each at a time. Raises FormatError and OSError."""
    with open_file(a) as first, open_file(b) as second:
        left = {name: first.info(name) for name in first.names}
        right = {name: second.info(name) for name in second.names}
        changes = []
        for name in [*left, *(name for name in right if name not in left)]:
            change = _compare(first, second, left.get(name), right.get(name))
            if change is not None:
                sizes = _bytes(first, left.get(name)), _bytes(second, right.get(name))
                changes.append(replace(change, bytes=sizes))
        x, y = dict(metadata(first)), dict(metadata(second))
        settings = _differing(_settings(x.pop("settings", "")), _settings(y.pop("settings", "")))
        return Difference(
            a,
            b,
            (first.size, second.size),
            len(left.keys() & right.keys()) - sum(change.change == "changed" for change in changes),
            tuple(changes),
            settings,
            _differing(_flat(x), _flat(y)),
            first.graph() != second.graph(),
        )


def _compare(first: Container, second: Container, a: TensorInfo | None, b: TensorInfo | None) -> TensorChange | None:
    """Return the change of one tensor; None if its shape, dtype, codebook size, blocks and values are equal."""
    if a is None or b is None:
        one = a or b
        assert one is not None
        return _change(one.name, "added" if a is None else "removed", a, b, None)
    if (a.shape, a.dtype, a.k, a.blocks, a.digest) == (b.shape, b.dtype, b.k, b.blocks, b.digest):
        return None
    distance = None
    if a.shape == b.shape:
        distance = _distance(first.tensor(a.name), second.tensor(b.name))
        if distance[0] == 0 and (a.dtype, a.k, a.blocks) == (b.dtype, b.k, b.blocks):
            return None  # digests can differ although the values are equal, for example 0.0 and -0.0
    return _change(a.name, "changed", a, b, distance)


def _change(
    name: str, change: str, a: TensorInfo | None, b: TensorInfo | None, distance: tuple[float, float, float] | None
) -> TensorChange:
    return TensorChange(
        name,
        change,
        (a.shape if a else None, b.shape if b else None),
        (a.dtype if a else None, b.dtype if b else None),
        (a.k if a else None, b.k if b else None),
        (None, None),
        *(distance or (None, None, None)),
    )


def _bytes(container: Container, info: TensorInfo | None) -> int | None:
    """Return the stored bytes of a tensor, as all commands show them; None if only a newer version can decode them."""
    try:
        return None if info is None else container.measured(info.name).bytes
    except UnsupportedVersionError:
        return None


def _distance(a: NDArray[Any], b: NDArray[Any]) -> tuple[float, float, float]:
    """Return the largest and the root-mean-square |b − a|, and the latter relative to the root mean square of a."""
    if not a.size:
        return 0.0, 0.0, 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        before = _wide(a)
        difference = _wide(b) - before
        rms, size = (math.sqrt(float(np.mean(values**2))) for values in (difference, before))
    return float(np.abs(difference).max()), rms, rms / size if size else math.inf if rms else 0.0


def _wide(array: NDArray[Any]) -> NDArray[np.float64]:
    return (bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array).astype(np.float64)


def _settings(toml: Any) -> dict[str, Any]:
    """Return a container's settings, under their present names, as name -> value.

    Text that isn't TOML, or has a value that no setting can have, is one value named `settings`.
    """
    try:
        return _flat(translated(tomllib.loads(str(toml)), "settings"))
    except (ConfigError, ValueError, RecursionError):
        return {"settings": str(toml)}


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one dict with keys such as `outer.inner`."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {key: (a.get(key), b.get(key)) for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)}
