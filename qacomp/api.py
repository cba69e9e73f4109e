"""Provide `compress`, the main call of the Python interface."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from qacomp.calls import (
    PathLike,
    by_url,
    output_or_temporary,
    own_functions,
    removed_with,
    shard_bytes_of,
    split_keywords,
)
from qacomp.errors import ConfigError
from qacomp.extras import needing_torch
from qacomp.formats import UnsupportedTensorError
from qacomp.formats.shard_index import SUFFIX, index_path
from qacomp.options.config import CompressConfig
from qacomp.options.settings import Settings
from qacomp.options.signature import with_keywords
from qacomp.outputs import claim, container_outputs, snapshot_outputs
from qacomp.progress import Progress
from qacomp.ranks.joining import joined
from qacomp.remote.urls import url_of
from qacomp.runtime.limits import limited_runs
from qacomp.sources.input_files import command_files
from qacomp.workers.choice import workers_of

if TYPE_CHECKING:
    import onnx
    import torch

    from qacomp.checkpoints import Checkpoint
    from qacomp.graphs.reading import OnnxFile
    from qacomp.result import Result


def _torch_state(model: Any, data: Any, config: CompressConfig) -> AbstractContextManager[None]:
    """Return a block that neither depends on nor changes torch's random state and gradient mode of the caller.

    A folder without data and texts isn't run: it needs no torch, and the block does nothing.
    """
    from qacomp.sources.open_any import is_folder

    if is_folder(model) and data is None and config.data is None and config.calibration is None:
        return nullcontext()
    from qacomp.sources.opening import own_torch_state

    return own_torch_state()


@dataclass(frozen=True)
class Call:
    """The keywords of `compress` that aren't settings, and so aren't stored in a container; see `Keywords`."""

    input_shape: tuple[int, int, int] | None = None
    loss_fn: Any = None
    snapshots: PathLike | None = None
    progress: Progress | bool | None = None
    trust_pickle: bool = False
    force: bool = False
    distributed: bool = False
    shard_size: str | int | None = None
    workers: int | str | None = None
    part: str | None = None
    base: PathLike | None = None


class Keywords(Settings, total=False):
    """The keywords of `compress`: all settings, and the keywords of `Call`."""

    input_shape: tuple[int, int, int] | None
    """(C, H, W) of a module's input, needed if there is no data."""
    loss_fn: Any
    """Loss of (outputs, targets): a function, or text: cross-entropy, mse or module:function."""
    snapshots: PathLike | None
    """A folder for four checkpoints during the fine-tuning, after each quarter of it."""
    progress: Progress | bool | None
    """Where bars and notes go. None: to a notebook's cell, nowhere outside of notebooks; False: nowhere."""
    trust_pickle: bool
    """Unpickle a pickled module, which runs its code."""
    force: bool
    """Replace a file at `output` even if it isn't a container."""
    distributed: bool
    """Share the training with the other processes of torchrun, all of which make this call."""
    shard_size: str | int | None
    """Write a container of several files of at most this size, 2GB or bytes, and an index, which is the output."""
    workers: int | str | None
    """Processes that share the tensors of a large source, 0 for all cores, or the address of a Dask scheduler."""
    part: str | None
    """Write only this part of a large source's tensors, such as 2/8, for `qacomp.merge`."""
    base: PathLike | None
    """Stay near this container of an earlier version, so that `qacomp.delta` between the two is small."""


