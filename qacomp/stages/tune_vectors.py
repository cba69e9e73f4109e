"""Tune norms and biases of a source that is no network, towards the original's outputs, once for each rounding."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, bfloat16_from_float32, stored_values
from qacomp.options.config import CompressConfig
from qacomp.options.needs import sharing_way, sized_levels, vector_precision
from qacomp.options.sharing_ways.rate_aware import RateAwareWay
from qacomp.rate.calibrated import TunableModel
from qacomp.sharing.share import Packed
from qacomp.stages.made import Made
from qacomp.stages.run import Run
from qacomp.tensors.digest import arrays_digest
from qacomp.tensors.half_precision import holds

TUNED = "tuned_vectors"
"""Names the entry of the metadata that says whether norms and biases are tuned; none where nothing was tried."""
_TUNED_TEXT = (
    "norms and biases are tuned towards the original's outputs, on the texts of --calibration (--sharing "
    "rate:tuned=false leaves them as they are)"
)
_UNTUNED_TEXT = "norms and biases stay as they were: tuned ones bring the outputs on other texts no nearer"
MOST = 1 << 23
"""Weights of a model that is tuned: it runs forwards and backwards as a whole, which takes minutes for 10 million."""


class VectorTuning:
    """Tunes norms and biases for rounded weights, and keeps what it finds.

    read: returns an original tensor by name. Tuned vectors are kept where outputs on other texts come nearer to the
    original's; otherwise those of the original stay.
    """

    def __init__(
        self, model: TunableModel, read: Callable[[str], NDArray[Any]], config: CompressConfig, run: Run
    ) -> None:
        self._model, self._read, self._run = model, read, run
        self._precision = vector_precision(config)
        self._known: dict[str, dict[str, Packed]] = {}

    def vectors(self, items: Mapping[str, Packed]) -> dict[str, Packed]:
        """Return the tuned vectors for these weights, as a container holds them; empty where tuning didn't help."""
        values = {name: item.dense() for name, item in items.items()}
        key = f"tuned norms and biases of {arrays_digest([values])}, {self._precision}, {self._model.digest}"
        if key not in self._known:
            kept = self._run.journal.arrays(key)
            found = self._tuned(values) if kept is None else kept[1]
            if kept is None:
                self._run.journal.add(key, None, found)
            self._known = {key: {name: self._packed(name, value) for name, value in found.items()}}
        return self._known[key]

    def _tuned(self, values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Return tuned values, float32; none where the outputs on other texts aren't nearer with them."""
        with self._run.stage("tune"):
            with self._run.progress.task("tune on the same texts", self._model.tuning_steps) as task:
                found = self._model.tuned(values, task.advance)
            stored = {name: self._packed(name, value).dense() for name, value in found.items()}
            before = self._model.distance_elsewhere(values)
            after = self._model.distance_elsewhere({**values, **stored})
        return dict(found) if after < before else {}

    def _packed(self, name: str, value: NDArray[np.float32]) -> Packed:
        """Return a vector in its own type; a float32 one as coarse as vectors are stored, where that loses little."""
        dtype = self._read(name).dtype
        if dtype == BFLOAT16:
            return Packed(bfloat16_from_float32(value))
        own = value.astype(dtype)
        if not holds(own, self._precision):
            return Packed(own)
        return Packed(stored_values(own, self._precision), self._precision)


def tell_of_tuning(made: Made, note: Callable[[str], None]) -> None:
    """Note whether the norms and biases in a container are tuned, if that was tried."""
    found = made.meta.get(TUNED)
    if found is not None:
        note(_TUNED_TEXT if found else _UNTUNED_TEXT)


def vector_tuning(
    model: object, read: Callable[[str], NDArray[Any]], config: CompressConfig, run: Run
) -> VectorTuning | None:
    """Return what tunes a model's norms and biases; None where nothing can be tuned, or nobody wants it.

    A model of MOST weights or more isn't tuned, nor are several sizes in one file; a note says so where --sharing
    rate:tuned asks for it.
    """
    way = sharing_way(config)
    if not (isinstance(way, RateAwareWay) and way.tuned):
        return None
    why = None
    if not isinstance(model, TunableModel):
        why = "only PyTorch networks, and transformers with --calibration, are tuned"
    elif sized_levels(config):
        why = "a file of several sizes has the same norms at all of them"
    elif model.of_words:
        why = "words at random are too unlike real texts to tune on"
    elif model.weights > MOST:
        why = f"a transformer of more than {MOST:,} weights isn't tuned"
    elif model.vectors:
        return VectorTuning(model, read, config, run)
    if why is not None and "tuned" in config.sharing.given:
        run.note(f"--sharing rate:tuned has no effect: {why}")
    return None
