"""Provide `train`, which trains a network from its first weights: `qacomp train` for Python."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

from qacomp.calls import PathLike, output_or_temporary, own_functions, removed_with, split_keywords
from qacomp.extras import needing_torch
from qacomp.options.config import CompressConfig
from qacomp.options.from_scratch import DEFAULTS, scratch_config, taken
from qacomp.options.settings import TrainSettings
from qacomp.options.signature import with_keywords
from qacomp.outputs import Output, claim, resume_output
from qacomp.progress import Progress
from qacomp.ranks.joining import joined
from qacomp.sources.input_files import command_files

if TYPE_CHECKING:
    import torch

    from qacomp.stages.from_scratch import TrainedCheckpoint

_SHOWN = {name: getattr(CompressConfig(**DEFAULTS), name) for name in CompressConfig().plain() if taken(name)}


@dataclass(frozen=True)
class TrainCall:
    """The keywords of `train` that aren't settings; see `TrainKeywords`."""

    loss_fn: Any = None
    progress: Progress | bool | None = None
    force: bool = False
    distributed: bool = False


class TrainKeywords(TrainSettings, total=False):
    """The keywords of `train`: its settings, and the keywords of `TrainCall`."""

    loss_fn: Any
    """Loss of (outputs, targets): a function, or text: cross-entropy, mse or module:function."""
    progress: Progress | bool | None
    """Where bars and notes go. None: to a notebook's cell, nowhere outside of notebooks; False: nowhere."""
    force: bool
    """Replace an existing file at `output`."""
    distributed: bool
    """Share the training with the other processes of torchrun, all of which make this call."""


@with_keywords(TrainCall, _SHOWN)
@needing_torch("train")
def train(
    arch: "str | torch.nn.Module | Callable[[], torch.nn.Module]",
    data: Any,
    output: PathLike | None = None,
    **keywords: Unpack[TrainKeywords],
) -> "TrainedCheckpoint":
    """Train a network, as the command `qacomp train` does, and return it with its history and its metric.

    arch: the name of a built-in architecture, `module:Class`, or a class or function that makes a network: its random
    weights follow from the seed. A torch module starts with the weights that it has, and isn't changed.
    data: a spec (`digits`, `module:function`, ...), or your own, as `qacomp.compress` takes it.
    output: the path of the checkpoint. None: a temporary file, which lives as long as what is returned.
    keywords: the settings of the command, such as `reg="exp", k=8, epochs=10`, and: loss_fn, metric: functions of
    (outputs, targets), or a setting's text, as in `qacomp.compress`; progress, force, distributed: as there.

    Returns a `TrainedCheckpoint`: `module` is the trained network in eval mode, `history` has a record for each epoch,
    `accuracy`, or `metric` and `value`, are measured on the test part once. The same settings, network and data give
    the weights of the command, bit for bit. Raises the named errors of `qacomp.errors`; the checkpoint is written whole
    or not at all.
    """
    from qacomp.notebook import choose_progress
    from qacomp.sources.untrained import InMemory
    from qacomp.stages.from_scratch import train_run
    from qacomp.stages.run import Run

    call, settings = split_keywords(TrainCall, keywords)
    own, settings = own_functions(call.loss_fn, settings)
    named = {name: value for name, value in (("arch", arch), ("data", data)) if isinstance(value, str)}
    given = InMemory(None if isinstance(arch, str) else arch, None if isinstance(data, str) else data)
    config = scratch_config({**settings, **named})
    with joined(call.distributed, cpu=config.device == "cpu") as ranks:
        with output_or_temporary(output, ranks, "model.pt") as target:
            if ranks.first:
                files = command_files([], (config.data, config.arch, config.metric, own.loss_fn))
                claim([Output(target, "output"), resume_output(target, "output")], files, force=call.force)
            progress = choose_progress(call.progress if ranks.first else False)
            trained = train_run(config, Run(progress, target, own=own, ranks=ranks), given)
        if output is None and ranks.first:
            removed_with(trained, target)
    return trained
