"""What looks at a network after each epoch of fine-tuning: histograms of its weights, and checkpoints if asked for."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from qacomp.checkpoints import write_checkpoint
from qacomp.outputs import make_folder
from qacomp.sources.network import Network
from qacomp.training.history import Watcher, WeightHistory


def watcher(weights: WeightHistory, epochs: int, network: Network, data: str | None, folder: Path | None) -> Watcher:
    """Takes histograms into `weights`, and writes checkpoints into `folder`, which is made; None: writes none.

    data: the spec that the checkpoints name. Raises OutputNotWritableError.
    """

    def write(path: Path, state: Mapping[str, Tensor]) -> None:
        write_checkpoint(
            path,
            state,
            arch=network.arch,
            num_classes=network.num_classes,
            preprocessing=network.preprocessing,
            data=data,
        )

    if folder is not None:
        make_folder(folder)
    return Watcher(weights, epochs, folder, write)
