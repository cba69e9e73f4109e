"""Open a folder, which needs neither torch nor onnx, or import what opens any other model."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qacomp.batches.examples import Examples
from qacomp.evaluation.samples import Given
from qacomp.options.config import CompressConfig
from qacomp.sources.folder_source import open_folder
from qacomp.sources.how_to_read import Reading, naming
from qacomp.sources.torch_source import Source


def is_folder(model: Any) -> bool:
    """Return whether a caller's model is the path of a folder."""
    return isinstance(model, str | os.PathLike) and Path(model).is_dir()


def open_source(
    model: Any, data: Any, config: CompressConfig, how: Reading, note: Callable[[str], None]
) -> tuple[Source, CompressConfig, Examples | Given | None]:
    """Open `model`; return (source, `config` with the spec of the data that is used, that data).

    data: the caller's data (see `qacomp.sources.data`); None: the data that `config` names, else built-in data that the
    checkpoint names. A PyTorch network's data is returned as Examples, an ONNX model's as it was given, and bare
    tensors use none. Raises the errors of reading models and data, and ConfigError for a module that doesn't fit the
    data.
    """
    if is_folder(model):
        given = data if data is not None else config.data
        return open_folder(Path(model), given, config, how.progress), naming(config, given), given
    from qacomp.sources.opening import open_model

    return open_model(model, data, config, how, note)
