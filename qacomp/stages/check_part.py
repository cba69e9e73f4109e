"""Refuse --part, and note that --workers has no effect, for a source whose tensors depend on each other."""

from collections.abc import Callable

from qacomp.errors import ConfigError
from qacomp.options.config import CompressConfig
from qacomp.sources.torch_source import Source, TorchSource
from qacomp.stages.parts import SourcePart
from qacomp.workers.choice import ALONE, Workers


def check_part(source: Source, config: CompressConfig, part: SourcePart | None) -> None:
    """Raise ConfigError if a source can't be divided: tensors of a small one, or of a wanted size, need the others."""
    if part is None:
        return
    if isinstance(source, TorchSource) or not source.large:
        raise ConfigError(f"--part: {source.origin.path} is below 1 GiB, so it isn't divided; leave the option out")
    if config.target_size is not None:
        raise ConfigError("--part: the file's size follows from all tensors together; leave out --target-size")


def note_workers(source: Source, config: CompressConfig, workers: Workers, note: Callable[[str], None]) -> None:
    """Note why several workers have nothing to do, if that is so; nothing is noted for one."""
    if workers == ALONE:
        return
    if isinstance(source, TorchSource) or not source.large:
        note("--workers has no effect: below 1 GiB all tensors are chosen and measured together, by one process")
    elif config.target_size is not None:
        note("--workers has no effect: the steps that give --target-size follow from all tensors, in one process")
