"""Compare a compressed ONNX model's outputs with the original's, over all outputs and runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import ExportError
from qacomp.runtime.output_agreement import OutputAgreement, output_agreement
from qacomp.runtime.sandbox import RefusedError
from qacomp.runtime.session import OnnxModel, Session, line, open_session

Feed = dict[str, NDArray[Any]]
"""One run's inputs by name."""


@dataclass(frozen=True)
class Agreement:
    """The agreement of two models over all outputs; `OutputAgreement` defines each figure.

    inputs: a text that describes the inputs; runs: number of runs; cosine, centred: of the worst measured output, None
    if no output is measured; max_abs_error: the largest of all outputs; top1: of the first output with class scores.
    """

    inputs: str
    runs: int
    cosine: float | None
    max_abs_error: float
    top1: float | None
    outputs: tuple[OutputAgreement, ...]
    centred: float | None = None

    @property
    def measured(self) -> tuple[OutputAgreement, ...]:
        """Return the outputs that could be measured."""
        return tuple(output for output in self.outputs if output.unmeasured is None)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as in `--json` and in a container's metadata."""
        return asdict(self) | {"outputs": [asdict(o) for o in self.outputs]}


def agreement(original: OnnxModel, changed: OnnxModel, feeds: Sequence[Feed], inputs: str) -> Agreement:
    """Run both models in onnxruntime on every feed and compare each numeric output.

    inputs: describes the feeds in the result. Raises ExportError if a model can't be loaded or run.
    """
    return compare(run_all(original, feeds), run_all(changed, feeds), inputs)


def run_all(model: OnnxModel, feeds: Sequence[Feed]) -> list[Feed]:
    """Return the outputs of each run by name. Raises ExportError if onnxruntime refuses the model or a feed."""
    session = open_session(model)
    return [run_feed(session, feed) for feed in feeds]


def run_weights(model: OnnxModel, feeds: Sequence[Feed], sets: Iterable[Feed]) -> Iterator[list[Feed]]:
    """Yield, for each set of weights, the outputs of all runs; all sets run in one session.

    model: takes its weights as inputs; sets: weights by input name, fed together with each of `feeds`. Raises
    ExportError if onnxruntime refuses the model or a feed.
    """
    session = open_session(model)
    for weights in sets:
        yield [run_feed(session, {**feed, **weights}) for feed in feeds]


def run_feed(session: Session, feed: Feed) -> Feed:
    """Return the outputs of one run of a session, by name. Raises ExportError if onnxruntime refuses the feed."""
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, feed), strict=True))
    except RefusedError as error:
        raise ExportError(f"onnxruntime can't run the model: {line(error)}") from error


def compare(original: Sequence[Feed], changed: Sequence[Feed], inputs: str, batch: int = 1) -> Agreement:
    """Compare the outputs of two models on the same runs of `batch` examples each; `inputs` describes the runs.

    Outputs that aren't arrays of numbers (strings, sequences) are listed, but not measured.
    """
    rows = []
    for name in original[0] if original else ():
        a, b = [run[name] for run in original], [run.get(name) for run in changed]
        if all(isinstance(value, np.ndarray) and value.dtype.kind in "fiub" for value in (*a, *b)):
            rows.append(output_agreement(name, a, [value for value in b if value is not None], batch))
        else:
            rows.append(OutputAgreement(name, None, 0.0, None, unmeasured="it isn't an array of numbers"))
    return _agreement(inputs, len(original), rows)


def worst_of(parts: Sequence[Agreement], inputs: str) -> Agreement:
    """Merge several comparisons of the same two models into one: each figure of an output is the worst of them."""
    rows = [_worst(same) for same in zip(*(part.outputs for part in parts), strict=True)]
    return _agreement(inputs, sum(part.runs for part in parts), rows)


def _worst(same: Sequence[OutputAgreement]) -> OutputAgreement:
    told = [row for row in same if row.unmeasured is None]

    def least(figure: str) -> float | None:
        return min((v for row in told if (v := getattr(row, figure)) is not None), default=None)

    return OutputAgreement(
        same[0].name,
        least("cosine"),
        max(row.max_abs_error for row in same),
        least("top1"),
        sum(row.not_finite for row in same),
        least("centred"),
        least("rare"),
        least("equal"),
        sum(row.other_shape for row in same),
        min((row.positions for row in told if row.top1 is not None), default=0),
        None if told else same[0].unmeasured,
    )


def _agreement(inputs: str, runs: int, rows: Sequence[OutputAgreement]) -> Agreement:
    told = [row for row in rows if row.unmeasured is None]
    top1 = next((row.top1 for row in told if row.top1 is not None), None)
    worst = max((row.max_abs_error for row in rows), default=0.0)
    plain, centred = (
        min((v for row in told if (v := getattr(row, figure)) is not None), default=None)
        for figure in ("cosine", "centred")
    )
    return Agreement(inputs, runs, plain, worst, top1, tuple(rows), centred)
