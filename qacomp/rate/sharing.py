"""Put all selected weights of a model on uniform grids, at any common scale of their steps."""

import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, bfloat16_to_float32
from qacomp.rate.calibrated import CalibratedModel
from qacomp.rate.column_choice import with_columns
from qacomp.rate.compensation import factorized, rounded
from qacomp.rate.grid_form import MOST_VALUES, distinct, grid_precision, grid_tensor, grid_values, plain_step, step_of
from qacomp.rate.kept import Kept, Watch, not_kept
from qacomp.rate.nested_grids import nested_grids
from qacomp.rate.record import Sensitivity
from qacomp.rate.rows import rows_of, rows_of_base
from qacomp.rate.steps import ROUNDS, Distance, WeightOnGrid, balanced_steps
from qacomp.rate.trellis_form import FINER, near_path, suits, trellis_tensor
from qacomp.sharing.nested_arrays import levels_in_own_dtype
from qacomp.sharing.selection import Layer, Selection
from qacomp.sharing.share import Packed, in_own_dtype, unfit

_ROOM = 4.0  # twice the range of the values, for weights that compensation or training moves


@dataclass(frozen=True)
class Ways:
    """Hold what calibration may use. columns: give the inputs of an operator their own steps where that pays.

    plain_trials: steps follow what plain rounding does to the outputs, not compensated rounding. tables: tensors whose
    rows are looked up by the ids of words, which get their own steps.
    """

    columns: bool = False
    plain_trials: bool = False
    tables: Collection[str] = ()


NO_COLUMNS = Ways()


