"""What a source has become: what its container will hold, and what is known of it."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from qacomp.evaluation.metrics import Measure
from qacomp.evaluation.verdict import NOT_JUDGED, Verdict
from qacomp.exporting.operating_points import OperatingPoint
from qacomp.formats import Container
from qacomp.runtime.agreement import Agreement
from qacomp.runtime.operator_errors import OperatorError
from qacomp.sharing.selection import Selection
from qacomp.sharing.share import Packed
from qacomp.stages.figures import Accuracy
from qacomp.training.history import EpochRecord, WeightHistogram
from qacomp.training.pruning.report import PruningReport


@dataclass(frozen=True)
class Measurements:
    """What was measured of a compressed model beside the original; None or empty where it wasn't.

    errors: of each shared tensor where it works; max_abs_error: between the outputs of the model that was packed and of
    the one that was read back; points: what a reader can take of the container.
    """

    accuracy: Accuracy = field(default_factory=Accuracy)
    agreement: Agreement | None = None
    metric: Measure | None = None
    errors: Mapping[str, OperatorError] = field(default_factory=dict)
    max_abs_error: float | None = None
    points: tuple[OperatingPoint, ...] = ()
    verdict: Verdict = NOT_JUDGED


@dataclass(frozen=True)
class Training:
    """What training a network left to tell. weights, errors: how far each layer moved, see `WeightHistory`."""

    history: tuple[EpochRecord, ...] = ()
    pruning: PruningReport | None = None
    weights: Mapping[str, tuple[WeightHistogram, ...]] = field(default_factory=dict)
    errors: Mapping[str, float | None] = field(default_factory=dict)


Finish: TypeAlias = Callable[[Container], tuple[Measurements, Selection]]


@dataclass(frozen=True)
class Made:
    """What goes into a container.

    tensors: name and value of each, in order; a large source's are shared as they are taken, once. meta: what the
    metadata say beside where the source comes from; cuts: tensors before which a new run of sections begins. finish:
    holds the container that was written against this, and gives all measurements, and the selection as it turned out.
    """

    selection: Selection
    tensors: Iterable[tuple[str, Packed]]
    graph: bytes | None
    meta: Mapping[str, Any]
    measured: Measurements
    finish: Finish
    training: Training = field(default_factory=Training)
    cuts: Collection[str] = ()
    arch: str | None = None
