"""CIFAR-100's published files, Python or binary version, with the fine labels."""

from qacomp.datasets._cifar import read_binary, read_pickled
from qacomp.datasets._files import find_file, find_folder
from qacomp.datasets.registry import register_dataset
from qacomp.datasets.split import Source, Split


@register_dataset("cifar100", argument="DIR", files="**/t[re][as]*")
def load_cifar100(argument: str) -> Source:
    """Read CIFAR-100's published files, Python or binary version (their folder, or the one above it), fine labels."""
    folder = find_folder("cifar100", argument, ("", "cifar-100-python", "cifar-100-binary"), "train*")

    def part(stem: str) -> Split:
        path = find_file("cifar100", folder, [stem, f"{stem}.bin"])
        if path.suffix == ".bin":
            return read_binary(path, label_bytes=2)  # coarse, fine
        return read_pickled(path, b"fine_labels")

    return Source(train=part("train"), test=part("test"), num_classes=100)
