"""Which files a command reads: a model with its shards or external data, and the files of a data spec."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from qacomp.checkpoints.recognition import is_onnx
from qacomp.datasets import DATASETS

_LARGEST_INDEX = 256 << 20  # bytes, of an index of shards


def model_files(path: Path) -> Iterator[Path]:
    """Yield the file itself, then the shards that an index names, or the files that hold an ONNX model's external data.

    A file that can't be read has no others: reading it says why.
    """
    yield path
    if not path.is_file():
        return
    if path.name.endswith(".index.json"):
        yield from (path.parent / name for name in _shards(path))
    elif is_onnx(path):
        yield from (path.parent / name for name in _external(path))


def data_files(spec: object) -> Iterator[Path]:
    """Yield the files of a user's own data spec, or of `module:function`; nothing for data in memory."""
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
    """Yield all files of several models and data specs; None is no file."""
    for path in models:
        if path is not None:
            yield from model_files(path)
    for spec in specs:
        yield from data_files(spec)


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
    except Exception:  # protobuf raises its own kinds; reading the model says what is wrong with it
        return set()
    return {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
