"""An ONNX model with calibration inputs: second moments at its operators, output distances with other weights."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto

from qacomp.calibration.onnx_inputs import CalibrationInputs
from qacomp.calibration.onnx_moments import operator_moments
from qacomp.calibration.output_distance import OutputDistance
from qacomp.rate.calibrated import Moment


class OnnxCalibration:
    """A model and inputs for it. whole: gives a copy of the model with its weights; places: weight -> its value's name.

    seed: of the positions that are taken into moments.
    """

    def __init__(
        self, whole: Callable[[], ModelProto], places: Mapping[str, str], inputs: CalibrationInputs, seed: int
    ) -> None:
        self._whole, self._places, self._inputs, self._seed = whole, places, inputs, seed

    @property
    def text(self) -> str:
        """Return what the inputs are and how many."""
        return self._inputs.text

    @property
    def batches(self) -> int:
        """Return in how many steps the moments are taken."""
        return len(self._inputs.of_moments)

    def moments(self, names: Mapping[str, tuple[int, ...]], advance: Callable[[], None]) -> dict[str, Moment]:
        """Return the moment of each weight whose operators are known; see `CalibratedModel`."""
        values = {self._places[name]: shape for name, shape in names.items()}
        found = operator_moments(self._whole(), values, self._inputs.of_moments, self._seed, advance)
        return {name: found[self._places[name]] for name in names if self._places[name] in found}

    def distance(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return how far the outputs move, relative to how they vary over the inputs."""
        return self._distance({self._places[name]: value for name, value in values.items()})

    def distance_elsewhere(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return the same on inputs that neither the moments nor the steps come from."""
        return self._elsewhere({self._places[name]: value for name, value in values.items()})

    @cached_property
    def _distance(self) -> OutputDistance:
        return OutputDistance(self._whole(), list(self._places.values()), self._inputs.tried)

    @cached_property
    def _elsewhere(self) -> OutputDistance:
        return OutputDistance(self._whole(), list(self._places.values()), self._inputs.others)
