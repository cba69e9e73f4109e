"""A folder of a model as a source: its tensors are read one at a time, so it may be larger than memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qacomp.checkpoints import Checkpoint
from qacomp.errors import ConfigError, NonFiniteWeightsError
from qacomp.evaluation.samples import Given
from qacomp.folders.layout import FILES
from qacomp.folders.layout import META_KEY as FOLDER_KEY
from qacomp.folders.listing import list_folder
from qacomp.folders.model_folder import ModelFolder, read_folder
from qacomp.folders.weights_file import Place
from qacomp.formats import BFLOAT16, bfloat16_to_float32
from qacomp.options.config import CompressConfig
from qacomp.progress import Progress, SilentProgress
from qacomp.sharing.selection import Selection, Weight
from qacomp.sources.looking import Looked, look_at
from qacomp.sources.source import RATE_AWARE, SHARING, Effects
from qacomp.sources.source_size import SourceSize
from qacomp.tensors.foreign_dtypes import META_KEY
from qacomp.tensors.half_precision import vectors_held
from qacomp.tensors.name_roles import POSITIONS, role_of
from qacomp.tensors.weight_parts import exact_parts, may_be_part

if (
    TYPE_CHECKING
):  # imported where a model is run on texts: without texts a folder needs no torch, see docs/architecture.md
    import torch

    from qacomp.calibration.block_calibration import BlockCalibration
    from qacomp.calibration.block_model import BlockModel
    from qacomp.calibration.whole_transformer import WholeTransformer
    from qacomp.sources.folder_runs import FolderRuns

_LARGE = 1 << 30  # bytes in fp32, as for ONNX models: from here on tensors are shared while they are written
_KEPT = "kept exactly"


def open_folder(path: Path, data: Any, config: CompressConfig, progress: Progress) -> "FolderSource":
    """Read a folder without the values of its tensors. data: what the settings or the caller give to measure on.

    Raises NotACheckpointError (see `read_folder`), and ConfigError for settings that need a network.
    """
    for flag, value in (("--key", config.key), ("--arch", config.arch)):
        if value is not None:
            raise ConfigError(
                f"{flag}: {path} is a folder, of which only weights are compressed; give a checkpoint file in it"
            )
    if data is not None and not (isinstance(data, str) and ":" in data):
        raise ConfigError(
            f"--data: {path} is a folder, whose model is measured on texts alone; give text:FILE, npz:FILE with "
            "input_ids, or module:function"
        )
    size = sum((path / name).stat().st_size for name in list_folder(path).paths)
    with progress.task("reading the folder", size) as task:
        return FolderSource(read_folder(path, task.advance), progress)


@dataclass(frozen=True)
class FolderSource:
    """A folder that was read without its values. progress: shows the reading of the tensors."""

    folder: ModelFolder
    progress: Progress = field(default_factory=SilentProgress)

    @cached_property
    def origin(self) -> Checkpoint:
        """Return the record of the folder, without tensors."""
        f = self.folder
        return Checkpoint(f.path, "folder", {}, None, None, None, None, f.digest, f.bytes, f.notes)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the remarks from reading the folder."""
        return (
            *self.folder.notes,
            "a folder: its weights are compressed, not trained; decode -o FOLDER gives it back",
        )

    @cached_property
    def size(self) -> SourceSize:
        """Return the size of all tensors; those of other files don't count."""
        places = self._places.values()
        fp32 = sum(4 * (p.end - p.start) // p.dtype.itemsize for p in places if p.floating)
        return SourceSize(sum(place.end - place.start for place in places), fp32)

    @property
    def large(self) -> bool:
        """Return whether the tensors take 1 GiB or more in fp32."""
        return self.size.fp32 >= _LARGE

    def effects(self, with_data: bool) -> Effects:
        """Return that only the settings of sharing have an effect."""
        used = (*SHARING, *(name for name in RATE_AWARE if name != "max_drop"))
        used = (*used, "metric") if with_data else used
        return Effects(used, "needs to know the layers: give a checkpoint file and --arch", "a folder isn't trained")

    def weights(self) -> Sequence[Weight]:
        """Return all tensors in the order of the files, then the other files as bytes."""
        return self._weights

    def check(self, selection: Selection) -> None:
        """Raise NonFiniteWeightsError where a selected tensor holds NaN or infinity."""
        for layer in selection.layers:
            if bad := self._seen[layer.name].not_finite:
                raise NonFiniteWeightsError(
                    f"{self.folder.path}: tensor {layer.name[:80]} has {bad} values NaN or infinite, so it can't be "
                    f"shared; take a checkpoint from before training diverged, or --exclude {layer.name[:80]}"
                )

    def vectors(self, precision: str) -> Mapping[str, str]:
        """Return the vectors that `precision` may hold: name -> description."""
        found = vectors_held(_Vectors(self.folder, self._places), precision)
        return {name: why for name, why in found.items() if name not in self._parts}

    def graph(self) -> None:
        """Return None: a folder has no graph."""
        return None

    def runs(self, given: Given | None, config: CompressConfig, note: Callable[[str], None]) -> "FolderRuns | None":
        """Return the model that config.json describes, to run on the texts of --data, else on some of --calibration.

        None without texts. Raises as `calibration` does, and ConfigError for a metric that texts don't give.
        """
        spec = given if isinstance(given, str) else config.calibration
        if spec is None or self.large:
            return None
        from qacomp.calibration.texts import text_inputs
        from qacomp.sources.folder_runs import SIMILARITY, FolderRuns, metric_of_folder

        model, path = self._model, self.folder.path
        inputs = text_inputs(spec, path, model, config.seed)
        feeds = inputs.others if given is None else (*inputs.of_moments, *inputs.others)
        metric = None if inputs.words else metric_of_folder(config.metric, model.made.decodes, path)
        told = f"{sum(len(f['input_ids']) for f in feeds)} texts of {'words drawn at random' if inputs.words else spec}"
        found = FolderRuns(model, feeds, told, metric, config.seed)
        if config.metric == SIMILARITY and not found.gives_vectors:
            raise ConfigError(f"--metric {SIMILARITY}: the model of {path} gives no vectors of texts; leave it out")
        return found

    def calibration(
        self, names: Sequence[str], config: CompressConfig, note: Callable[[str], None]
    ) -> "BlockCalibration | None":
        """Return the model that config.json describes, with the texts of --calibration; None without them.

        Raises DataError for texts that don't fit, and NotACheckpointError for a model that can't be run block by block.
        """
        if config.calibration is None:
            return None
        from qacomp.calibration.block_calibration import BlockCalibration
        from qacomp.calibration.texts import text_inputs

        inputs = text_inputs(config.calibration, self.folder.path, self._model, config.seed)
        if (way := self._model.made.pooling) is not None:
            note(f"vectors of texts ({way} of the tokens, as 1_Pooling says) count most among the model's outputs")
        return BlockCalibration(self._model, inputs, config.seed, note, self._whole_model)

    def digests(self) -> list[str]:
        """Return an empty list: the digests of all files are in `metadata`."""
        return []

    def metadata(self) -> dict[str, Any]:
        """Return how the container holds the folder, and the types that the container's header lacks."""
        types = {name: place.foreign for name, place in self._places.items() if place.foreign is not None}
        return {FOLDER_KEY: self.folder.layout().to_meta(), **({META_KEY: types} if types else {})}

    def remarks(self, selection: Selection) -> list[str]:
        """Return remarks on tensors that are stored exactly: those of other types, and those with NaN."""
        kinds: dict[str, list[str]] = {}
        for name, place in self._places.items():
            if place.foreign is not None:
                kinds.setdefault(place.foreign, []).append(name)
            elif name in self._seen and self._seen[name].not_finite:
                kinds.setdefault("NaN or infinity", []).append(name)
        if self._parts:
            kinds["parts of weights"] = list(self._parts)
        return [f"{_KEPT}, {kind}: {_few(names)}" for kind, names in kinds.items()]

    @cached_property
    def _model(self) -> "BlockModel":
        from qacomp.calibration.block_model import BlockModel
        from qacomp.calibration.transformer import transformer_of

        made = transformer_of(self.folder.path, len(self._places))
        return BlockModel(made, self.folder.read, list(self._places))

    def _whole_model(self) -> "WholeTransformer":
        from qacomp.calibration.transformer import transformer_of
        from qacomp.calibration.whole_transformer import WholeTransformer

        return WholeTransformer(
            transformer_of(self.folder.path, len(self._places)), self.folder.read, list(self._places)
        )

    @cached_property
    def _places(self) -> dict[str, Place]:
        return {name: file.tensors[own] for name, (file, own) in self.folder.tensors.items()}

    @cached_property
    def _weights(self) -> list[Weight]:
        found = [self._weight(name, place) for name, place in self._places.items()]
        for path, size in self.folder.listing.carried.items():
            name = f"{FILES}{path}"
            found.append(Weight(name, (size,), partial(self.folder.read, name), "file", never="a file, not a tensor"))
        return found

    def _weight(self, name: str, place: Place) -> Weight:
        never = self._parts.get(name) or _reason(place)
        what = role_of(name) or f"{len(place.sizes)}-dimensional tensor"
        found = self._seen[name].constant if never is None else None
        unless = found and f"{what}, {found}, not a weight: {_KEPT} unless --include names it"
        kind = "dense" if len(place.sizes) == 2 else "conv"
        learned = (
            found is not None and role_of(name) == POSITIONS and len(place.sizes) == 2 and self._seen[name].by_name
        )
        return Weight(name, place.sizes, self._reader(name), what, kind, 0, never, unless, learned)

    def _reader(self, name: str) -> Callable[[], NDArray[Any]]:
        """Return what reads a tensor and holds nothing but its place, so that it can be sent to another process."""
        file, own = self.folder.tensors[name]
        return partial(replace(file, tensors={own: file.tensors[own]}, metadata={}).read, own)

    @cached_property
    def _seen(self) -> dict[str, Looked]:
        """Look at the values of every tensor that may be shared, one after the other."""
        wanted = {name: place for name, place in self._places.items() if _reason(place) is None}
        seen = {}
        with self.progress.task("looking at tensors", sum(p.end - p.start for p in wanted.values())) as task:
            for name, place in wanted.items():
                seen[name] = look_at(name, self.folder.read(name))
                task.advance(place.end - place.start)
        return seen

    @cached_property
    def _parts(self) -> dict[str, str]:
        return exact_parts(_parts_state(self.folder, self._places)) if any(map(may_be_part, self._places)) else {}


def _reason(place: Place) -> str | None:
    """Return why a tensor can't be shared under any settings, or None."""
    if not place.floating:
        return f"{place.foreign or place.dtype.name}: {_KEPT}"
    if len(place.sizes) < 2:
        return f"fewer than two dimensions: {_KEPT}"
    return None if place.end > place.start else "empty"


class _Vectors(Mapping[str, NDArray[Any]]):
    """The tensors of a folder for `vectors_held`, which goes through the float32 vectors and looks others up."""

    def __init__(self, folder: ModelFolder, places: Mapping[str, Place]) -> None:
        self._folder, self._places = folder, places
        self._vectors = [n for n, p in places.items() if p.floating and p.dtype == np.float32 and len(p.sizes) == 1]

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Read a tensor; raises KeyError."""
        _ = self._places[name]
        return self._folder.read(name)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the float32 vectors."""
        return iter(self._vectors)

    def __len__(self) -> int:
        """Return the number of the float32 vectors."""
        return len(self._vectors)


def _parts_state(folder: ModelFolder, places: Mapping[str, Place]) -> "dict[str, torch.Tensor]":
    """Return tensors for `exact_parts`: with values if their names are those of masks, else shapes alone."""
    import torch

    state = {}
    for name, place in places.items():
        if not place.floating:
            continue
        if name.endswith("_mask") and f"{name.removesuffix('_mask')}_orig" in places:
            array = folder.read(name)
            state[name] = torch.from_numpy(bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array)
        else:
            state[name] = torch.empty(place.sizes, device="meta")
    return state


def _few(names: Sequence[str]) -> str:
    return ", ".join(name[:80] for name in names[:4]) + (", ..." if len(names) > 4 else "")
