"""What each shared tensor of an ONNX model does alone: to the operators that read it, and to the outputs."""

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from qacomp.errors import ExportError
from qacomp.evaluation.onnx_measuring import Reference, deviations_alone, measure_errors
from qacomp.formats import SharedTensor
from qacomp.graphs import OnnxSource
from qacomp.graphs.skeleton import Slot
from qacomp.runtime.operator_errors import OperatorError
from qacomp.sharing.share import Packed
from qacomp.sources.onnx_whole import OriginalValues, joined

_MOST_ALONE, _MOST_VALUES = 64, 20_000_000  # tensors, weights: of more, none is tried alone, which takes too long


@dataclass(frozen=True)
class TensorTrials:
    """Tries tensors of `source` one by one on the `known` runs; None: nothing was run."""

    source: OnnxSource
    wanted: list[Slot]
    known: Reference | None

    def errors(self, packed: Mapping[str, Packed]) -> dict[str, OperatorError]:
        """The error of each tensor that is shared, where it works; see `measure_errors`."""
        places, original, changed = self._shared(packed)
        model = joined(self.source, self.wanted) if self.known is not None else self.source.model
        return measure_errors(model, self.known, places, original, changed)

    def felt(self, packed: Mapping[str, Packed]) -> dict[str, float]:
        """What each does to the outputs alone; where there are too many to try, to its own operators."""
        places, original, changed = self._shared(packed)
        values = sum(math.prod(array.shape) for array in changed.values())
        if self.known is not None and len(changed) <= _MOST_ALONE and values <= _MOST_VALUES:
            with contextlib.suppress(ExportError):
                return deviations_alone(joined(self.source, self.wanted), self.known, places, original, changed)
        return {name: 10 ** (error.db / 10) for name, error in self.errors(packed).items()}

    def _shared(
        self, packed: Mapping[str, Packed]
    ) -> tuple[dict[str, str], dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """Of the shared tensors: what their values are called in the model, and these before and after."""
        names = [name for name, item in packed.items() if isinstance(item.value, SharedTensor)]
        places = {slot.name: slot.site.value for slot in self.wanted if slot.name in set(names)}
        values = OriginalValues(self.source, self.wanted)
        return places, {n: values(n) for n in names}, {n: packed[n].dense() for n in names}
