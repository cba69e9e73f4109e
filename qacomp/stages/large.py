"""Share a source of 1 GiB or more: workers share and code pieces of a few tensors, and nothing is run.

A finished piece waits in a folder beside the output until its turn to be written, so the bytes of the container don't
depend on the number of workers, and an interrupted run goes on with the pieces that are there.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from qacomp.calibration.weights_alone import OF_SUM
from qacomp.checkpoints import Checkpoint
from qacomp.evaluation.verdict import judge
from qacomp.formats import Container, HeldTensor, open_file
from qacomp.options.config import CompressConfig
from qacomp.options.needs import trellis, trellis_given, vector_precision
from qacomp.rate.quality import DISTANCES
from qacomp.runtime.operator_error import OperatorError
from qacomp.sharing.selection import Selection
from qacomp.sources.source import PlainSource
from qacomp.stages.large_calibrated import rounded_on_texts
from qacomp.stages.made import Made, Measurements
from qacomp.stages.measured_source import made_of
from qacomp.stages.parts import of_part
from qacomp.stages.piece_files import read_piece
from qacomp.stages.piece_folder import PieceFolder
from qacomp.stages.pieces import PackingRules, PieceTask, TensorTask, divided, write_piece
from qacomp.stages.run import Run
from qacomp.workers.choice import ALONE, Workers
from qacomp.workers.pools import opened
from qacomp.workers.running import completed


def large_by_kmeans(source: PlainSource, selection: Selection, config: CompressConfig, run: Run) -> Made:
    """Return what a container of a large source holds: each tensor shared by k-means."""
    return _large(source, selection, source.vectors(config.stored_precision), PackingRules(config, None), run)


def large_by_rate(source: PlainSource, selection: Selection, config: CompressConfig, run: Run) -> Made:
    """Return what a container of a large source holds: each tensor on the coarsest grid that the quality allows."""
    if trellis_given(config) and trellis(config) != "false":
        run.note("--sharing rate:trellis has no effect: 1 GiB of weights or more are rounded on uniform grids")
    limit = DISTANCES[config.quality]
    error = min(limit, limit / OF_SUM / max(1, len(selection.layers)))
    with run.stage("calibrate"):
        rounded, text = rounded_on_texts(source, selection, config, error, run)
    vectors = source.vectors(vector_precision(config))
    made = _large(source, selection, vectors, PackingRules(config, error), run, rounded)
    return replace(made, meta={**made.meta, "calibration": text})


def _large(
    source: PlainSource,
    selection: Selection,
    vectors: Mapping[str, str],
    packing: PackingRules,
    run: Run,
    rounded: Mapping[str, Path] | None = None,
) -> Made:
    """Return what a container holds; its tensors are shared while they are iterated, which works once.

    rounded: files of tensors that are rounded already, by name. Errors, and the tensors that sharing doesn't make
    smaller, are known only after that, in `finish`.
    """
    config, folder = packing.config, run.pieces
    assert folder is not None  # the pipeline gives one to each large source
    selection = selection.with_reasons(vectors)
    known = rounded or {}
    pieces = divided(
        [replace(t, rounded=known.get(t.name)) for t in _tasks(source, selection, vectors, config, run.workers)]
    )
    tasks = [PieceTask(n, piece, packing, folder.path) for n, piece in enumerate(pieces)]
    if run.part is not None:
        tasks, whole_count = of_part(tasks, run.part), sum(map(len, pieces))
        selection = _only(selection, {tensor.name for task in tasks for tensor in task.tensors})
        count = sum(len(task.tensors) for task in tasks)
        run.note(
            f"part {run.part.number} of {run.part.of}: {count} of {whole_count} tensors; ratios compare the part with "
            "the whole source"
        )
    errors: dict[str, OperatorError] = {}
    kept: dict[str, str] = {}

    def tensors() -> Iterator[tuple[str, HeldTensor]]:
        for number in _done(tasks, folder, run):
            with open_file(folder.path / tasks[number].file) as piece:
                for name, told in read_piece(piece):
                    if told.error is not None:
                        errors[name] = told.error
                    if told.kept is not None:
                        kept[name] = told.kept
                    yield name, told.held

    whole = made_of(source, selection, {}, Measurements(verdict=judge(None, {})), config)

    def finish(container: Container) -> tuple[Measurements, Selection]:
        measured, left = whole.finish(container)
        for layer in selection.layers:
            if layer.name in kept:
                left = left.without(layer, kept[layer.name])
        return replace(measured, errors=errors), left

    return replace(whole, tensors=tensors(), finish=finish)


def _tasks(
    source: PlainSource,
    selection: Selection,
    vectors: Mapping[str, str],
    config: CompressConfig,
    workers: Workers,
) -> list[TensorTask]:
    layers = {layer.name: layer for layer in selection.layers}
    precision = vector_precision(config)
    here = workers == ALONE
    return [
        TensorTask(
            weight.name,
            weight.read if here else _reader(source, weight.name, weight.read),
            math.prod(weight.shape),
            layers.get(weight.name),
            precision if weight.name in vectors else None,
        )
        for weight in source.weights()
    ]


def _reader(source: PlainSource, name: str, read: Callable[[], NDArray[Any]]) -> Callable[[], NDArray[Any]]:
    """Return a short reference to a tensor that any process can read."""
    if isinstance(source.origin, Checkpoint):
        return read
    from qacomp.sources.onnx_source import read_onnx_tensor  # not above: a folder needs no onnx

    return partial(read_onnx_tensor, source.origin.path, name)


def _done(tasks: Sequence[PieceTask], folder: PieceFolder, run: Run) -> Iterator[int]:
    """Yield the number of each piece in order, as soon as it is in the folder. Raises WorkerError."""
    done = {number for number, task in enumerate(tasks) if folder.has(task)} if folder.open() else set()
    if done:
        run.note(f"an interrupted run goes on: {sum(len(tasks[n].tensors) for n in done)} of its tensors are kept")
    missing = [number for number in range(len(tasks)) if number not in done]
    token = folder.marked() if run.workers.scheduler and missing else None
    given = [replace(tasks[n], folder=folder.path.absolute(), token=token) if token else tasks[n] for n in missing]
    start, values, following = time.monotonic(), 0, 0
    with (
        run.progress.task("tensors", sum(len(tasks[n].tensors) for n in missing)) as bar,
        opened(run.workers) as pool,
    ):
        for number, data in completed(given, write_piece, pool, str):
            task = given[number]
            if data is not None:
                folder.take(task, data)
            done.add(missing[number])
            values += task.values
            bar.describe(f"{values / max(1e-9, time.monotonic() - start) / 1e6:.2f} million weights a second")
            bar.advance(len(task.tensors))
            while following in done:
                yield following
                following += 1
    yield from range(following, len(tasks))


def _only(selection: Selection, names: set[str]) -> Selection:
    """Return a selection of the tensors of one part."""
    layers = tuple(layer for layer in selection.layers if layer.name in names)
    return replace(selection, layers=layers, skipped={n: why for n, why in selection.skipped.items() if n in names})
