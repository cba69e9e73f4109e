"""Bare tensors as a source: without a graph nothing can be run, so errors are measured on the weights themselves."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from qacomp.checkpoints import Checkpoint, check_finite, kept_note
from qacomp.evaluation.samples import Given
from qacomp.options.config import CompressConfig
from qacomp.sharing.selection import Selection, Weight
from qacomp.sources.source import RATE_AWARE, SHARING, Effects
from qacomp.sources.source_size import SourceSize
from qacomp.tensors.foreign_dtypes import META_KEY
from qacomp.tensors.half_precision import vectors_held
from qacomp.tensors.safetensors_metadata import META_KEY as SAFETENSORS_KEY
from qacomp.tensors.weight_parts import exact_parts


@dataclass(frozen=True)
class TensorSource:
    """A checkpoint without an architecture."""

    origin: Checkpoint

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the remarks from reading the checkpoint."""
        if self.origin.kind == "module":
            return self.origin.notes
        alone = "no architecture (--arch): only weights are compressed, no accuracy; decode writes a .safetensors file"
        return (*self.origin.notes, alone)

    @cached_property
    def size(self) -> SourceSize:
        """Return the size of the checkpoint's tensors."""
        return SourceSize.of_state(self.origin.state)

    @property
    def large(self) -> bool:
        """Return False: the tensors are in memory already."""
        return False

    def effects(self, with_data: bool) -> Effects:
        """Return that only the settings of sharing have an effect."""
        why = "no network to train: weights are shared without data"
        alone = () if self.origin.kind == "module" else ("arch",)  # none
        used = (*alone, *SHARING, *(name for name in RATE_AWARE if name not in ("calibration", "max_drop")))
        return Effects(used, "needs to know the layers: give --arch", why)

    def weights(self) -> Sequence[Weight]:
        """Return all tensors in the checkpoint's order."""
        return self._weights

    def check(self, selection: Selection) -> None:
        """Raise CheckpointError where a selected tensor holds NaN or infinity."""
        check_finite(self.origin.path, self.origin.state, [layer.name for layer in selection.layers])

    def vectors(self, precision: str) -> Mapping[str, str]:
        """Return the vectors that `precision` may hold: name -> description."""
        from qacomp.tensors.torch_format import to_array

        arrays = {name: to_array(tensor) for name, tensor in self.origin.state.items()}
        return {name: why for name, why in vectors_held(arrays, precision).items() if name not in self._parts}

    def graph(self) -> None:
        """Return None: bare tensors have no graph."""
        return None

    def runs(self, given: Given | None, config: CompressConfig, note: Callable[[str], None]) -> None:
        """Return None: tensors without a graph can't be run."""
        return None

    def calibration(self, names: Sequence[str], config: CompressConfig, note: Callable[[str], None]) -> None:
        """Return None: tensors without a graph can't be run."""
        return None

    def digests(self) -> list[str]:
        """Return an empty list: the digests of shards are recorded with the checkpoint itself."""
        return []

    def metadata(self) -> dict[str, Any]:
        """Return the dtypes that the container's header lacks, and the metadata of a safetensors file."""
        from qacomp.tensors.torch_format import foreign_dtypes

        meta: dict[str, Any] = {}
        if types := foreign_dtypes(self.origin.state):
            meta[META_KEY] = types
        if self.origin.metadata:
            meta[SAFETENSORS_KEY] = dict(self.origin.metadata)
        return meta

    def remarks(self, selection: Selection) -> list[str]:
        """Return remarks on tensors that are stored exactly: those of other dtypes, masks and scales of weights."""
        said = list(kept_note(self.origin.state))
        if self._parts:
            few = _few(self._parts)
            said.append(f"{len(self._parts)} parts of weights ({few}): kept exactly; the tensors they scale are shared")
        return said

    @cached_property
    def _weights(self) -> list[Weight]:
        from qacomp.sources.torch_weights import tensor_weights

        return tensor_weights(self.origin.state)

    @cached_property
    def _parts(self) -> dict[str, str]:
        return exact_parts(self.origin.state)


def _few(names: Collection[str]) -> str:
    return ", ".join(name[:80] for name in list(names)[:3]) + (", ..." if len(names) > 3 else "")
