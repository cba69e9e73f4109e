"""The two calls of the Python interface: compress a network of any kind, and decode what came out."""

import functools
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar, Unpack

from qacomp.config import CompressConfig
from qacomp.datasets import Dataset, chosen_spec, dataset_from_arrays, load_dataset
from qacomp.errors import ConfigError
from qacomp.evaluation.limits import limited_runs
from qacomp.foreign_dtypes import as_numpy
from qacomp.formats import UnsupportedTensorError, open_file
from qacomp.inputs import command_files
from qacomp.options.signature import with_keywords
from qacomp.outputs import claim, container_outputs, decoded_outputs, snapshot_outputs
from qacomp.progress import Progress
from qacomp.settings import Settings

if TYPE_CHECKING:
    import onnx
    import torch

    from qacomp.checkpoints import Checkpoint
    from qacomp.result import Result

PathLike: TypeAlias = str | os.PathLike[str]
FORMS = ("torch", "numpy", "onnx")
_P = ParamSpec("_P")
_R = TypeVar("_R")


def _in_own_torch_state(call: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorator: the caller's random numbers, and whether gradients are on, are neither used nor changed."""

    @functools.wraps(call)
    def inner(*arguments: _P.args, **named: _P.kwargs) -> _R:
        from qacomp.sources import own_torch_state

        with own_torch_state():
            return call(*arguments, **named)

    return inner


@with_keywords
@_in_own_torch_state
def compress(
    model: "PathLike | Checkpoint | torch.nn.Module | Mapping[str, Any] | onnx.ModelProto",
    data: str | Dataset | Mapping[str, Any] | None = None,
    config: CompressConfig | Mapping[str, Any] | PathLike | None = None,
    output: PathLike | None = None,
    *,
    input_shape: tuple[int, int, int] | None = None,
    snapshots: PathLike | None = None,
    progress: Progress | bool | None = None,
    trust_pickle: bool = False,
    force: bool = False,
    **settings: Unpack[Settings],
) -> "Result":
    """Compress `model` into a container and measure it: what `qacomp compress` does.

    model: a model file's path, a Checkpoint, a torch module (which isn't changed), a state dict of tensors or arrays,
    or an onnx.ModelProto, whose graph is kept and which is measured on `data` as `load_samples` feeds it.
    data: a spec (`digits`, `npz:FILE`, ...), a Dataset, or a mapping of arrays x_train, y_train, x_test, y_test (see
    `qacomp.datasets.Split`); None takes what the settings name, or built-in data that the checkpoint does. Without data
    nothing is trained or measured.
    config: a CompressConfig, a mapping of its fields, or a TOML file. settings: fields that change it: `reg="exp", k=8`
    (see `qacomp.settings.Settings`).
    output: the container; None keeps it in a temporary file for as long as the Result lives: `Result.save` copies it.
    input_shape: (C, H, W) of a module's input, where no data tells it. A module that gives no class scores takes the
    setting `input` instead: the shapes of its inputs, `("1,576", "2,1,128")`; it is then treated as an ONNX model.
    snapshots: a folder for checkpoints of the fine-tuning, at its quarters (`qacomp plot weights` draws them).
    progress: where bars and remarks go. None: bars in a notebook, silence elsewhere; False: silence.
    force: replace a file at `output` that is no container. What the compression reads is never replaced.

    Raises the named errors of `qacomp.errors`. The output is written whole or not at all.
    """
    from qacomp.notebook import choose_progress
    from qacomp.onnx_graph import OnnxSource
    from qacomp.pipeline import compress as run
    from qacomp.sources import checkpoint_of, float32_notes, network_of, with_plain_module

    chosen = _config(config, settings)
    shown = choose_progress(progress)
    read = [Path(file) for file in (_path_of(model), config) if isinstance(file, str | os.PathLike)]
    files = command_files(read, (data, chosen.data, chosen.metric))
    written = [] if output is None else container_outputs(Path(output), "output")
    claim([*written, *snapshot_outputs(snapshots, written, "snapshots")], files, force=force)
    checkpoint = checkpoint_of(
        model, trust_pickle=trust_pickle, inputs=chosen.input, submodule=chosen.submodule, key=chosen.key
    )
    if not isinstance(checkpoint, OnnxSource) and checkpoint.kind != "module" and chosen.arch is None:
        checkpoint = with_plain_module(checkpoint)
    with_network = checkpoint.kind == "module" or (chosen.arch or checkpoint.arch) is not None
    given, remark = data if data is not None else chosen.data, None
    if given is None and with_network:
        given, remark = chosen_spec(None, checkpoint.data)
    if remark is not None and not isinstance(checkpoint, OnnxSource):
        checkpoint = replace(checkpoint, notes=(*checkpoint.notes, remark))
    samples = given if isinstance(checkpoint, OnnxSource) else None
    if given is not None and samples is None and not with_network:
        shown.note("the data is not used: without an architecture (--arch) there is no network to train or to measure")
    folder = None if output is not None else tempfile.mkdtemp(prefix="qacomp-")
    target = Path(output) if output is not None else Path(str(folder), "model.qac")
    try:
        dataset = _dataset(given) if with_network else None
        if not isinstance(given, Mapping | Dataset):
            chosen = chosen.with_settings({"data": given}, "data")
        network = None
        if checkpoint.kind == "module" and not isinstance(checkpoint, OnnxSource):
            network = network_of(checkpoint.module, chosen, dataset, input_shape)
            remarks = float32_notes(checkpoint.state)
            if network is None:
                note = (
                    "the module's input is unknown: its weights alone are compressed; give data, or the shape of its "
                    "input (--input; from Python also input_shape)"
                )
                remarks = (note,)
            checkpoint = replace(checkpoint, notes=(*checkpoint.notes, *remarks))
        kept_in = None if snapshots is None else Path(snapshots)
        with limited_runs(chosen.run_limits):
            result = run(
                checkpoint, chosen, dataset, target, shown, network=network, snapshots=kept_in, samples=samples
            )
    except BaseException as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, UnsupportedTensorError) and str(checkpoint.path) not in str(error):
            raise UnsupportedTensorError(f"{checkpoint.path}: {error}") from error  # the writer knows no files
        raise
    if folder is not None:
        weakref.finalize(result, shutil.rmtree, folder, ignore_errors=True)
    return result


