"""Checkpoints against architectures: loading, telling apart, counting classes."""

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from qacomp.checkpoints.checkpoint import Checkpoint
from qacomp.checkpoints.tensors import few
from qacomp.checkpoints.wrappers import matched
from qacomp.errors import ArchitectureMismatchError
from qacomp.models import MODELS, create_model, model_info

if TYPE_CHECKING:
    from torch import Tensor, nn

_SHOWN = 3
_OPTIONAL = "num_batches_tracked"  # torch before 0.4.1 didn't save it, and nothing at inference reads it

MOST_CLASSES = 1 << 24  # a million is the most that is trained; a file could claim any size beside a zero
Shapes = dict[str, tuple[int, ...]]


def check_fits(checkpoint: Checkpoint, arch: str, num_classes: int) -> None:
    """Raise `ArchitectureMismatchError` unless the shapes fit, before a network of any size that a file claims is made.

    It says which keys are missing, unexpected or of other shapes, and which registered architectures would fit.
    """
    _check(checkpoint, _architecture_shapes(arch, num_classes), arch)


def load_into(model: "nn.Module", checkpoint: Checkpoint, arch: str = "the architecture") -> None:
    """Copy a checkpoint's tensors into a model, strictly (a batch norm's num_batches_tracked may be absent).

    `arch` names the model in the error: `ArchitectureMismatchError`, which says which keys are missing, unexpected or
    of other shapes, and which registered architectures would fit.
    """
    _check(checkpoint, _shapes(model.state_dict()), arch)
    model.load_state_dict(checkpoint.state, strict=False)


def _check(checkpoint: Checkpoint, wanted: Shapes, arch: str) -> None:
    differences = _differences(wanted, _shapes(checkpoint.state))
    if differences:
        raise ArchitectureMismatchError(
            f"{checkpoint.path} doesn't fit {arch}: {'; '.join(differences)}. {_advice(checkpoint)}"
        )


def fitting_architectures(state: "Mapping[str, Tensor]") -> list[str]:
    """Return the registered architectures that have exactly these keys and shapes, with any number of classes.

    A file's shapes import no installed package, so those of such packages are left out.
    """
    fitting = []
    for name in MODELS.here():
        try:
            num_classes = infer_num_classes(state, name)
        except ArchitectureMismatchError:
            continue
        if not _differences(_architecture_shapes(name, num_classes), _shapes(state)):
            fitting.append(name)
    return fitting


def infer_num_classes(state: "Mapping[str, Tensor]", arch: str) -> int:
    """Return the number of classes of a state dict, by the one size of `arch` that depends on it.

    Raises `UnknownArchitectureError`, and `ArchitectureMismatchError` where the state dict lacks that layer.
    """
    usual = model_info(arch).num_classes
    larger = _architecture_shapes(arch, usual + 1)
    for name, shape in _architecture_shapes(arch, usual).items():
        axes = [axis for axis, length in enumerate(shape) if larger[name][axis] != length]
        if (
            axes
            and name in state
            and state[name].dim() == len(shape)
            and 2 <= state[name].shape[axes[0]] <= MOST_CLASSES
        ):
            return int(state[name].shape[axes[0]])
    raise ArchitectureMismatchError(f"the checkpoint has no classifier layer like {arch}'s; is --arch right?")


def named_as(checkpoint: Checkpoint, arch: str) -> Checkpoint:
    """Return the checkpoint with `arch`'s names, and notes, where a prefix or wrappers alone make its names others.

    Raises UnknownArchitectureError, and AmbiguousCheckpointError where it holds the network several times.
    """
    shapes = _architecture_shapes(arch, model_info(arch).num_classes)
    wanted = [name for name in shapes if not name.endswith(_OPTIONAL)]
    state, notes = matched(checkpoint.path, checkpoint.state, wanted)
    return replace(checkpoint, state=dict(state), notes=checkpoint.notes + notes) if notes else checkpoint


@functools.lru_cache(maxsize=128)
def _architecture_shapes(arch: str, num_classes: int) -> Shapes:
    import torch

    with torch.device("meta"):  # shapes without values: nothing is allocated or drawn at random
        return _shapes(create_model(arch, num_classes).state_dict())


def _shapes(state: "Mapping[str, Tensor]") -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _differences(wanted: Shapes, given: Shapes) -> list[str]:
    missing = [name for name in wanted if name not in given and not name.endswith(_OPTIONAL)]
    unexpected = [name for name in given if name not in wanted and not name.endswith(_OPTIONAL)]
    reshaped = [
        f"{name} is {list(given[name])} instead of {list(shape)}"
        for name, shape in wanted.items()
        if name in given and given[name] != shape and not name.endswith(_OPTIONAL)
    ]
    counted = (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
    return [f"{len(names)} {what} ({few(names, _SHOWN)})" for what, names in counted if names]


def _advice(checkpoint: Checkpoint) -> str:
    fitting = fitting_architectures(checkpoint.state)
    if not fitting:
        return "No registered architecture fits it; without --arch its weights alone are compressed"
    counts = [f"{name} with {infer_num_classes(checkpoint.state, name)} classes" for name in fitting]
    return f"It fits {' or '.join(counts)}"
