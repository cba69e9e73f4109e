"""An ONNX model as a source: its graph is kept unchanged, and the compressed model is run beside the original."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto

from qacomp.calibration.onnx_inputs import calibration_inputs
from qacomp.calibration.onnx_model import OnnxCalibration
from qacomp.errors import DataError, ExportError
from qacomp.evaluation.onnx_measuring import reference_outputs
from qacomp.evaluation.samples import Given
from qacomp.graphs.metadata import ORIGINAL
from qacomp.graphs.reading import OnnxFile, read_onnx
from qacomp.graphs.roles import Role, roles
from qacomp.graphs.skeleton import Slot, empty, join, slots
from qacomp.graphs.values import FLOATS, count, is_external
from qacomp.graphs.walk import Site, sites
from qacomp.options.config import CompressConfig
from qacomp.sharing.selection import Selection, Weight
from qacomp.sources.onnx_runs import OnnxRuns
from qacomp.sources.onnx_weights import rounded_vectors, weight_of
from qacomp.sources.source import PROGRAM, RATE_AWARE, RUNNING, SHARING, Effects
from qacomp.sources.source_size import SourceSize

_RUN_BELOW = 1 << 30  # bytes in fp32: larger models aren't run, since that takes several times as much memory


@dataclass(frozen=True)
class OnnxSource:
    """A parsed ONNX model, read from a file or exported from a program."""

    origin: OnnxFile

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the remarks from reading the model."""
        return self.origin.notes

    @cached_property
    def size(self) -> SourceSize:
        """Return the size of the model's files, and of its floating-point values in fp32."""
        fp32 = sum(4 * count(site.tensor) for site in self._sites if site.tensor.data_type in FLOATS)
        return SourceSize.of_onnx(self.origin, fp32)

    @property
    def large(self) -> bool:
        """Return whether the model takes 1 GiB or more in fp32; it isn't run then, and read tensor by tensor."""
        return self.size.fp32 >= _RUN_BELOW

    def effects(self, with_data: bool) -> Effects:
        """Return which settings have an effect: sharing and running; with data, also the metric and image settings."""
        program = PROGRAM if self.origin.kind in ("torchscript", "exported module") else ()
        used = (*SHARING, *RATE_AWARE, *RUNNING, *(("metric", "preprocess") if with_data else ()), *program)
        refused = "changes a PyTorch network's layers: it can't be applied to an ONNX model"
        return Effects(used, refused, "an ONNX model isn't trained: its weights are shared as they are")

    def weights(self) -> Sequence[Weight]:
        """Return all tensors that go into the container; tensors below 64 bytes and strings stay in the graph."""
        return self._weights

    def check(self, selection: Selection) -> None:
        """Accept any selection: `weights` has marked the tensors that can't be shared, each with the reason."""

    def vectors(self, precision: str) -> Mapping[str, str]:
        """Return the vectors that `precision` may hold: name -> description, as in "bias of Conv, a vector"."""
        return rounded_vectors(self.slots, self._roles, self._sites, precision, self._array)

    def graph(self) -> bytes:
        """Return the serialized model with references in place of its tensors; the source is not changed."""
        return self._graph

    @cached_property
    def _graph(self) -> bytes:
        model = ModelProto()
        model.CopyFrom(self.origin.model)
        for slot, twin in zip(self.slots, slots(list(sites(model))), strict=True):
            empty(Slot(twin.site, slot.name))
        graph: bytes = model.SerializeToString(deterministic=True)
        return graph

    def runs(self, given: Given | None, config: CompressConfig, note: Callable[[str], None]) -> OnnxRuns | None:
        """Run the original on the `given` data, else on generated inputs; return None, with a note, if that fails."""
        if self.large:
            note("1 GiB of weights or more: neither the original nor the decoded model is run here")
            return None
        known = reference_outputs(self.whole().SerializeToString(), self.origin.model, given, config, note)
        return None if known is None else OnnxRuns(self, known, note)

    def calibration(
        self, names: Sequence[str], config: CompressConfig, note: Callable[[str], None]
    ) -> OnnxCalibration | None:
        """Return the model with the inputs of --calibration, else generated ones; None, with a note, if that fails.

        Raises DataError where the data of --calibration doesn't fit the model.
        """
        if self.large:
            note("1 GiB of weights or more: the model isn't run, so weights are rounded without calibration")
            return None
        try:
            whole = self.whole()
            inputs = calibration_inputs(whole.SerializeToString(), whole, config)
        except (DataError, ExportError) as error:
            if config.calibration is not None and isinstance(error, DataError):
                raise
            note(f"weights are rounded without calibration: {error}")
            return None
        places = {name: self._by_name[name].site.value for name in names}
        return OnnxCalibration(self, places, inputs, config.seed, note)

    def digests(self) -> list[str]:
        """Return the SHA-256 of each file that holds external data."""
        return self.origin.external.digests()

    def metadata(self) -> dict[str, Any]:
        """Return the metadata entry which says that the container holds the original graph."""
        return {"graph": ORIGINAL}

    def remarks(self, selection: Selection) -> list[str]:
        """Return a remark that counts the tensors which stay in the graph; none if there are none."""
        inside = len(self._sites) - len(self.slots)
        return [f"{inside} tensors below 64 bytes, or of strings, stay unchanged in the graph"] if inside else []

    @cached_property
    def slots(self) -> list[Slot]:
        """Return the tensors that go into the container, each with its place in the model."""
        return slots(self._sites)

    def values(self, name: str) -> NDArray[Any]:
        """Return the original values of the container's tensor `name`, in their original dtype."""
        return self._array(self._by_name[name].site)

    def whole(self) -> ModelProto:
        """Return a copy of the original model that holds all its data, external data too."""
        return self.joined(self.values)

    def joined(self, values: Callable[[str], NDArray[Any]]) -> ModelProto:
        """Return a copy of the model with `values(name)` filled in for each of its tensors."""
        return join(self.graph(), values, str(self.origin.path))

    @cached_property
    def _weights(self) -> list[Weight]:
        return [weight_of(slot, use, self._array) for slot, use in zip(self.slots, self._roles, strict=True)]

    @cached_property
    def _sites(self) -> list[Site]:
        return list(sites(self.origin.model))

    @cached_property
    def _roles(self) -> Sequence[Sequence[Role]]:
        return roles(self.origin.model, [slot.site for slot in self.slots])

    @cached_property
    def _by_name(self) -> dict[str, Slot]:
        return {slot.name: slot for slot in self.slots}

    def _array(self, site: Site) -> NDArray[Any]:
        tensor = site.tensor
        return Slot(site, "").array(self.origin.external.read(tensor) if is_external(tensor) else None)


def read_onnx_tensor(path: Path, name: str) -> NDArray[Any]:
    """Return one tensor of an ONNX file by its name in a container; a worker parses the file once."""
    return _opened(path).values(name)


@lru_cache(maxsize=1)
def _opened(path: Path) -> OnnxSource:
    return OnnxSource(read_onnx(path))
