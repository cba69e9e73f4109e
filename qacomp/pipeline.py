"""Run the stages of a compression, each in one line: resolve settings, select weights, train or share, write, measure.

Each stage is a file of `qacomp.stages`. A source is a PyTorch network, which can be trained, an ONNX model, or tensors
without a network (`qacomp.sources`). A stage returns a value and the next stage gets it. Only the network's module is
changed in place, by training and sharing.
"""

import functools

from qacomp.batches.examples import Examples
from qacomp.evaluation.samples import Given
from qacomp.options.config import CompressConfig
from qacomp.result import Result
from qacomp.sources.torch_source import Source, TorchSource
from qacomp.stages.check_part import check_part, note_workers
from qacomp.stages.made import Made
from qacomp.stages.near_a_base import near_a_base
from qacomp.stages.resolve import resolve
from qacomp.stages.resumable import resumable
from qacomp.stages.run import Run
from qacomp.stages.select import select_weights
from qacomp.stages.share import share
from qacomp.stages.summarize import figures
from qacomp.stages.write import write


def compress(source: Source, config: CompressConfig, data: Examples | Given | None, run: Run) -> Result:
    """Compress `source` into the container `run.output`, and measure what a reader decodes from it.

    config: see CompressConfig. data: for a network, the data for training and measuring; for an ONNX model, the samples
    to run it on; without data nothing is trained or measured, and a note says so. Raises the named errors of
    `qacomp.errors`; the output is written whole or not at all. Each of several processes returns the first one's
    result.
    """
    for remark in source.notes:
        run.note(remark)
    config = run.ranks.from_first(functools.partial(resolve, config, source, data, run.note))
    if run.own.loss_fn is not None and not (isinstance(source, TorchSource) and isinstance(data, Examples)):
        run.note("--loss-fn: has no effect, since nothing is trained")
    check_part(source, config, run.part)
    note_workers(source, config, run.workers, run.note)
    selection = select_weights(source, config, run.note)
    selection = near_a_base(source, selection, config, run)
    made: Made | None = None
    with resumable(source, config, data, run):
        if isinstance(source, TorchSource):
            from qacomp.stages.train import train

            made = train(source, selection, config, data if isinstance(data, Examples) else None, run)
        elif run.ranks.first:
            run.note_alone("only networks of PyTorch are trained")
            made = share(source, selection, config, None if isinstance(data, Examples) else data, run)
        return run.ranks.from_first(lambda: _finished(made, source, config, run))


def _finished(made: Made | None, source: Source, config: CompressConfig, run: Run) -> Result:
    assert made is not None  # in the first process
    return Result.of(figures(source, config, made, write(made, source, config, run), run))
