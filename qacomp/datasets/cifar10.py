"""CIFAR-10's published batches, Python or binary version."""

import numpy as np

from qacomp.datasets._cifar import read_binary, read_pickled
from qacomp.datasets._files import find_file, find_folder
from qacomp.datasets.registry import register_dataset
from qacomp.datasets.split import Source, Split


@register_dataset("cifar10", argument="DIR", files="**/*_batch*")
def load_cifar10(argument: str) -> Source:
    """Read CIFAR-10's published batches, Python or binary version (their folder, or the one above it)."""
    below = ("", "cifar-10-batches-py", "cifar-10-batches-bin")
    folder = find_folder("cifar10", argument, below, "*_batch*")

    def part(stem: str) -> Split:
        path = find_file("cifar10", folder, [stem, f"{stem}.bin"])
        if path.suffix == ".bin":
            return read_binary(path, label_bytes=1)
        return read_pickled(path, b"labels")

    batches = [part(f"data_batch_{number}") for number in range(1, 6)]
    train = Split(np.concatenate([batch.x for batch in batches]), np.concatenate([batch.y for batch in batches]))
    return Source(train=train, test=part("test_batch"), num_classes=10)
