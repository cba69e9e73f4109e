"""Write the container, and check that a reader gets what was written."""

from dataclasses import dataclass

from qacomp.formats import Coding, ShardWriter, Writer, WriteReport, open_file
from qacomp.options.config import CompressConfig
from qacomp.sharing.selection import Selection
from qacomp.sources.provenance import provenance
from qacomp.sources.torch_source import Source, TorchSource
from qacomp.stages.made import Made, Measurements
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
    meta = provenance(source.origin, config, source.size, source.digests()) | dict(made.meta)
    total = len(source.weights()) if not isinstance(source, TorchSource) and source.large else 0
    coding = Coding(config.codecs)
    writer: Writer | ShardWriter
    if run.shard_bytes is None:
        writer = Writer(run.output, graph=made.graph, meta=meta, coding=coding)
    else:
        writer = ShardWriter(run.output, run.shard_bytes, graph=made.graph, meta=meta, coding=coding)
    with run.stage("encode"), writer, run.progress.task("tensors", total) as task:
        for name, item in made.tensors:
            if name in made.cuts:
                writer.cut()
            writer.add(name, item.value, item.precision)
            task.advance()
    assert writer.report is not None
    with run.stage("decode"), open_file(run.output) as container:
        measured, selection = made.finish(container)
    return Written(writer.report, measured, selection)
