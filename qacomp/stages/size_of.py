"""Measure how many bytes a container would take, by writing it to a temporary folder."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from qacomp.exporting.operating_points import prefix_bytes
from qacomp.formats import Coding, Writer, open_file
from qacomp.options.config import CompressConfig
from qacomp.sharing.share import Packed
from qacomp.sources.provenance import provenance
from qacomp.sources.torch_source import Source
from qacomp.stages.made import Made


def whole_bytes(made: Made, source: Source, config: CompressConfig) -> int:
    """Return the bytes of the container that `write` would write for `made`."""
    return level_bytes(made, source, config)[-1]


def level_bytes(made: Made, source: Source, config: CompressConfig) -> tuple[int, ...]:
    """Return the bytes from the start of that container to the end of each level, the coarsest first."""
    meta = provenance(source.origin, config, source.size, source.digests()) | made.of_base | dict(made.meta)
    with tempfile.TemporaryDirectory(prefix="qacomp-") as folder:
        path = Path(folder) / "whole.qac"
        with Writer(path, graph=made.graph, meta=meta, coding=Coding(config.codecs), durable=False) as writer:
            for name, item in made.tensors:
                if name in made.cuts:
                    writer.cut()
                assert isinstance(item, Packed)  # nothing is searched for a large source
                writer.add(name, item.value, item.precision)
        with open_file(path) as container:
            return tuple(prefix_bytes(container, level) for level in range(container.levels))


def tensor_bytes(items: Mapping[str, Packed], config: CompressConfig) -> int:
    """Return the bytes of a container that holds only these tensors."""
    with tempfile.TemporaryDirectory(prefix="qacomp-") as folder:
        writer = Writer(Path(folder) / "tensors.qac", coding=Coding(config.codecs), durable=False)
        with writer:
            for name, item in items.items():
                writer.add(name, item.value, item.precision)
    assert writer.report is not None
    return writer.report.container_bytes
