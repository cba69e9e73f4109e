"""Run an ONNX model with changed weights, and measure the error at its operators and at its outputs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from numpy.typing import NDArray
from onnx import ModelProto

from qacomp.errors import ExportError
from qacomp.evaluation.measured import Measured
from qacomp.evaluation.onnx_measuring import Reference, deviations_alone, measure, measure_errors
from qacomp.formats import SharedTensor
from qacomp.graphs.skeleton import Slot
from qacomp.runtime.operator_error import OperatorError
from qacomp.sharing.share import Packed
from qacomp.tensors.digest import arrays_digest

_MOST_ALONE, _MOST_VALUES = 64, 20_000_000  # tensors, weights: with more, trying each tensor alone takes too long


class Joinable(Protocol):
    """What `OnnxRuns` needs of an ONNX source: its tensors, their values, and the model with any values filled in."""

    @property
    def slots(self) -> list[Slot]: ...  # noqa: D102
    def values(self, name: str) -> NDArray[Any]: ...  # noqa: D102
    def whole(self) -> ModelProto: ...  # noqa: D102
    def joined(self, values: Callable[[str], NDArray[Any]]) -> ModelProto: ...  # noqa: D102


@dataclass(frozen=True)
class OnnxRuns:
    """An ONNX model to run with changed weights. `known`: the inputs, and the original's outputs on them."""

    source: Joinable
    known: Reference
    note: Callable[[str], None]

    @property
    def digest(self) -> str:
        """Return the SHA-256, in hex, over inputs, the original's outputs and targets, also of those that decide."""
        groups: list[Mapping[str, NDArray[Any]]] = []
        known: Reference | None = self.known
        while known is not None:
            groups += [feed for part in known.parts for feeds in part for feed in feeds]
            groups += [] if known.targets is None else [{"targets": known.targets}]
            known = known.validation
        return arrays_digest(groups)

    def measured(self, values: Callable[[str], NDArray[Any]]) -> Measured:
        """Run the model with these values and compare its outputs with the original's; empty if it can't be run."""
        return measure(self.known, self.source.joined(values).SerializeToString(), self.note)

    def where_steps_are_chosen(self) -> OnnxRuns:
        """Return the model to run on the samples that decide; on the same inputs where there are no others."""
        return self if self.known.validation is None else replace(self, known=self.known.validation)

    def errors(self, shared: Mapping[str, Packed]) -> dict[str, OperatorError]:
        """Return the error of each shared tensor at the operators that read it; see `measure_errors`."""
        places, original, changed = self._changes(shared)
        return measure_errors(self.source.whole(), self.known, places, original, changed)

    def felt(self, shared: Mapping[str, Packed]) -> dict[str, float]:
        """Return by tensor how much the outputs change if it alone is shared.

        With too many tensors to try, it is the relative error at the tensor's own operators.
        """
        places, original, changed = self._changes(shared)
        values = sum(math.prod(array.shape) for array in changed.values())
        if len(changed) <= _MOST_ALONE and values <= _MOST_VALUES:
            with contextlib.suppress(ExportError):
                return deviations_alone(self.source.whole(), self.known, places, original, changed)
        return {name: 10 ** (error.db / 10) for name, error in self.errors(shared).items()}

    def _changes(
        self, shared: Mapping[str, Packed]
    ) -> tuple[dict[str, str], dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """Return, by shared tensor: its name in the model, its original values, and its shared values."""
        names = [name for name, item in shared.items() if isinstance(item.value, SharedTensor)]
        places = {slot.name: slot.site.value for slot in self.source.slots if slot.name in set(names)}
        return places, {n: self.source.values(n) for n in names}, {n: shared[n].dense() for n in names}
