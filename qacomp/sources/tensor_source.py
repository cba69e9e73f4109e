"""Bare tensors as a source: no graph, so they can't be run, and their errors are the weights' own."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from qacomp.checkpoints import Checkpoint, check_finite, kept_note
from qacomp.evaluation.samples import Given
from qacomp.options.config import CompressConfig
from qacomp.sharing.selection import Selection, Weight
from qacomp.sources.source import SHARING, Effects
from qacomp.sources.source_size import SourceSize
from qacomp.sources.torch_weights import tensor_weights
from qacomp.tensors.foreign_dtypes import META_KEY
from qacomp.tensors.half_precision import vectors_held
from qacomp.tensors.safetensors_metadata import META_KEY as SAFETENSORS_KEY
from qacomp.tensors.torch_format import foreign_dtypes, to_array
from qacomp.tensors.weight_parts import exact_parts


@dataclass(frozen=True)
class TensorSource:
    """A checkpoint without an architecture."""

    origin: Checkpoint

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what reading it left to say."""
        if self.origin.kind == "module":
            return self.origin.notes
        alone = "no architecture (--arch): weights only, no accuracy; decode gives a .safetensors file"
        return (*self.origin.notes, alone)

    @cached_property
    def size(self) -> SourceSize:
        """Return how large its tensors are."""
        return SourceSize.of_state(self.origin.state)

    @property
    def large(self) -> bool:
        """Return False: the tensors are in memory already."""
        return False

    def effects(self, with_data: bool) -> Effects:
        """Return which settings change something: those of sharing."""
        why = "no network to train: weights are shared by k-means alone"
        return Effects(SHARING, "needs to know the layers: give --arch", why)

    def weights(self) -> Sequence[Weight]:
        """Return all tensors in the checkpoint's order."""
        return self._weights

    def check(self, selection: Selection) -> None:
        """Raise CheckpointError where a selected tensor holds NaN or infinity."""
        check_finite(self.origin.path, self.origin.state, [layer.name for layer in selection.layers])

    def vectors(self, precision: str) -> Mapping[str, str]:
        """Return the names of vectors that may be stored in that precision, each with what it is."""
        arrays = {name: to_array(tensor) for name, tensor in self.origin.state.items()}
        return {name: why for name, why in vectors_held(arrays, precision).items() if name not in self._parts}

    def graph(self) -> None:
        """Return None: nothing is known of how the tensors are used."""
        return None

    def runs(self, given: Given | None, config: CompressConfig, note: Callable[[str], None]) -> None:
        """Return None: tensors alone can't be run."""
        return None

    def digests(self) -> list[str]:
        """Return none: shards are the checkpoint's own parts."""
        return []

    def metadata(self) -> dict[str, Any]:
        """Return what the container's own fields can't say of the tensors."""
        meta: dict[str, Any] = {}
        if types := foreign_dtypes(self.origin.state):
            meta[META_KEY] = types
        if self.origin.metadata:
            meta[SAFETENSORS_KEY] = dict(self.origin.metadata)
        return meta

    def remarks(self, selection: Selection) -> list[str]:
        """Return what the user should hear of the tensors."""
        said = list(kept_note(self.origin.state))
        if self._parts:
            few = _few(self._parts)
            said.append(f"{len(self._parts)} parts of weights ({few}): kept exactly, what they multiply is shared")
        return said

    @cached_property
    def _weights(self) -> list[Weight]:
        return tensor_weights(self.origin.state)

    @cached_property
    def _parts(self) -> dict[str, str]:
        return exact_parts(self.origin.state)


def _few(names: Collection[str]) -> str:
    return ", ".join(name[:80] for name in list(names)[:3]) + (", ..." if len(names) > 3 else "")
