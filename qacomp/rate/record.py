"""Hold what rate-aware sharing measured while it searched: scales with bytes and distances, and weights' sensitivities.

These are plain values for the report and for --json. Nothing here is computed from a model of the search.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sensitivity:
    """Hold what was measured with one weight on its grid and all others unchanged, at the last step tried alone.

    output_change: of the model's outputs, Σ|y − ŷ|² / Σ|y − mean y|²; weight_error: Σ(w − ŵ)² / Σw²; bits_saved: by a
    doubled step, over all weights of the tensor: from the entropies at that step and at a slightly wider one; None if
    they are too near each other to tell.
    """

    output_change: float
    weight_error: float
    bits_saved: float | None

    @property
    def per_weight_error(self) -> float:
        """Return the change of the outputs divided by the relative squared error of the weight that caused it."""
        return self.output_change / self.weight_error

    @property
    def per_bit(self) -> float | None:
        """Return the change of the outputs for each bit that a doubled step saves; the search evens it out."""
        return None if self.bits_saved is None else self.output_change / self.bits_saved


def finite(distance: float | None) -> float | None:
    """Return a distance, None if it wasn't measured or the outputs were NaN or infinite."""
    return distance if distance is not None and math.isfinite(distance) else None


@dataclass(frozen=True)
class ScaleTrial:
    """One scale that the search tried; a figure is None if the search had no need to measure it.

    scale: common factor on all steps; weight_bytes: of the shared tensors in a container of their own; distance: how
    far the outputs move, Σ|y − ŷ|² / Σ|y − mean y|², before anything is tuned. lost, agreement: what --max-drop and
    --min-agreement limit, on the samples that decide, after tuning.
    """

    scale: float
    weight_bytes: int | None = None
    distance: float | None = None
    lost: float | None = None
    agreement: float | None = None


@dataclass(frozen=True)
class LimitKept:
    """A limit within which the steps were chosen, and what was reached.

    option: --max-drop or --min-agreement; asked: its value; reached: on the inputs that decided, of which `inputs` is a
    text; reported: on the samples that decided nothing, None if there are none or it isn't measured. noise: two
    standard errors of the difference between both, for a metric's loss; None if it isn't known.
    """

    option: str
    asked: float
    reached: float
    inputs: str
    reported: float | None = None
    noise: float | None = None


@dataclass(frozen=True)
class RateSearch:
    """All that the search measured.

    trials: by ascending scale, none if weights were trained on their grids; chosen: the scale of the file, None without
    trials. filled: the weights whose steps in the file are finer than that scale says; the trial at that scale has the
    figures with these steps. sensitivities: by weight; a weight that no output depended on has none, and neither have
    weights whose model can't be run. of_outputs: distances are those of outputs, otherwise the mean relative squared
    error of the weights. inputs: what the model was run on; inputs_given: they come from the user's data and weren't
    generated. limits: those that the search kept.
    """

    trials: tuple[ScaleTrial, ...] = ()
    chosen: float | None = None
    sensitivities: Mapping[str, Sensitivity] = field(default_factory=dict)
    of_outputs: bool = True
    inputs: str = ""
    inputs_given: bool = False
    limits: tuple[LimitKept, ...] = ()
    filled: tuple[str, ...] = ()

    @property
    def of_file(self) -> ScaleTrial | None:
        """Return the figures at the scale of the file, with which it was searched; None without trials."""
        return next((trial for trial in self.trials if trial.scale == self.chosen), None)

    @property
    def front(self) -> tuple[tuple[float, int, float], ...]:
        """Return (scale, weight_bytes, distance) of the trials that have both figures."""
        return tuple(
            (t.scale, t.weight_bytes, t.distance)
            for t in self.trials
            if t.weight_bytes is not None and t.distance is not None
        )
