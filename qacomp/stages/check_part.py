"""Refuse --part for a source whose tensors depend on each other."""

from qacomp.errors import ConfigError
from qacomp.options.config import CompressConfig
from qacomp.sources.torch_source import Source, TorchSource
from qacomp.stages.parts import SourcePart


def check_part(source: Source, config: CompressConfig, part: SourcePart | None) -> None:
    """Raise ConfigError if a source can't be divided: tensors of a small one, or of a wanted size, need the others."""
    if part is None:
        return
    if isinstance(source, TorchSource) or not source.large:
        raise ConfigError(f"--part: {source.origin.path} is below 1 GiB, so it isn't divided; leave the option out")
    if config.target_size is not None:
        raise ConfigError("--part: the file's size follows from all tensors together; leave out --target-size")