@with_keywords(Call)
@needing_torch("compress")
def compress(
    model: "PathLike | Checkpoint | OnnxFile | torch.nn.Module | Mapping[str, Any] | onnx.ModelProto",
    data: Any = None,
    config: CompressConfig | Mapping[str, Any] | PathLike | None = None,
    output: PathLike | None = None,
    **keywords: Unpack[Keywords],
) -> "Result":
    """Compress `model` into a container and measure the result, as the command `qacomp compress` does.

    model: the path of a model file, a Checkpoint, a torch module (which isn't changed), a state dict of tensors or
    arrays, or an onnx.ModelProto, whose graph is kept and which is measured on `data` as `load_samples` feeds it.
    data: a spec (`digits`, `npz:FILE`, ...), a qacomp.datasets.Dataset, or your own: a DataLoader, a torch Dataset,
    an iterable of batches, or arrays (x, y), from which validation and test parts are split off; or parts of these
    as {"train": ..., "val": ..., "test": ...}; or arrays x_train, y_train, x_test, y_test. A batch is (inputs,
    targets), with several inputs (x1, x2, targets), or a mapping with `labels`. None: the data that the settings
    name, or built-in data that the checkpoint names. Without data nothing is trained or measured.
    config: a CompressConfig, a mapping of its fields, or the path of a TOML file.
    output: the path of the container. None: a temporary file, which lives as long as the Result; `Result.save`
    copies it. model and output may be URLs too: hf://org/name, s3://..., https://... (see docs/folders.md).
    keywords: settings that override `config`, such as `reg="exp", k=8` (`qacomp.options.settings.Settings`), and:
    loss_fn, metric: functions of (outputs, targets), or a setting's text. By default class labels are learned by
    cross-entropy and measured by top-1 accuracy, float targets by the mean squared error. The metric gets all outputs
    and targets, and more is better, unless it has `higher_is_better = False`.
    input_shape: (C, H, W) of a module's input, needed if there is no data. For a module that doesn't return class
    scores use the setting `input` instead, with the shapes of its inputs, such as `("1,576", "2,1,128")`; the
    module is then compressed as an ONNX model.
    snapshots: a folder for four checkpoints during the fine-tuning, which `qacomp plot weights` draws.
    progress: where bars and notes go. None: to a notebook's cell, nowhere outside of notebooks; False: nowhere.
    trust_pickle: unpickle a pickled module, which runs its code.
    force: replace a file at `output` even if it isn't a container; input files are never replaced.
    distributed: share the training with the other processes that torchrun has started; all of them make the same call.
    The first one writes the output, and each returns its Result.
    shard_size: write several files of at most this size, such as "2GB", and the index NAME.qac.index.json, which is
    read like a container.
    workers: processes that share the tensors of a source of 1 GiB or more; 0 for one a core, or the address of a Dask
    scheduler, "tcp://HOST:PORT". The bytes don't depend on it.
    part: "2/8" writes the second of eight parts of such a source's tensors; `qacomp.merge` joins the parts.
    base: the container of an earlier version, whose steps or codebooks and indices are kept where that costs little, so
    that `qacomp.delta` between the two is small.

    Raises the named errors of `qacomp.errors`. The output is written whole or not at all.
    """
    from qacomp.notebook import choose_progress
    from qacomp.pipeline import compress as run_stages
    from qacomp.sources.how_to_read import Reading
    from qacomp.sources.open_any import open_source
    from qacomp.stages.parts import part_of
    from qacomp.stages.run import Run

    call, settings = split_keywords(Call, keywords)
    if url_of(model) is not None or url_of(output) is not None:
        progress = choose_progress(call.progress)
        return by_url(model, output, progress, call.force, lambda m, o: compress(m, data, config, o, **keywords))
    own, settings = own_functions(call.loss_fn, settings)
    chosen = _config(config, settings)
    read = [Path(file) for file in (_path_of(model), config, call.base) if isinstance(file, str | os.PathLike)]
    files = command_files(read, (data, chosen.data, chosen.metric, call.loss_fn))
    shard_bytes = shard_bytes_of(call.shard_size, chosen)
    workers, part = workers_of(call.workers), part_of(call.part)
    if part is not None and shard_bytes is not None:
        raise ConfigError("--part: gives one file; give --shard-size when the parts are merged")
    if output is not None and shard_bytes is not None:
        output = index_path(Path(output))
    with (
        _torch_state(model, data, chosen),
        joined(call.distributed, cpu=chosen.device == "cpu") as ranks,
        output_or_temporary(output, ranks, "model.qac" if shard_bytes is None else f"model{SUFFIX}") as target,
    ):
        if ranks.first:
            written = [] if output is None else container_outputs(Path(output), "output")
            claim([*written, *snapshot_outputs(call.snapshots, written, "snapshots")], files, force=call.force)
        folder = Path(call.snapshots) if call.snapshots is not None and ranks.first else None
        run = Run(choose_progress(call.progress if ranks.first else False), target, folder, own, ranks, shard_bytes)
        run.divided(workers, part)
        run.near(None if call.base is None else Path(call.base))
        how = Reading(call.trust_pickle, call.input_shape, run.progress)
        source, chosen, loaded = open_source(model, data, chosen, how, run.note)
        try:
            with limited_runs(chosen.run_limits.limits):
                result = run_stages(source, chosen, loaded, run)
        except UnsupportedTensorError as error:
            if str(source.origin.path) in str(error):
                raise
            raise UnsupportedTensorError(f"{source.origin.path}: {error}") from error  # the writer knows no paths
    if output is None and ranks.first:
        removed_with(result, target)
    return result


def _config(given: CompressConfig | Mapping[str, Any] | PathLike | None, settings: Mapping[str, Any]) -> CompressConfig:
    if given is None or isinstance(given, CompressConfig):
        config = given or CompressConfig()
    elif isinstance(given, Mapping):
        config = CompressConfig().with_settings(given, "config")
    else:
        config = CompressConfig.from_toml(Path(given))
    return config.with_settings(settings, "settings").check()


def _path_of(model: Any) -> Any:
    """Return the path of a model's file; None for a model that didn't come from a file."""
    return model if isinstance(model, str | os.PathLike) else getattr(model, "path", None)
