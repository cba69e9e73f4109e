"""Make a run resumable: a journal beside its output, for one input with one set of settings, data and versions."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from qacomp.batches.examples import Examples
from qacomp.errors import OutputNotWritableError, RanksError, WorkerError
from qacomp.options.config import CompressConfig
from qacomp.options.needs import rate_aware
from qacomp.outputs import journal_path
from qacomp.sources.torch_source import Source, TorchSource
from qacomp.stages.journal import Journal
from qacomp.stages.piece_folder import PieceFolder
from qacomp.stages.run import Run
from qacomp.version import VERSION

_LIBRARIES = ("numpy", "torch", "onnxruntime")  # whose results may differ by version


@contextmanager
def resumable(source: Source, config: CompressConfig, data: Any, run: Run) -> Iterator[None]:
    """Give the run a journal while the block searches by rate; a note says what an interrupted run left.

    After the block, and after an error, which would come again, the file is removed. Ctrl-C, and the failure of another
    process, leave it. Of several processes the first one searches.

    A large source gets a folder for its finished tensors instead, which a full disk or a lost worker leaves too.
    """
    if run.ranks.first and not isinstance(source, TorchSource) and source.large:
        run.keep_pieces_in(PieceFolder(run.output, fingerprint(source, config, data, run)))
    if run.ranks.first and rate_aware(config) and (isinstance(source, TorchSource) or not source.large):
        run.keep_in(Journal(journal_path(run.output), fingerprint(source, config, data, run), run.note))
        if run.journal.kept:
            run.note(f"an interrupted run goes on: {run.journal.kept} of its measurements are kept")
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, RanksError):
            run.journal.finish()
            if run.pieces is not None and not isinstance(error, WorkerError | OutputNotWritableError):
                run.pieces.remove()
        else:
            run.journal.flush()
        raise
    run.journal.finish()
    if run.pieces is not None:
        run.pieces.remove()


def fingerprint(source: Source, config: CompressConfig, data: Any, run: Run) -> str:
    """Return what results depend on as text; of an ONNX model's data and of inputs the keys of values have digests."""
    parts = [source.origin.digest, *source.digests(), config.to_toml(), VERSION, *map(version, _LIBRARIES)]
    if isinstance(data, Examples):
        parts += [data.spec, data.digest()]
    return "\n".join([*parts, run.own.loss_name])
