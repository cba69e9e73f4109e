"""Find the files that a command reads: a model with its shards or external data, and the files of a data spec."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from qacomp.checkpoints.recognition import is_onnx
from qacomp.datasets import DATASETS
from qacomp.errors import NotACheckpointError
from qacomp.folders.listing import list_folder
from qacomp.formats.shard_index import is_shard_index
from qacomp.formats.shard_writer import shard_files

_LARGEST_INDEX = 256 << 20  # bytes; a larger index of shards is not read here


def model_files(path: Path) -> Iterator[Path]:
    """Yield `path`, then the files of a folder, the shards of an index, or the files of an ONNX model's external data.

    A file that can't be parsed yields only itself; the error is raised later, when the model is read.
    """
    yield path
    if path.is_dir():
        yield from (path / name for name in _listed(path))
    if not path.is_file():
        return
    if is_shard_index(path):
        yield from shard_files(path)
    elif path.name.endswith(".index.json"):
        yield from (path.parent / name for name in _shards(path))
    elif is_onnx(path):
        yield from (path.parent / name for name in _external(path))


def data_files(spec: object) -> Iterator[Path]:
    """Yield the files that a data spec names, or the Python file of `module:function`.

    Yields nothing for data that comes with qacomp and for data in memory.
    """
    if not isinstance(spec, str):
        return
    name, _, argument = spec.partition(":")
    if name not in DATASETS.names():
        yield Path(*name.split(".")).with_suffix(".py") if name.strip(".") else Path()
        return
    kind = DATASETS.find(name)
    if not kind.argument:
        return
    root = Path(os.path.expanduser(argument))
    yield from root.glob(kind.files) if root.is_dir() else [root]


def command_files(models: Iterable[Path | None], specs: Iterable[object] = ()) -> Iterator[Path]:
    """Yield all files that these models and data specs read; a model of None is skipped."""
    for path in models:
        if path is not None:
            yield from model_files(path)
    for spec in specs:
        yield from data_files(spec)


def _listed(path: Path) -> list[str]:
    try:
        return list_folder(path).paths
    except NotACheckpointError:
        return []


def _shards(path: Path) -> set[str]:
    try:
        if path.stat().st_size > _LARGEST_INDEX:
            return set()
        index = json.loads(path.read_text(encoding="utf-8"))
        placed = index.get("weight_map", {}) if isinstance(index, dict) else {}
        return {name for name in placed.values() if isinstance(name, str)} if isinstance(placed, dict) else set()
    except (OSError, ValueError, RecursionError):
        return set()


def _external(path: Path) -> set[str]:
    import onnx

    from qacomp.graphs.values import is_external
    from qacomp.graphs.walk import sites

    try:
        model = onnx.load(path, load_external_data=False)
        tensors = [site.tensor for site in sites(model) if is_external(site.tensor)]
    except Exception:  # protobuf raises error classes of its own; the error is reported when the model is read
        return set()
    return {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