@dataclass(frozen=True)
class RateSharing:
    """The selected weights, and their steps at scale 1.

    dtypes: of the original weights; precision: of codebooks in the file; unfit: layer -> why it can't be put on a grid.
    sensitivities: by weight, what the search of steps measured; empty if the model can't be run. base: the digest of
    the container that weights stay near; empty without one; based: most weights have its steps at scale 1. trellis:
    the weights that `at` rounds on a trellis where their values have room.
    """

    weights: Mapping[str, WeightOnGrid]
    steps: Mapping[str, float]
    dtypes: Mapping[str, np.dtype[Any]]
    precision: str
    unfit: Mapping[str, str]
    sensitivities: Mapping[str, Sensitivity] = field(default_factory=dict)
    base: str = ""
    based: bool = False
    trellis: frozenset[str] = frozenset()

    def at(self, scale: float) -> dict[str, Packed]:
        """Return every weight on its grid, as a container holds it, with all steps multiplied by `scale`."""
        return {name: self._packed(name, self.step(name, scale)) for name in self.weights}

    def step(self, name: str, scale: float) -> float:
        """Return a weight's step at a scale: never so fine that its values would need more levels than a file holds.

        It has few bits (see `plain_step`), so that a file holds its multiples exactly.
        """
        return plain_step(max(self.steps[name] * scale, _ROOM * self.weights[name].largest / MOST_VALUES))

    def estimate(self, scale: float) -> float:
        """Estimate the bytes of all weights at a scale, from the entropy of some of their values, plainly rounded."""
        return sum(weight.estimated_bits(self.step(name, scale)) for name, weight in self.weights.items()) / 8

    def plain(self, scale: float) -> dict[str, Packed]:
        """Return every weight rounded to the nearest multiples, without compensation."""
        return self.on_grids({n: rounded(w.values, self.step(n, scale)) for n, w in self.weights.items()}, scale)

    def on_grids(self, integers: Mapping[str, NDArray[np.integer]], scale: float) -> dict[str, Packed]:
        """Return weights as a container holds them, given as integer multiples of their steps times `scale`."""
        return {n: self._on_grid(n, values, self.step(n, scale)) for n, values in integers.items()}

    def finer(self, factors: Mapping[str, float]) -> "RateSharing":
        """Return the weights with the steps of some of them, by name, multiplied by factors."""
        return replace(self, steps={name: step * factors.get(name, 1.0) for name, step in self.steps.items()})

    def near(self, selection: Selection) -> "RateSharing":
        """Return the weights near those of the selection's base, with its steps where it is on grids or trellises.

        The steps of other weights keep their ratios, and are scaled to those of the base. Weights that are on a trellis
        in the base are on one here, or not near it (see `near_path`).
        """
        if selection.base is None:
            return self
        weights, known, trellis = dict(self.weights), dict[str, float](), set(self.trellis)
        for layer in selection.layers:
            weight = self.weights.get(layer.name)
            if weight is not None and layer.base is not None and layer.base.on_trellis:
                found = near_path(weight, layer.base.shared(weight.values.shape))
                if found is not None and found.fine is not None:
                    weights[layer.name], known[layer.name] = found, found.fine / FINER
                    trellis.add(layer.name)
                continue
            values = None if weight is None or layer.base is None else layer.base.values(weight.values.shape)
            if weight is None or layer.base is None or values is None:
                continue
            books = layer.base.in_rows(values.shape) if weight.factor is None or weight.rows is not None else None
            rows = None if books is None else rows_of_base(weight.values, *books)
            weights[layer.name] = replace(weight, near=values, columns=None, rows=None if rows is None else rows[0])
            if rows is not None:
                known[layer.name] = rows[1]
            elif (step := step_of(layer.base.shared(values.shape))) is not None:
                known[layer.name] = step
        sizes = {name: weights[name].values.size for name in known}
        whole = sum(sizes.values())
        other = sum(n * math.log(known[name] / self.steps[name]) for name, n in sizes.items()) / max(1, whole)
        steps = {name: known.get(name, step * math.exp(other)) for name, step in self.steps.items()}
        based = 2 * whole > sum(weight.values.size for weight in weights.values())
        here = replace(self, weights=weights, steps=steps, trellis=frozenset(trellis))
        return replace(here, base=selection.base.digest, based=based)

    def on_trellis(self) -> "RateSharing":
        """Return the weights with a trellis for all that suit one."""
        return replace(self, trellis=frozenset(name for name, weight in self.weights.items() if suits(weight)))

    def eased(self) -> "RateSharing":
        """Return the weights with steps halfway, in logarithm, between these and steps ∝ the weights' own deviations.

        Made-up inputs tell only roughly what outputs feel on real ones, so what they say is taken by half.
        """
        own = {name: weight.deviation for name, weight in self.weights.items()}
        known = [name for name in self.steps if own[name] > 0]
        middle = sum(math.log(self.steps[name] / own[name]) for name in known) / max(1, len(known))
        eased = {name: math.sqrt(self.steps[name] * own[name] * math.exp(middle)) for name in known}
        return replace(self, steps={**self.steps, **eased})

    @property
    def digest(self) -> str:
        """Return a SHA-256, in hex, that differs for other steps."""
        steps = repr([(name, float(step)) for name, step in self.steps.items()])
        rounded = f" on trellises: {sorted(self.trellis)}" if self.trellis else ""
        return hashlib.sha256(f"{steps}{self.base}{rounded}".encode()).hexdigest()

    @property
    def both_ways(self) -> int:
        """Return how many weights are compensated along outputs too."""
        return sum(w.factor is not None and w.factor.outputs is not None for w in self.weights.values())

    @property
    def by_cost(self) -> list[str]:
        """Return the names, those whose error moves outputs most for each bit first; unknown ones last, by size."""

        def cost(name: str) -> tuple[float, int]:
            known = self.sensitivities.get(name)
            return (known.per_bit or 0.0) if known is not None else 0.0, self.weights[name].values.size

        return sorted(self.weights, key=cost, reverse=True)

    def balanced(self, distance: Distance, advance: Callable[[], None], kept: Kept = not_kept) -> "RateSharing":
        """Return the weights with steps that are balanced anew; see `balanced_steps`."""
        found = balanced_steps(self.weights, distance, advance, kept)
        return replace(self, steps=found.steps, sensitivities=found.sensitivities)

    def integers(self, scale: float) -> dict[str, NDArray[np.int64]]:
        """Return every weight as integer multiples of its step at a scale, compensated."""
        return {name: weight.integers(self.step(name, scale)) for name, weight in self.weights.items()}

    def nested(self, levels: Sequence[Mapping[str, NDArray[np.int64]]], scales: Sequence[float]) -> dict[str, Packed]:
        """Return every weight at several scales in one tensor: `levels` are its `integers`, the coarsest first."""
        return {name: self._nested(name, [level[name] for level in levels], scales) for name in self.weights}

    def _nested(self, name: str, levels: Sequence[NDArray[np.int64]], scales: Sequence[float]) -> Packed:
        shared = nested_grids(levels, [self.step(name, scale) for scale in scales])
        return levels_in_own_dtype(shared, self.dtypes[name], self.precision)

    def _packed(self, name: str, step: float) -> Packed:
        weight = self.weights[name]
        if name in self.trellis and (found := trellis_tensor(weight, step)) is not None:
            return in_own_dtype(found, self.dtypes[name], "exact")
        integers = weight.integers(step)
        if (own := weight.columns_at(step) or weight.rows_at(step)) is not None:
            return Packed(own.grid_tensor(integers, step))
        while distinct(integers)[0].size > MOST_VALUES:  # compensation moves weights far beyond their own range
            step *= 2
            integers = weight.integers(step)
        return self._on_grid(name, integers, step)

    def _on_grid(self, name: str, integers: NDArray[np.integer], step: float) -> Packed:
        shared = grid_tensor(integers, grid_values(integers, step, np.dtype(np.float64)))
        return in_own_dtype(shared, self.dtypes[name], grid_precision(shared, self.precision))


