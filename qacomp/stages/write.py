"""Write the container, and check that a reader gets what was written."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from qacomp.formats import Coding, HeldTensor, ShardWriter, Writer, WriteReport, open_file
from qacomp.options.config import CompressConfig
from qacomp.options.needs import trellis
from qacomp.sharing.base import is_on_trellis
from qacomp.sharing.selection import Selection
from qacomp.sources.provenance import provenance
from qacomp.sources.torch_source import Source
from qacomp.stages.made import Made, Measurements
from qacomp.stages.piece_files import add_details
from qacomp.stages.run import Run


@dataclass(frozen=True)
class Written:
    """A container that was written: the bytes of each part, all measurements, and the selection of shared tensors."""

    report: WriteReport
    measured: Measurements
    selection: Selection


def write(made: Made, source: Source, config: CompressConfig, run: Run) -> Written:
    """Write the container `run.output`, whole or not at all, and read it back.

    Raises OutputNotWritableError, and ExportError if a reader doesn't get what was written.
    """
    meta = provenance(source.origin, config, source.size, source.digests()) | made.of_base | dict(made.meta)
    if run.part is not None:
        assert run.pieces is not None  # `check_part` made sure that the source is large
        meta = run.part.meta(run.pieces.run, meta)
    coding = Coding(config.codecs)
    writer: Writer | ShardWriter
    if run.shard_bytes is None:
        writer = Writer(run.output, graph=made.graph, meta=meta, coding=coding)
    else:
        writer = ShardWriter(run.output, run.shard_bytes, graph=made.graph, meta=meta, coding=coding)
    found: dict[str, Any] = {}
    with run.stage("encode"), writer, _closing(made.tensors):
        for name, item in made.tensors:
            if name in made.cuts:
                writer.cut()
            if isinstance(item, HeldTensor):
                writer.adopt(item)
                found[name] = item.told
            else:
                writer.add(name, item.value, item.precision)
        if run.part is not None and isinstance(writer, Writer):
            add_details(writer, {name: {**found[name], **told} for name, told in writer.details().items()})
    assert writer.report is not None
    with run.stage("decode"), open_file(run.output) as container:
        container.read_ahead()
        measured, selection = made.finish(container)
        if (asked := trellis(config)) != "false":
            on = {layer.name: is_on_trellis(container, layer.name) for layer in selection.layers}
            if asked == "true" or any(on.values()):  # else a note has told why there is none
                run.note(_on_trellises(on))
    return Written(writer.report, measured, selection)


def _on_trellises(on: Mapping[str, bool]) -> str:
    """Return how many of the shared tensors, by name, follow a trellis in the file, and which don't."""
    others = [name[:80] for name, follows in on.items() if not follows]
    told = f"--sharing rate:trellis: {len(on) - len(others)} of {len(on)} shared tensors are on a trellis"
    few = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
    return f"{told}; on uniform grids, where it isn't tried, doesn't fit or takes more bytes: {few}" if others else told


@contextmanager
def _closing(tensors: Any) -> Iterator[None]:
    """End the work behind a generator of tensors with the block, also if the block fails between two of them."""
    try:
        yield
    finally:
        if (close := getattr(tensors, "close", None)) is not None:
            close()
