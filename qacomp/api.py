"""The two calls of the Python interface: compress a network of any kind, and decode what came out."""

import functools
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar, Unpack

from qacomp.datasets import Dataset
from qacomp.formats import UnsupportedTensorError
from qacomp.options.config import CompressConfig
from qacomp.options.settings import Settings
from qacomp.options.signature import with_keywords
from qacomp.outputs import claim, container_outputs, snapshot_outputs
from qacomp.progress import Progress
from qacomp.runtime.limits import limited_runs
from qacomp.sources.input_files import command_files

if TYPE_CHECKING:
    import onnx
    import torch

    from qacomp.checkpoints import Checkpoint
    from qacomp.graphs import OnnxFile
    from qacomp.result import Result

PathLike: TypeAlias = str | os.PathLike[str]
_P = ParamSpec("_P")
_R = TypeVar("_R")


def _in_own_torch_state(call: Callable[_P, _R]) -> Callable[_P, _R]:
    """Keep the caller's random numbers, and whether gradients are on, out of a call and unchanged."""

    @functools.wraps(call)
    def inner(*arguments: _P.args, **named: _P.kwargs) -> _R:
        from qacomp.sources.opening import own_torch_state

        with own_torch_state():
            return call(*arguments, **named)

    return inner


@dataclass(frozen=True)
class Call:
    """How a compression is called, beside its settings, which a container keeps; the fields are those of `Keywords`."""

    input_shape: tuple[int, int, int] | None = None
    snapshots: PathLike | None = None
    progress: Progress | bool | None = None
    trust_pickle: bool = False
    force: bool = False


class Keywords(Settings, total=False):
    """The keywords of `compress`: settings, and how it is called."""

    input_shape: tuple[int, int, int] | None
    """(C, H, W) of a module's input, where no data tells it."""
    snapshots: PathLike | None
    """A folder for checkpoints of the fine-tuning, at its quarters."""
    progress: Progress | bool | None
    """Where bars and remarks go. None: bars in a notebook, silence elsewhere; False: silence."""
    trust_pickle: bool
    """Unpickle a pickled module, which runs its code."""
    force: bool
    """Replace a file at `output` that is no container."""


@with_keywords(Call)
@_in_own_torch_state
def compress(
    model: "PathLike | Checkpoint | OnnxFile | torch.nn.Module | Mapping[str, Any] | onnx.ModelProto",
    data: str | Dataset | Mapping[str, Any] | None = None,
    config: CompressConfig | Mapping[str, Any] | PathLike | None = None,
    output: PathLike | None = None,
    **keywords: Unpack[Keywords],
) -> "Result":
    """Compress `model` into a container and measure it: what `qacomp compress` does.

    model: a model file's path, a Checkpoint, a torch module (which isn't changed), a state dict of tensors or arrays,
    or an onnx.ModelProto, whose graph is kept and which is measured on `data` as `load_samples` feeds it.
    data: a spec (`digits`, `npz:FILE`, ...), a Dataset, or a mapping of arrays x_train, y_train, x_test, y_test (see
    `qacomp.datasets.Split`); None takes what the settings name, or built-in data that the checkpoint does. Without data
    nothing is trained or measured.
    config: a CompressConfig, a mapping of its fields, or a TOML file.
    output: the container; None keeps it in a temporary file for as long as the Result lives: `Result.save` copies it.
    keywords: settings that change `config`, such as `reg="exp", k=8` (`qacomp.options.settings.Settings`), and:
    input_shape: (C, H, W) of a module's input, where no data tells it. A module that gives no class scores takes the
    setting `input` instead: the shapes of its inputs, `("1,576", "2,1,128")`; it is then treated as an ONNX model.
    snapshots: a folder for checkpoints of the fine-tuning, at its quarters (`qacomp plot weights` draws them).
    progress: where bars and remarks go. None: bars in a notebook, silence elsewhere; False: silence.
    trust_pickle: unpickle a pickled module, which runs its code. force: replace a file at `output` that is no
    container; what the compression reads is never replaced.

    Raises the named errors of `qacomp.errors`. The output is written whole or not at all.
    """
    from qacomp.notebook import choose_progress
    from qacomp.pipeline import compress as run_stages
    from qacomp.sources.opening import Reading, open_source
    from qacomp.stages.run import Run

    call, settings = _split(keywords)
    chosen = _config(config, settings)
    read = [Path(file) for file in (_path_of(model), config) if isinstance(file, str | os.PathLike)]
    files = command_files(read, (data, chosen.data, chosen.metric))
    written = [] if output is None else container_outputs(Path(output), "output")
    claim([*written, *snapshot_outputs(call.snapshots, written, "snapshots")], files, force=call.force)
    with _target(output) as target:
        run = Run(choose_progress(call.progress), target, None if call.snapshots is None else Path(call.snapshots))
        how = Reading(call.trust_pickle, call.input_shape)
        source, chosen, loaded = open_source(model, data, chosen, how, run.note)
        try:
            with limited_runs(chosen.run_limits):
                result = run_stages(source, chosen, loaded, run)
        except UnsupportedTensorError as error:
            if str(source.origin.path) in str(error):
                raise
            raise UnsupportedTensorError(f"{source.origin.path}: {error}") from error  # the writer knows no files
    if output is None:
        weakref.finalize(result, shutil.rmtree, target.parent, ignore_errors=True)
    return result


def _split(keywords: Mapping[str, Any]) -> tuple[Call, dict[str, Any]]:
    """Return how it is called, and the settings."""
    own = {found.name for found in fields(Call)}
    call = Call(**{name: value for name, value in keywords.items() if name in own})
    return call, {name: value for name, value in keywords.items() if name not in own}


@contextmanager
def _target(output: PathLike | None) -> Iterator[Path]:
    """Give the container's path: `output`, or one in a temporary folder, which goes if nothing comes of it."""
    if output is not None:
        yield Path(output)
        return
    folder = tempfile.mkdtemp(prefix="qacomp-")
    try:
        yield Path(folder, "model.qac")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _config(given: CompressConfig | Mapping[str, Any] | PathLike | None, settings: Mapping[str, Any]) -> CompressConfig:
    if given is None or isinstance(given, CompressConfig):
        config = given or CompressConfig()
    elif isinstance(given, Mapping):
        config = CompressConfig().with_settings(given, "config")
    else:
        config = CompressConfig.from_toml(Path(given))
    return config.with_settings(settings, "settings").check()


def _path_of(model: Any) -> Any:
    """Return where a model was read from, if it came from a file."""
    return model if isinstance(model, str | os.PathLike) else getattr(model, "path", None)
