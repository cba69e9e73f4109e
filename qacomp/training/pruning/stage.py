"""The prune stage of a compression: prune and retrain, remove dead channels, and report what is left.

It comes before fine-tuning and sharing, as in Deep Compression: so regularizers and codebooks only see the weights that
stay, and removed weights need no indices. The teacher of --distill remains the original network.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from qacomp.errors import ConfigError
from qacomp.graphs.export_inputs import ExportInputs
from qacomp.options.config import CompressConfig
from qacomp.training.history import EpochRecord
from qacomp.training.parametrizations.zeros import Zeros, find_zeros
from qacomp.training.pruning.channels import trace_channels
from qacomp.training.pruning.class_figures import class_figures
from qacomp.training.pruning.counting import ParameterCount
from qacomp.training.pruning.methods import Pruner, PruningMasks, pruner_of
from qacomp.training.pruning.removal import clear_dead, not_removable, remove_dead
from qacomp.training.pruning.report import PruningReport, active_units, kept_parameters, pruned_layers
from qacomp.training.pruning.single_weights import weight_units
from qacomp.training.pruning.units import Units, apply_masks, find_units
from qacomp.training.setup import TrainingSetup

_FEW = 0.02
"""A smaller share of parameters than this is what is left of a search that ran to the empty network."""


@dataclass(frozen=True)
class Pruned:
    """The result of the stage: the report, the weights that must stay zero, and a record for each epoch."""

    report: PruningReport
    zeros: Zeros
    records: list[EpochRecord]


def prune(
    model: nn.Module,
    example: tuple[int, ...] | ExportInputs,
    config: CompressConfig,
    setup: TrainingSetup | None,
    note: Callable[[str], None],
    *,
    remove: bool = True,
) -> Pruned:
    """Prune `model` in place as --prune says; without a setup (no data) by magnitude and without retraining.

    example: the shape of one input, (C, H, W), or inputs, for tracing it; note: called with texts for the user; remove:
    take dead channels out, else they stay as zeros. Raises ConfigError if filters of a network that can't be traced are
    to be pruned, or if no layer can be.
    """
    pruner = pruner_of(config.prune)
    if pruner.unit == "weight":
        units = weight_units(model, example, pruner.name, note)
    else:
        units = find_units(trace_channels(model, example))
    if setup is not None and pruner.options.epochs:
        trained = pruner.train(model, units, setup)
    else:
        assert pruner.options.rate is not None
        trained = PruningMasks(pruner.masks(model, units, pruner.options.rate), [])
    if setup is None or trained.search is None:
        return finish(model, units, trained, pruner, note, remove=remove)
    full = class_figures(model, setup)  # no gates, every value there
    pruned = finish(model, units, trained, pruner, note, remove=remove)
    left = class_figures(model, setup)
    if full is None or left is None:
        return pruned
    note(f"--prune {pruner.name}: top-1 of the whole network {full.top1:.2f} %, of the pruned one {left.top1:.2f} %")
    return replace(pruned, report=replace(pruned.report, full=full, pruned=left))


def finish(
    model: nn.Module,
    units: Units,
    trained: PruningMasks,
    pruner: Pruner,
    note: Callable[[str], None],
    *,
    remove: bool = True,
) -> Pruned:
    """Set the masked parameters of `model` to zero and remove its dead channels, in place; return the result."""
    counter = ParameterCount(model, units)
    apply_masks(model, trained.masks)
    clear_dead(model, units)
    kept, weights = kept_parameters(model, units)
    active = active_units(model, units)
    rows = remove_dead(model, units, keep=not remove)
    stays = not_removable(rows, units.graph) if remove else None
    left = sum(p.numel() for p in model.parameters())
    search = trained.search
    frozen = None if search is None else next((e.epoch - 1 for e in search.history if e.frozen), None)
    report = PruningReport(
        method=pruner.name,
        unit=pruner.unit,
        parameters=counter.total,
        parameters_kept=kept,
        kept_share=kept / counter.total,
        parameters_left=left,
        units=units.count,
        units_active=active,
        layers=tuple(pruned_layers(rows, weights, counter.kernels)),
        frozen_after=frozen,
        search=() if search is None else tuple(search.history),
        stays=stays,
    )
    gone = f"{counter.total - left:,} removed from the tensors, which are smaller than the architecture's"
    note(
        f"--prune {pruner.name}: {kept:,} of {counter.total:,} parameters kept ({100 * report.kept_share:.2f} %), "
        f"{gone if remove else 'the others are zeros'}"
    )
    if stays is not None:
        note(f"--prune {pruner.name}: {stays}")
    if search is not None and report.kept_share < _FEW:
        note(
            f"--prune {pruner.name}: the search switched nearly everything off, since a network that gives nothing has "
            "the energy 0, and an untrained one more; ask for a share, rate=0.5"
        )
    return Pruned(report, find_zeros(model, units), trained.records)


def remove_dead_channels(model: nn.Module, example: ExportInputs, note: Callable[[str], None]) -> None:
    """Remove the dead channels of a network that was pruned earlier, in place; a note says how many parameters.

    A network that can't be traced keeps its zeros; a note says why.
    """
    before = sum(p.numel() for p in model.parameters())
    try:
        units = find_units(trace_channels(model, example))
    except ConfigError as error:
        note(f"pruned channels stay as zeros: {error}")
        return
    clear_dead(model, units)
    stays = not_removable(remove_dead(model, units), units.graph)
    left = sum(p.numel() for p in model.parameters())
    note(f"pruned in its training: {before - left:,} of {before:,} parameters are removed from the tensors")
    if stays is not None:
        note(stays)
