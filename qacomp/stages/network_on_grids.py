"""Put a PyTorch network's weights on grids at any scale of its steps, and measure what comes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from torch import nn

from qacomp.batches.feed import Feed
from qacomp.formats import SharedTensor
from qacomp.models.plain_modules import copied
from qacomp.models.weight_places import parametrizations
from qacomp.sharing.share import Packed, kept_unless_smaller
from qacomp.sources.torch_source import TorchSource
from qacomp.stages.job import Job
from qacomp.stages.kept_trials import kept_trials
from qacomp.stages.kept_tunings import KeptTunings
from qacomp.stages.made import Made
from qacomp.stages.measure_network import measured_network
from qacomp.stages.network_calibration import CalibratedNetwork
from qacomp.stages.scale_search import Asked
from qacomp.stages.scaled import Scaled
from qacomp.stages.size_of import tensor_bytes, whole_bytes
from qacomp.stages.tune_on_grids import Tuned, tune, tunes
from qacomp.stages.validate_network import validated_network
from qacomp.stages.validation import Validation
from qacomp.tensors.torch_format import to_array
from qacomp.training.history import WeightHistory
from qacomp.training.parametrizations.grid import share_weight_on_grid
from qacomp.training.parametrizations.shared import share_weight


@dataclass(frozen=True)
class BuiltNetwork:
    """A network whose weights are on grids: the job with its records, and the network before and after tuning."""

    job: Job
    before: nn.Module
    model: nn.Module


@dataclass(frozen=True)
class NetworkOnGrids:
    """The network to share on grids: its job and source, its calibration, and the histograms of its weights."""

    job: Job
    source: TorchSource
    found: CalibratedNetwork
    weights: WeightHistory

    def at(self, scale: float) -> dict[str, Packed]:
        """Return all weights on grids, with all steps multiplied by `scale`; as they are where that is smaller."""
        layers = {layer.name: layer for layer in self.job.selection.layers}
        state = self.job.model.state_dict()
        return {
            name: kept_unless_smaller(item, to_array(state[name]), layers[name])
            for name, item in self.found.sharing.at(scale).items()
        }

    def plain(self, scale: float) -> dict[str, Packed]:
        """Return all weights rounded to the nearest multiples, without compensation, as training starts with them."""
        return self.found.sharing.plain(scale)

    def bytes_of(self, items: Mapping[str, Packed]) -> int:
        """Return the bytes of a container that holds only these tensors."""
        return tensor_bytes(items, self.job.config)

    def built(self, items: Mapping[str, Packed], *, tuned: bool, model: nn.Module | None = None) -> "BuiltNetwork":
        """Return the network with these tensors. tuned: tune it too.

        model: the trained network whose other parameters are taken, and whose weights stay on their grids; None: the
        job's.
        """
        job, trained, model = self.job, model is not None, copied(self.job.model if model is None else model)
        shared = {name: item.value for name, item in items.items() if isinstance(item.value, SharedTensor)}
        for name, value in shared.items():
            if value.blocks is None:
                share_weight(model, name, value.codebook, value.indices, self._zero(name, value))
                parametrizations(model, name).original.requires_grad_(not trained or value.indices.ndim < 2)
            else:  # on a trellis: its values stay multiples of one step
                share_weight_on_grid(model, name, value)
        before = copied(model)
        if tuned:
            job = job.told(tune(job, model, self._inputs).records)
        selection = job.selection
        for layer in job.selection.layers:
            if layer.name not in shared:
                kept = items[layer.name].kept if layer.name in items else self.found.sharing.unfit.get(layer.name)
                selection = selection.without(layer, kept or "not on a grid")
        return BuiltNetwork(replace(job, selection=selection), before, model)

    def measured(self, built: "BuiltNetwork") -> Made:
        """Return what goes into the container, measured. It is the last use of `built`: packing takes it apart."""
        job = replace(built.job, network=replace(built.job.network, model=built.model))
        made = measured_network(job, (built.before, built.model), self.weights)
        return replace(made, meta={**made.meta, "calibration": self.found.model.text})

    def validated(self, built: "BuiltNetwork") -> Validation:
        """Return what decides whether its steps may be taken."""
        return validated_network(built.job, built.model)

    def made(self, items: Mapping[str, Packed], *, tuned: bool, model: nn.Module | None = None) -> Made:
        """Return what goes into the container; see `built` and `measured`."""
        return self.measured(self.built(items, tuned=tuned, model=model))

    @property
    def _inputs(self) -> Sequence[Feed]:
        """Return the unlabelled inputs on which the network is tuned."""
        return self.found.inputs if self.found.training is None else [self.found.training]

    def _zero(self, name: str, shared: SharedTensor) -> int | None:
        """Return the index of the value that tuning must leave at zero, None for a tensor without zeros to keep."""
        values = self.found.sharing.weights[name].values
        if values.ndim < 2 and name not in self.job.zeros.masks:
            return None  # a bias that begins at zero may move
        entries = np.unique(shared.indices[values == 0])
        return int(entries[0]) if entries.size == 1 and shared.codebook[entries[0]] == 0 else None

    def scaled(self, *, tuned: bool = True) -> Scaled:
        """Return the network at any scale of its steps, without training of its weights. tuned: tune the rest.

        Each scale is tuned once.
        """
        at = lru_cache(maxsize=1)(self.at)  # bytes and distance are often asked for at the same scale
        tuned = tuned and tunes(self.job)
        what = f"{self.found.sharing.digest}{self.found.model.digest}{' tuned' if tuned else ''}"
        kept = KeptTunings(self.job.run.journal, what)

        def built(scale: float) -> BuiltNetwork:
            found = self.built(at(scale), tuned=False)
            if not tuned:
                return found
            known = kept.find(scale)
            if known is None:
                good = self.job.session is None and self.validated(found).good
                known = tune(self.job, found.model, self._inputs)
                if good and not self.validated(found).good:  # tuned on other inputs than those that decide
                    known, found = Tuned({}), self.built(at(scale), tuned=False)
                kept.keep(scale, known)
            else:
                known.put(found.model)
            return replace(found, job=found.job.told(known.records))

        def before_tuning(scale: float) -> Validation:
            return self.validated(self.built(at(scale), tuned=False))

        scaled = Scaled(
            lambda scale: self.measured(built(scale)),
            self.whole,
            lambda scale: self.bytes_of(at(scale)),
            lambda scale: self.distance(at(scale)),
            lambda scale: self.validated(built(scale)),
            lambda factors: self._finer(factors).scaled(tuned=tuned),
            self.found.sharing.by_cost,
            before_tuning if tuned else None,
            based=self.found.sharing.based,
            estimate=None if self.found.sharing.base else self.found.sharing.estimate,
        )
        return kept_trials(scaled, self.job.run.journal, what)

    def _finer(self, factors: Mapping[str, float]) -> "NetworkOnGrids":
        return replace(self, found=replace(self.found, sharing=self.found.sharing.finer(factors)))

    def distance(self, items: Mapping[str, Packed]) -> float:
        """Return how far the outputs move with these weights."""
        return self.found.model.distance({name: item.dense() for name, item in items.items()})

    def rest(self) -> int:
        """Return the bytes of the file without the shared tensors: the graph, norms, biases, metadata."""
        items = self.at(1.0)
        return self.whole(self.made(items, tuned=False)) - self.bytes_of(items)

    def whole(self, made: Made) -> int:
        """Return the bytes of the whole file."""
        return whole_bytes(made, self.source, self.job.config)

    def asked(self) -> Asked:
        """Return the size that --target-size names."""
        return Asked.of(self.job.config, self.source.size)
