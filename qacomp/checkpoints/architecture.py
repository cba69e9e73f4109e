"""Match checkpoints with architectures: check shapes, load weights, find fitting architectures, count classes."""

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
_OPTIONAL = "num_batches_tracked"  # torch before 0.4.1 didn't save it, and inference doesn't use it

MOST_CLASSES = 1 << 24  # real networks have up to a million; an empty tensor in a file could claim any size
Shapes = dict[str, tuple[int, ...]]


def check_fits(checkpoint: Checkpoint, arch: str, num_classes: int) -> None:
    """Raise ArchitectureMismatchError unless the shapes fit; no network of the size that a file claims is allocated.

    The error says which keys are missing, unexpected or of another shape, and which registered architectures fit.
    """
    _check(checkpoint, _architecture_shapes(arch, num_classes), arch)


def load_into(model: "nn.Module", checkpoint: Checkpoint, arch: str = "the architecture") -> None:
    """Copy a checkpoint's tensors into a model. All keys and shapes must match, except for num_batches_tracked.

    arch: name of the model in errors. Raises ArchitectureMismatchError, which says which keys are missing, unexpected
    or of another shape, and which registered architectures fit.
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
    """Return the names of the registered architectures with exactly these keys and shapes, for any number of classes.

    Architectures of other installed packages are left out, since a file must not cause their import.
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
    """Return the number of classes of a state dict, from the size of the layer of `arch` that depends on it.

    Raises UnknownArchitectureError, and ArchitectureMismatchError if the state dict doesn't have that layer.
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
    """Return the checkpoint with the names of `arch` and a note, if only prefixes or wrappers make its names differ.

    Raises UnknownArchitectureError, and AmbiguousCheckpointError if it holds the network several times.
    """
    shapes = _architecture_shapes(arch, model_info(arch).num_classes)
    wanted = [name for name in shapes if not name.endswith(_OPTIONAL)]
    state, notes = matched(checkpoint.path, checkpoint.state, wanted)
    return replace(checkpoint, state=dict(state), notes=checkpoint.notes + notes) if notes else checkpoint


@functools.lru_cache(maxsize=128)
def _architecture_shapes(arch: str, num_classes: int) -> Shapes:
    import torch

    from qacomp.models.unfilled import Unfilled

    with Unfilled(), torch.device("meta"):  # shapes without values: nothing is allocated
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
        return "No registered architecture fits it; leave --arch out to compress its weights without a network"
    counts = [f"{name} with {infer_num_classes(checkpoint.state, name)} classes" for name in fitting]
    return f"It fits {' or '.join(counts)}"
