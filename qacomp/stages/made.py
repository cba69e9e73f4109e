"""The result of training or sharing a source: what its container will hold, and what was measured."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from qacomp.evaluation.metrics import Measure
from qacomp.evaluation.paired import Loss
from qacomp.evaluation.verdict import NOT_JUDGED, Verdict
from qacomp.exporting.operating_points import OperatingPoint
from qacomp.formats import Container, HeldTensor
from qacomp.rate.record import RateSearch
from qacomp.runtime.agreement import Agreement
from qacomp.runtime.operator_error import OperatorError
from qacomp.sharing.selection import Selection
from qacomp.sharing.share import Packed
from qacomp.stages.figures import Accuracy

if TYPE_CHECKING:  # a source that isn't trained needs no torch
    from torch import nn

    from qacomp.training.history import EpochRecord, WeightHistogram
    from qacomp.training.pruning.report import PruningReport


@dataclass(frozen=True)
class Measurements:
    """What was measured of a compressed model; what wasn't measured is None or empty.

    loss: of the metric, with its noise; only where a limit of it is asked for. errors: by shared tensor, at the
    operators that read it; max_abs_error: largest absolute difference between the outputs of the packed model and of
    the model read back from the file; points: the container's operating points.
    """

    accuracy: Accuracy = field(default_factory=Accuracy)
    agreement: Agreement | None = None
    metric: Measure | None = None
    loss: Loss | None = None
    errors: Mapping[str, OperatorError] = field(default_factory=dict)
    max_abs_error: float | None = None
    points: tuple[OperatingPoint, ...] = ()
    verdict: Verdict = NOT_JUDGED


@dataclass(frozen=True)
class Training:
    """The records of a network's training. weights, errors: by layer, histograms and relative errors of its weights.

    fine_tuned: top-1 on the test split, in percent, after the fine-tuning and before the weights are shared.
    """

    history: "tuple[EpochRecord, ...]" = ()
    pruning: "PruningReport | None" = None
    weights: "Mapping[str, tuple[WeightHistogram, ...]]" = field(default_factory=dict)
    errors: Mapping[str, float | None] = field(default_factory=dict)
    fine_tuned: float | None = None


Finish: TypeAlias = Callable[[Container], tuple[Measurements, Selection]]


@dataclass(frozen=True)
class Made:
    """What goes into a container.

    tensors: (name, value) in order; those of a large source are shared while they are iterated, which
    works only once.
    measured: what was measured before writing; meta: metadata without the record of the source; cuts: names of tensors
    before which the writer begins new sections. finish: takes the container that was written, checks it against this
    value, and returns all measurements and the final selection. search: what rate-aware sharing measured while it
    searched; missed: what was asked for and isn't met, or empty; network: the PyTorch network as packed, if it is one.
    """

    selection: Selection
    tensors: Iterable[tuple[str, Packed | HeldTensor]]
    graph: bytes | None
    meta: Mapping[str, Any]
    measured: Measurements
    finish: Finish
    training: Training = field(default_factory=Training)
    cuts: Collection[str] = ()
    arch: str | None = None
    missed: str = ""
    search: RateSearch | None = None
    network: "nn.Module | None" = None

    @property
    def of_base(self) -> dict[str, Any]:
        """Return the entry of the metadata about the base; empty without one."""
        return {} if self.selection.base is None else self.selection.base.to_meta()
