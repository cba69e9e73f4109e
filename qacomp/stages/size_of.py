"""Measure how many bytes a container would take, by writing it to a temporary folder."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from qacomp.formats import Coding, Writer
from qacomp.options.config import CompressConfig
from qacomp.sharing.share import Packed
from qacomp.sources.provenance import provenance
from qacomp.sources.torch_source import Source
from qacomp.stages.made import Made


def whole_bytes(made: Made, source: Source, config: CompressConfig) -> int:
    """Return the bytes of the container that `write` would write for `made`."""
    meta = provenance(source.origin, config, source.size, source.digests()) | dict(made.meta)
    with tempfile.TemporaryDirectory(prefix="qacomp-") as folder:
        writer = Writer(Path(folder) / "whole.qac", graph=made.graph, meta=meta, coding=Coding(config.codecs))
        with writer:
            for name, item in made.tensors:
                if name in made.cuts:
                    writer.cut()
                writer.add(name, item.value, item.precision)
    assert writer.report is not None
    return writer.report.container_bytes


def tensor_bytes(items: Mapping[str, Packed], config: CompressConfig) -> int:
    """Return the bytes of a container that holds only these tensors."""
    with tempfile.TemporaryDirectory(prefix="qacomp-") as folder:
        writer = Writer(Path(folder) / "tensors.qac", coding=Coding(config.codecs))
        with writer:
            for name, item in items.items():
                writer.add(name, item.value, item.precision)
    assert writer.report is not None
    return writer.report.container_bytes
