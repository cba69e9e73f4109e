"""List the networks in one container (levels of precision, exits or widths) and their costs. Doesn't need torch."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from qacomp.errors import ConfigError, FormatError
from qacomp.evaluation.verdict import Verdict, stated_verdict
from qacomp.extras import installed, naming_extra
from qacomp.folders.layout import network_names
from qacomp.formats import Container, NotSharedError, SharedTensor
from qacomp.graphs.metadata import ORIGINAL, TOGETHER, metadata


@dataclass(frozen=True)
class OperatingPoint:
    """One network of a container, given by the index of its `level` or by the name of its `output` in the graph.

    bytes: of the file that are needed to run it; macs: multiply-accumulates for one example, None if unknown; accuracy:
    top-1 in percent on the test split when the file was written, None if unknown.
    """

    name: str
    level: int | None
    output: str | None
    bytes: int
    macs: int | None
    accuracy: float | None


def level_tensor(k: int, name: str) -> str:
    """Return the name of a tensor of its own for the level with `k` shared values; the finest level has plain names."""
    return f"level{k}:{name}"


def level_sizes(container: Container) -> list[int]:
    """Return the number that names each level, coarsest first: of its shared values, or of its place among sizes.

    They come from the metadata, or from the largest codebooks.
    """
    stored = metadata(container).get("levels")
    if isinstance(stored, list) and len(stored) == container.levels and all(type(k) is int for k in stored):
        return stored
    sizes = [0] * container.levels
    for name in container.names:
        for i, k in enumerate(container.info(name).levels):
            sizes[i] = max(sizes[i], k)
    return sizes


def names_at(container: Container, level: int | None) -> dict[str, str]:
    """Map the network's names of a level's tensors to their names in the file; None: the finest level in the file."""
    names = network_names(container)
    ks, known = level_sizes(container), set(names)
    here = container.level if level is None else level
    own = {level_tensor(k, name) for k in ks for name in names} & known
    found = {name: level_tensor(ks[here], name) for name in names if name not in own}
    return {name: stored if stored in own else name for name, stored in found.items()}


def tensors_at(container: Container, level: int | None, only: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Read the tensors of a level (None: the finest in the file), by the names of the network.

    only: names of the tensors to read; None: all.
    """
    wanted = {name: stored for name, stored in names_at(container, level).items() if only is None or name in only}
    return {name: container.tensor(stored, level=level) for name, stored in wanted.items()}


def weights_at(
    container: Container, level: int | None, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, NDArray[Any] | SharedTensor]:
    """Read the tensors of a level for a network with tensors of these `shapes`; shared ones with their codebooks.

    If the container holds several widths, a stored tensor may be larger; then its first rows and columns are taken.
    Tensors that aren't in `shapes` are left out.
    """
    part = len(operating_points(container)) > 1 and container.levels == 1
    weights: dict[str, NDArray[Any] | SharedTensor] = {}
    for name, value in tensors_at(container, level, shapes).items():
        cut = tuple(slice(size) for size in shapes[name]) if part else ...
        try:
            shared = container.shared(name, level=level)
        except NotSharedError:
            weights[name] = value[cut]
        else:
            weights[name] = replace(shared, indices=shared.indices[cut]) if part else shared
    return weights


def operating_points(container: Container, source: str = "the container") -> tuple[OperatingPoint, ...]:
    """Return the networks in a container that holds several, the smallest first; () if it holds one.

    Raises FormatError if the graph is damaged.
    """
    known = _known(container)
    if container.levels > 1 or metadata(container).get("levels"):
        names = [f"level{k}" for k in level_sizes(container)]
        return tuple(
            OperatingPoint(name, i, None, prefix_bytes(container, i), *known.get(name, (None, None)))
            for i, name in enumerate(names)
        )
    graph = container.graph()
    if graph is None or metadata(container).get("graph") in (ORIGINAL, TOGETHER):
        return ()
    if not known and not installed("onnx"):
        return ()  # only a file that says nothing of them could hold several networks, and its graph can't be read
    with naming_extra("a file with several networks"):
        from qacomp.graphs.submodels import only_output, output_names, weight_names
    outputs = output_names(graph, source)
    if len(outputs) < 2:
        return ()
    return tuple(
        OperatingPoint(
            name,
            None,
            name,
            part_bytes(container, weight_names(only_output(graph, name, source)) & set(container.names)),
            *known.get(name, (None, None)),
        )
        for name in outputs
    )


def agreement_at(container: Container, level: int | None) -> dict[str, Any] | None:
    """Return the agreement with the original that compression measured at a level (None: the finest in the file)."""
    if container.levels == 1:
        return metadata(container).get("agreement")
    return _stated(container, level).get("agreement")


def verdict_at(container: Container, level: int | None) -> Verdict | None:
    """Return the verdict that the container states about a level, or None."""
    return stated_verdict(metadata(container) if container.levels == 1 else _stated(container, level))


def _stated(container: Container, level: int | None) -> Mapping[str, Any]:
    """Return the entry of the metadata about a level."""
    known = metadata(container).get("submodels", {})
    here = level_sizes(container)[container.level if level is None else level]
    entry = known.get(f"level{here}") if isinstance(known, dict) else None
    return entry if isinstance(entry, dict) else {}


def find_point(container: Container, name: str, source: str) -> OperatingPoint:
    """Return the operating point with this name. Raises ConfigError, which lists the existing ones."""
    points = operating_points(container, source)
    for point in points:
        if point.name == name:
            return point
    known = f"it has {', '.join(point.name for point in points)}" if points else "it holds a single network"
    raise ConfigError(f"{source}: no sub-model {name!r}; {known}")


def prefix_bytes(container: Container, level: int) -> int:
    """Return the bytes from the file's start to the end of a level; these bytes can be decoded at that level."""
    return max((s.offset + s.bytes for s in container.sections if s.level <= level), default=container.size)


def part_bytes(container: Container, names: Collection[str]) -> int:
    """Return the bytes of prefix, header, graph, metadata and of the sections that hold any of these tensors."""
    wanted = {container.info(name).same_as or name for name in names}  # equal content is stored once
    unwanted = sum(s.bytes for s in container.sections if s.tensors and not wanted & set(s.tensors))
    return container.size - unwanted


def _known(container: Container) -> dict[str, tuple[int | None, float | None]]:
    """Return (MACs, accuracy) of each sub-model from the metadata, None if unknown. Raises FormatError."""
    stored = metadata(container).get("submodels", {})
    if not isinstance(stored, dict):
        raise FormatError(f"{container.source}: the metadata's sub-models aren't a table; the file is damaged")
    known = {}
    for name, entry in stored.items():
        entry = entry if isinstance(entry, dict) else {}
        macs, accuracy = entry.get("macs"), entry.get("accuracy")
        known[name] = (
            macs if isinstance(macs, int) else None,
            float(accuracy) if isinstance(accuracy, int | float) else None,
        )
    return known
