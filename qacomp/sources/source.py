"""What is compressed: a torch network, or a source that nothing is trained in, an ONNX model or bare tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from qacomp.checkpoints import Checkpoint
from qacomp.evaluation.onnx_measuring import Measured
from qacomp.evaluation.samples import Given
from qacomp.graphs import OnnxFile
from qacomp.options.config import CompressConfig
from qacomp.runtime.operator_errors import OperatorError
from qacomp.sharing.selection import Selection, Weight
from qacomp.sharing.share import Packed
from qacomp.sources.source_size import SourceSize

Values: TypeAlias = Callable[[str], NDArray[Any]]
"""A tensor's values by its name."""


SHARING = (
    *("scope", "include", "exclude", "min_size", "codebook", "k", "k_layers", "levels"),
    *("min_agreement", "rounding", "stored_precision", "seed", "data", "key"),
)
"""The settings of sharing by k-means alone."""
PROGRAM = ("input", "submodule")
"""The settings of exporting a user's own program."""
RUNNING = ("run_seconds", "run_memory")
"""The settings of running models to measure them."""


@dataclass(frozen=True)
class Effects:
    """Which settings change something for a source that nothing is trained in, and why the others don't.

    refused: goes on from "--prune energy": why what works on a network's layers can't be applied. untrained: a note's
    first words.
    """

    used: tuple[str, ...]
    refused: str
    untrained: str


class ModelRuns(Protocol):
    """The model of a source, which can be run with other values of its weights, on inputs that are known."""

    def measured(self, values: Values) -> Measured:
        """Run it with these values, and hold its outputs against the original's."""
        ...

    def errors(self, shared: Mapping[str, Packed]) -> dict[str, OperatorError]:
        """Return the error of each shared tensor where it works."""
        ...

    def felt(self, shared: Mapping[str, Packed]) -> dict[str, float]:
        """Return what each shared tensor does to the outputs alone, in any unit."""
        ...


class PlainSource(Protocol):
    """A source that nothing is trained in: its tensors are shared one by one. `notes`: remarks for the user."""

    @property
    def origin(self) -> Checkpoint | OnnxFile: ...  # noqa: D102
    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def size(self) -> SourceSize: ...  # noqa: D102
    @property
    def large(self) -> bool:
        """Return whether it is so large that one tensor at a time is held, and that it is never run."""
        ...

    def effects(self, with_data: bool) -> Effects:
        """Return which settings change something."""
        ...

    def weights(self) -> Sequence[Weight]:
        """Return all tensors, in the order in which a container holds them."""
        ...

    def check(self, selection: Selection) -> None:
        """Raise CheckpointError where a selected tensor can't be shared at all."""
        ...

    def vectors(self, precision: str) -> Mapping[str, str]:
        """Return the names of vectors that may be stored in that precision, each with what it is."""
        ...

    def graph(self) -> bytes | None:
        """Return the ONNX graph without its weights, or None where there is none."""
        ...

    def runs(self, given: Given | None, config: CompressConfig, note: Callable[[str], None]) -> ModelRuns | None:
        """Return its model, ready to be run on the `given` data or on generated inputs; None where it can't be run."""
        ...

    def digests(self) -> list[str]:
        """Return the SHA-256 of each further file that holds its data, in hex."""
        ...

    def metadata(self) -> dict[str, Any]:
        """Return what a container's metadata say of such a source alone."""
        ...

    def remarks(self, selection: Selection) -> list[str]:
        """Return what the user should hear of the source's tensors."""
        ...
