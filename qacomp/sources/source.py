"""The interface of a source that is not trained: an ONNX model or bare tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from numpy.typing import NDArray

from qacomp.checkpoints import Checkpoint
from qacomp.evaluation.samples import Given
from qacomp.options.config import CompressConfig
from qacomp.rate.calibrated import TwiceCalibratedModel
from qacomp.runtime.operator_error import OperatorError
from qacomp.sharing.selection import Selection, Weight
from qacomp.sharing.share import Packed
from qacomp.sources.source_size import SourceSize

if TYPE_CHECKING:  # these import onnx, which the workers of a large source do without
    from qacomp.evaluation.measured import Measured
    from qacomp.graphs.reading import OnnxFile

Values: TypeAlias = Callable[[str], NDArray[Any]]
"""Gives the values of the tensor with a name."""


SHARING = (
    *("scope", "include", "exclude", "min_size", "codebook", "k", "k_layers", "levels"),
    *("min_agreement", "rounding", "stored_precision", "seed", "data", "key"),
)
"""The settings that have an effect when weights are shared by k-means without training."""
RATE_AWARE = ("sharing", "target_size", "quality", "max_drop", "calibration")
"""The settings of rate-aware sharing."""
PROGRAM = ("input", "submodule")
"""The settings that have an effect when a user's program is exported to ONNX."""
RUNNING = ("run_limits",)
"""The settings that have an effect when models are run to measure them."""


@dataclass(frozen=True)
class Effects:
    """Which settings have an effect on a source that is not trained, and the texts that say why others have none.

    used: the names of those settings. refused: follows the option ("--prune energy ...") in the error for an option
    that works on a network's layers. untrained: begins the note that lists the settings without effect.
    """

    used: tuple[str, ...]
    refused: str
    untrained: str


class ModelRuns(Protocol):
    """A source's model, which can be run with changed weights on a fixed set of inputs."""

    @property
    def digest(self) -> str:
        """Return a digest of the inputs and targets, also of those that decide, in hex."""
        ...

    def measured(self, values: Values) -> "Measured":
        """Run the model with these values, and compare its outputs with the original's."""
        ...

    def where_steps_are_chosen(self) -> "ModelRuns":
        """Return the model to run on the inputs that decide; itself where the same inputs are reported."""
        ...

    def errors(self, shared: Mapping[str, Packed]) -> dict[str, OperatorError]:
        """Return the error of each shared tensor at the operators that read it."""
        ...

    def felt(self, shared: Mapping[str, Packed]) -> dict[str, float]:
        """Return by tensor how much the outputs change if it alone is shared; only ratios between tensors count."""
        ...


class PlainSource(Protocol):
    """A source that is not trained: its tensors are shared as they are.

    origin: the model as it was read; notes: remarks for the user; size: in bytes, as it came and in fp32.
    """

    @property
    def origin(self) -> "Checkpoint | OnnxFile": ...  # noqa: D102
    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def size(self) -> SourceSize: ...  # noqa: D102
    @property
    def large(self) -> bool:
        """Return whether the source is so large that its tensors are read one at a time and it is never run."""
        ...

    def effects(self, with_data: bool) -> Effects:
        """Return which settings have an effect; with_data: whether there is data to measure on."""
        ...

    def weights(self) -> Sequence[Weight]:
        """Return all tensors, in the order in which a container holds them."""
        ...

    def check(self, selection: Selection) -> None:
        """Raise CheckpointError where a selected tensor can't be shared at all."""
        ...

    def vectors(self, precision: str) -> Mapping[str, str]:
        """Return the vectors that `precision` may hold: name -> description, as in "bias of Conv, a vector"."""
        ...

    def graph(self) -> bytes | None:
        """Return the ONNX graph without its weights, or None where there is none."""
        ...

    def runs(self, given: Given | None, config: CompressConfig, note: Callable[[str], None]) -> ModelRuns | None:
        """Return the model, ready to run on the `given` data, else on generated inputs; None if it can't be run."""
        ...

    def calibration(
        self, names: Sequence[str], config: CompressConfig, note: Callable[[str], None]
    ) -> TwiceCalibratedModel | None:
        """Return the model with inputs to calibrate the weights of these names on; None if it can't be run."""
        ...

    def digests(self) -> list[str]:
        """Return the SHA-256, in hex, of each file with external data."""
        ...

    def metadata(self) -> dict[str, Any]:
        """Return the metadata entries that a container has for this kind of source only."""
        ...

    def remarks(self, selection: Selection) -> list[str]:
        """Return remarks for the user on the source's tensors."""
        ...