def calibrated_sharing(
    layers: Mapping[str, Layer],
    read: Callable[[str], NDArray[Any]],
    model: CalibratedModel,
    precision: str,
    watch: Watch,
    ways: Ways = NO_COLUMNS,
) -> RateSharing:
    """Return the layers' weights with compensation factors and balanced steps.

    read: returns the values of a weight, by its name; precision: of codebooks in the file.
    """
    wide, dtypes, reasons = _read(layers, read, model.of_outputs)
    with watch.progress.task("moments of inputs", model.batches) as task:
        moments = model.moments({name: array.shape for name, array in wide.items()}, task.advance)
    weights = {}
    for name, array in wide.items():
        moment = moments.get(name)
        factor = None if moment is None else factorized(moment.values, moment.outputs)
        weight = WeightOnGrid(array, None if moment is None else moment.view, factor)
        single = dtypes[name] == np.float32  # codebooks of a type with fewer bits can't hold all multiples of all steps
        looked_up = name in ways.tables and (moment is None or moment.table) and single
        rows = rows_of(array) if looked_up else None
        if rows is not None:
            weights[name] = replace(weight, rows=rows)
        else:
            weights[name] = with_columns(weight) if ways.columns and single else weight
    with watch.progress.task("steps by change of outputs", ROUNDS * len(weights)) as task:
        tried = {name: weight.plain for name, weight in weights.items()} if ways.plain_trials else weights
        found = balanced_steps(tried, model.distance, task.advance, watch.kept)
    unfelt = {name for name in weights if layers[name].measured and name not in found.sensitivities}
    reasons |= dict.fromkeys(unfelt, "no measured output depends on it")
    kept = {name: weight for name, weight in weights.items() if name not in unfelt}
    steps = {name: found.steps[name] for name in kept}
    return RateSharing(kept, steps, dtypes, precision, reasons, found.sensitivities)


def plain_sharing(layers: Mapping[str, Layer], read: Callable[[str], NDArray[Any]], precision: str) -> RateSharing:
    """Return the layers' weights, plainly rounded, with steps ∝ their standard deviations: nothing else is known."""
    values, dtypes, reasons = _read(layers, read, False)
    weights = {name: WeightOnGrid(array) for name, array in values.items()}
    return RateSharing(weights, {name: w.first_step() for name, w in weights.items()}, dtypes, precision, reasons)


def _read(
    layers: Mapping[str, Layer], read: Callable[[str], NDArray[Any]], of_outputs: bool
) -> tuple[dict[str, NDArray[Any]], dict[str, np.dtype[Any]], dict[str, str]]:
    """Return the values that can be put on a grid, in a type that numpy knows; all dtypes; and why others can't.

    of_outputs: whether outputs are measured, without which some layers stay exact.
    """
    values = {name: read(name) for name in layers}
    dtypes = {name: array.dtype for name, array in values.items()}
    wide = {n: bfloat16_to_float32(a) if a.dtype == BFLOAT16 else a for n, a in values.items()}
    reasons = {name: why for name, array in wide.items() if (why := unfit(array))}
    if not of_outputs:
        reasons |= {name: "outputs aren't measured" for name, layer in layers.items() if layer.measured}
    return {name: array for name, array in wide.items() if name not in reasons}, dtypes, reasons
