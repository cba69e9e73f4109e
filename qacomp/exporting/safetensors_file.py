"""Decode a container to the state dict of a PyTorch model, in memory or as .safetensors. Doesn't need torch."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import ConfigError, ExportError
from qacomp.exporting.decoded import Decoded, DecodeOptions
from qacomp.exporting.operating_points import names_at, tensors_at
from qacomp.exporting.part import level_of
from qacomp.exporting.safetensors_output import Shape, write_safetensors
from qacomp.formats import BFLOAT16, Container
from qacomp.graphs.metadata import metadata
from qacomp.runtime.comparison import largest_difference
from qacomp.tensors.foreign_dtypes import FOREIGN, META_KEY, Meant, foreign_types, type_name
from qacomp.tensors.safetensors_metadata import given_back


def state_dict(container: Container, level: int | None = None) -> dict[str, NDArray[Any]]:
    """Return arrays by state-dict name, as a PyTorch model expects them, with the statistics of batch norms."""
    return tensors_at(container, level) | neutral_statistics(container, level)


def write(container: Container, output: Path, options: DecodeOptions) -> Decoded:
    """Write the tensors of the chosen level to `output`, and read them back.

    Returns a Decoded with the largest |difference|. Raises FormatError for a damaged container, ConfigError for a part
    that doesn't exist or has no tensors of its own, ExportError if tensors are missing, and OutputNotWritableError.
    """
    part, level = options.part, level_of(container, options.part)
    if part.submodel is not None and level is None:
        raise ConfigError(f"--submodel {part.submodel}: use -o NAME.onnx; .safetensors holds the whole network")
    added = neutral_statistics(container, level)
    shapes = {name: Shape(value.dtype, value.shape) for name, value in added.items()}
    stored = names_at(container, level)
    shapes |= {name: stored_shape(container, place) for name, place in stored.items()}
    notes = [f"weights only: no accuracy, no latency; {_graph_note(container)}"]
    for name, kind in container_types(container).items():
        code = FOREIGN[type_name(kind)].safetensors
        if name not in shapes:
            continue
        if code is None:
            lacks = f"{type_name(kind)}, which .safetensors doesn't support"
            as_it_is = f"{shapes[name].dtype.name}{' pairs' if FOREIGN[type_name(kind)].pairs else ''}"
            notes.append(f"{name[:80]}: {lacks}, so it is stored as {as_it_is}; qacomp.decode restores its type")
        else:
            shapes[name] = replace(shapes[name], code=code, pairs=FOREIGN[type_name(kind)].pairs)

    def values(name: str) -> NDArray[Any]:
        array: NDArray[Any] = added[name] if name in added else container.tensor(stored[name], level=level)
        return array

    write_safetensors(output, shapes, values, given_back(container.meta))
    error = _read_back_error(output, shapes, values)
    return Decoded.of(container, output, options, error, tuple(notes))


def stored_shape(container: Container, name: str) -> Shape:
    """Return dtype and shape of a tensor as the container stores it."""
    info = container.info(name)
    dtype = BFLOAT16 if info.dtype == "bfloat16" else np.dtype(info.dtype).newbyteorder("<")
    return Shape(dtype, tuple(info.shape))


def container_types(container: Container) -> dict[str, Meant]:
    """Map names of tensors whose type the container lacks to that type (see `qacomp.tensors.foreign_dtypes`)."""
    told = container.meta.get(META_KEY)
    names = [name for name in told if name in container.names] if isinstance(told, dict) else []
    stored = {name: (info.dtype, tuple(info.shape)) for name in names for info in (container.info(name),)}
    return foreign_types(container.meta, stored)


def _graph_note(container: Container) -> str:
    return "the container has no graph" if container.graph() is None else "decode to .onnx for both"


def neutral_statistics(container: Container, level: int | None) -> dict[str, NDArray[Any]]:
    """Return neutral statistics of batch norms; the real ones are folded into the container's scales and shifts."""
    added: dict[str, NDArray[Any]] = {}
    for path, eps in metadata(container).get("batch_norms", {}).items():
        prefix = f"{path}." if path else ""
        scale = container.tensor(f"{prefix}weight", level=level)  # (C,)
        added[f"{prefix}running_mean"] = np.zeros_like(scale)
        added[f"{prefix}running_var"] = np.full_like(scale, 1.0 - eps)  # so that var + eps is one
        added[f"{prefix}num_batches_tracked"] = np.zeros((), np.int64)
    return added


def _read_back_error(output: Path, shapes: Mapping[str, Any], values: Callable[[str], NDArray[Any]]) -> float:
    """Return the largest |a − b| between the written tensors, read by the library, and the container's.

    Raises ExportError if a tensor is missing, or has another shape or dtype.
    """
    from safetensors import safe_open

    worst = 0.0
    with safe_open(output, framework="numpy") as file:
        if set(file.keys()) != set(shapes):
            raise ExportError(f"{output}: tensors are missing from the decoded file; please report this")
        for name, shape in shapes.items():
            if shape.dtype == BFLOAT16 or shape.code is not None:
                continue  # the library can't return these types as numpy arrays
            a, b = values(name), file.get_tensor(name)
            if a.shape != b.shape or a.dtype != b.dtype:
                raise ExportError(f"{output}: tensor {name[:80]} has a wrong shape or type in it; please report this")
            worst = max(worst, largest_difference(a, b))
    return worst