def decode(
    source: "PathLike | Result",
    output: PathLike | None = None,
    *,
    to: str = "torch",
    mode: str = "dense",
    level: int | None = None,
    submodel: str | None = None,
    allow_truncated: bool = False,
    force: bool = False,
) -> Any:
    """Decode a container: into memory, or into the file `output` (.onnx or .safetensors).

    to: torch gives a state dict for `Module.load_state_dict`, numpy the same as arrays (neither needs a graph), onnx a
    ModelProto. With `output` the suffix says what it becomes, and the answer is a `qacomp.decoded.Decoded`.
    mode: of an ONNX file, how it holds the weights: dense, lut or affine.
    level: of a progressive container, the one with this many shared values; submodel: of several networks in one, that
    one alone (level4, exit3, width0.5; the last two have no state dict of their own, only ONNX); allow_truncated: take
    a file that is cut off behind a level; force: replace a file that stands at `output`.

    Only torch needs torch. Raises FormatError, ConfigError, OutputNotWritableError.
    """
    from qacomp.decoding import chosen_level, onnx_model
    from qacomp.decoding import decode as decode_file
    from qacomp.onnx_options import OnnxOptions
    from qacomp.safetensors_decoding import container_types, state_dict

    path = Path(source if isinstance(source, str | os.PathLike) else source.output)
    if output is not None:
        options = OnnxOptions(mode)
        read = [path] if isinstance(source, str | os.PathLike) else [path, Path(source.source)]
        claim(decoded_outputs(path, Path(output), options.external, "output"), command_files(read), force=force)
        return decode_file(
            path,
            Path(output),
            measure=False,
            level=level,
            submodel=submodel,
            allow_truncated=allow_truncated,
            onnx=options,
        )
    if mode != "dense":
        raise ConfigError(f"mode = {mode!r} is for files: give an output, NAME.onnx")
    if to not in FORMS:
        raise ConfigError(f"to = {to!r}: must be one of {', '.join(FORMS)}; for a file give its name as output")
    with open_file(path, allow_truncated=allow_truncated) as container:
        index = chosen_level(container, level, submodel, str(path))
        if to == "onnx":
            return onnx_model(container, str(path), index, submodel)
        if submodel is not None and index is None:
            raise ConfigError(f"submodel = {submodel!r}: take to='onnx'; a state dict is of the whole network")
        arrays, types = state_dict(container, index), container_types(container)
    if to == "numpy":
        return {name: as_numpy(array, types[name]) if name in types else array for name, array in arrays.items()}
    from qacomp.torch_format import to_tensor

    return {name: to_tensor(array, types.get(name)) for name, array in arrays.items()}


def _config(given: CompressConfig | Mapping[str, Any] | PathLike | None, settings: Mapping[str, Any]) -> CompressConfig:
    if given is None or isinstance(given, CompressConfig):
        config = given or CompressConfig()
    elif isinstance(given, Mapping):
        config = CompressConfig().with_settings(given, "config")
    else:
        config = CompressConfig.from_toml(Path(given))
    return config.with_settings(settings, "settings").check()


def _path_of(model: Any) -> Any:
    """Where a model was read from, where it came from a file."""
    return model if isinstance(model, str | os.PathLike) else getattr(model, "path", None)


def _dataset(given: str | Dataset | Mapping[str, Any] | None) -> Dataset | None:
    if given is None or isinstance(given, Dataset):
        return given
    return load_dataset(given) if isinstance(given, str) else dataset_from_arrays(given)
