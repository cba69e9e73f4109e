"""An ONNX model with calibration inputs: second moments at its operators, output distances with other weights."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

from numpy.typing import NDArray
from onnx import ModelProto

from qacomp.calibration.onnx_inputs import CalibrationInputs
from qacomp.calibration.onnx_moments import operator_moments
from qacomp.calibration.output_distance import OutputDistance
from qacomp.calibration.weights_alone import WeightsAlone
from qacomp.errors import ExportError
from qacomp.graphs.inputs import input_uses
from qacomp.rate.calibrated import Moment
from qacomp.runtime.agreement import Feed
from qacomp.tensors.digest import arrays_digest


class WholeModel(Protocol):
    """What an `OnnxCalibration` needs of an ONNX source."""

    def values(self, name: str) -> NDArray[Any]:
        """Return the original values of a tensor."""
        ...

    def whole(self) -> ModelProto:
        """Return a copy of the model with all its weights."""
        ...


class OnnxCalibration:
    """A model and inputs for it. places: weight -> its value's name; seed: of the positions taken into moments."""

    def __init__(
        self,
        source: WholeModel,
        places: Mapping[str, str],
        inputs: CalibrationInputs,
        seed: int,
        note: Callable[[str], None],
    ) -> None:
        self._whole, self._places, self._inputs, self._seed, self._note = source.whole, places, inputs, seed, note
        self._alone = WeightsAlone(source.values)

    @property
    def text(self) -> str:
        """Return what the inputs are and how many."""
        return self._inputs.text

    @property
    def of_words(self) -> bool:
        """Return whether the inputs are texts of words at random.

        What compensation and steps of single inputs gain on those, they don't wholly gain on sentences, whose
        activations have other directions. What plain rounding does to the outputs is nearly the same on both: so steps
        follow that.
        """
        return self._inputs.words

    @cached_property
    def tables(self) -> frozenset[str]:
        """Return the tensors of the graph whose rows are looked up by inputs: by the ids of words."""
        found = {use.table for use in input_uses(self._whole()).values() if use.table}
        return frozenset(name for name, value in self._places.items() if value in found)

    @property
    def digest(self) -> str:
        """Return the SHA-256, in hex, over all inputs."""
        return arrays_digest([*self._inputs.of_moments, *self._inputs.tried, *self._inputs.others])

    @property
    def of_outputs(self) -> bool:
        """Return whether the model can be run with other weights, and its outputs vary with the inputs."""
        return self._distance is not None and self._distance.measures

    @property
    def batches(self) -> int:
        """Return in how many steps the moments are taken."""
        return len(self._inputs.of_moments)

    def moments(self, names: Mapping[str, tuple[int, ...]], advance: Callable[[], None]) -> dict[str, Moment]:
        """Return the moment of each weight whose operators are known; see `CalibratedModel`."""
        values = {self._places[name]: shape for name, shape in names.items()}
        try:
            found = operator_moments(self._whole(), values, self._inputs.of_moments, self._seed, advance)
        except (ExportError, ValueError, RuntimeError) as error:  # the last two: onnx's inliner
            self._note(f"weights are rounded without compensation: the operators' inputs aren't known ({error})")
            return {}
        return {name: found[self._places[name]] for name in names if self._places[name] in found}

    def distance(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return how far the outputs move, relative to how they vary over the inputs."""
        return self._moved(self._distance, values)

    def distance_elsewhere(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return the same on inputs that neither the moments nor the steps come from."""
        return self._moved(self._elsewhere, values)

    def _moved(self, distance: OutputDistance | None, values: Mapping[str, NDArray[Any]]) -> float:
        """Return how far outputs move, 0 where none depends on the values; the weights' own error if none can tell."""
        if distance is None or not distance.measures:
            return self._alone.distance(values)
        held = {self._places[n]: v for n, v in values.items() if self._places[n] in distance.opened}
        return distance(held) if held else 0.0

    @cached_property
    def _distance(self) -> OutputDistance | None:
        return self._opened(self._inputs.tried)

    @cached_property
    def _elsewhere(self) -> OutputDistance | None:
        return self._opened(self._inputs.others)

    def _opened(self, feeds: Sequence[Feed]) -> OutputDistance | None:
        try:
            return OutputDistance(self._whole(), list(self._places.values()), feeds)
        except ExportError as error:
            self._note(f"steps follow the weights' own errors: the model can't be run with other weights ({error})")
            return None
