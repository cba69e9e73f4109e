"""Find the tensors and the configuration of one network in a container, for loading it into a module."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qacomp.errors import ConfigError, FormatError
from qacomp.exporting.operating_points import names_at
from qacomp.exporting.part import Part, level_of
from qacomp.exporting.safetensors_file import container_types, neutral_statistics, stored_shape
from qacomp.folders.layout import file_tensors, held_layout, weight_names
from qacomp.formats import BFLOAT16, Container
from qacomp.formats.metadata import read_metadata
from qacomp.tensors.foreign_dtypes import Meant, type_name
from qacomp.tensors.torch_format import to_tensor
from qacomp.torch.on_device import decode_on

CONFIG = "config.json"


@dataclass(frozen=True)
class NetworkContents:
    """The tensors of one network, by state-dict name. names: name -> name in the container; level: None for the finest.

    types: types that the container lacks, by names in it; added: tensors that follow from others.
    """

    container: Container
    names: Mapping[str, str]
    level: int | None
    types: Mapping[str, Meant]
    added: Mapping[str, Tensor]

    def described(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Return dtype and shape of each tensor; nothing is decoded."""
        found = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in self.added.items()}
        for name, place in self.names.items():
            shape = stored_shape(self.container, place)
            if place not in self.types:
                word = "bfloat16" if shape.dtype == BFLOAT16 else shape.dtype.name
                found[name] = getattr(torch, word), shape.sizes
                continue
            word = type_name(self.types[place])
            pairs = word.startswith("complex")  # stored as two floats along one more axis
            found[name] = getattr(torch, word), shape.sizes[:-1] if pairs else shape.sizes
        return found

    def read(self, name: str) -> Tensor:
        """Decode one tensor with numpy. Raises FormatError."""
        if name in self.added:
            return self.added[name]
        place = self.names[name]
        return to_tensor(self.container.tensor(place, level=self.level), self.types.get(place))

    def read_on(self, name: str, device: torch.device) -> tuple[Tensor, bool]:
        """Decode one tensor on a device as far as its codecs allow; also return whether numpy decoded indices.

        Raises FormatError.
        """
        place = self.names.get(name)
        if place is not None and place not in self.types:
            found = decode_on(self.container, place, self.level, device)
            if found is not None:
                return found[0], not found[1]
        shared = place is not None and self.container.info(place).k is not None
        return self.read(name).to(device), shared


def network_contents(container: Container, part: Part, subfolder: str) -> NetworkContents:
    """Return the tensors of the network, or those of the .safetensors files in one subfolder of a folder.

    Raises ConfigError for a part or a subfolder that doesn't exist, FormatError for a damaged container.
    """
    level, layout = level_of(container, part), held_layout(container)
    if part.submodel is not None and level is None:
        raise ConfigError(f"submodel = {part.submodel!r}: has no state dict of its own")
    added: dict[str, Tensor] = {}
    if layout is None:
        names = names_at(container, level)
        added = {name: to_tensor(array) for name, array in neutral_statistics(container, level).items()}
    else:
        names = {}
        for path, own in weight_names(container, layout).items():
            if path.rpartition("/")[0] == subfolder.strip("/"):
                names |= {name: place for name, place in own.items() if name not in names}
    if not names:
        known = sorted({held.file.rpartition("/")[0] for held in layout.weights}) if layout else []
        raise ConfigError(
            f"{container.source}: has no weights in the subfolder {subfolder!r}; give one of "
            f"{', '.join(repr(name) for name in known[:8]) or 'none'}"
        )
    return NetworkContents(container, names, level, container_types(container), added)


def carried_config(container: Container, subfolder: str) -> dict[str, Any]:
    """Return the configuration that a container of a folder carries, as JSON. Raises ConfigError if it carries none."""
    path = f"{subfolder.strip('/')}/{CONFIG}".lstrip("/")
    name = file_tensors(container).get(path)
    if name is None:
        raise ConfigError(f"{container.source}: carries no {path}; give the configuration: config={{...}}")
    try:
        return read_metadata(container.tensor(name).tobytes())
    except FormatError as error:
        raise ConfigError(f"{container.source}: its {path} isn't a JSON object; give config={{...}}") from error
