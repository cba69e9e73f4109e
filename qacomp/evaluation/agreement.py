"""How far a compressed ONNX model's outputs are from the original's: cosine, largest difference, top-1 agreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import ExportError
from qacomp.evaluation.session import OnnxModel, line, open_session

Feed = dict[str, NDArray[Any]]
"""One run's inputs by name."""


@dataclass(frozen=True)
class OutputAgreement:
    """One output over all runs. cosine: of the two sides' values, flattened; 1 where both are zero or equal.

    max_abs_error: the largest |difference|; top1: percent of rows whose largest entry is the same, where the output is
    (batch, classes), else None. not_finite: values that are NaN or infinite on one side alone.
    """

    name: str
    cosine: float
    max_abs_error: float
    top1: float | None
    not_finite: int = 0


@dataclass(frozen=True)
class Agreement:
    """`cosine`, `max_abs_error`: of the worst output; `top1`: of the first that has one. `inputs` says on what."""

    inputs: str
    runs: int
    cosine: float
    max_abs_error: float
    top1: float | None
    outputs: tuple[OutputAgreement, ...]

    def to_json(self) -> dict[str, Any]:
        """For `--json` and a container's metadata."""
        return asdict(self) | {"outputs": [asdict(o) for o in self.outputs]}


def agreement(original: OnnxModel, changed: OnnxModel, feeds: Sequence[Feed], inputs: str) -> Agreement:
    """Run both models in onnxruntime on every feed and compare each numeric output.

    Raises ExportError where one of them can't be loaded or run, or the outputs' shapes differ.
    """
    return compare(run_all(original, feeds), run_all(changed, feeds), inputs)


def run_all(model: OnnxModel, feeds: Sequence[Feed]) -> list[Feed]:
    """The outputs of each run by name. Raises ExportError where onnxruntime refuses the model or a feed."""
    session = open_session(model)
    return [run_feed(session, feed) for feed in feeds]


def run_feed(session: Any, feed: Feed) -> Feed:
    """The outputs of one run of an onnxruntime session, by name. Raises ExportError where it refuses the feed."""
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, feed), strict=True))
    except Exception as error:  # onnxruntime's classes share no public root
        raise ExportError(f"onnxruntime can't run the model: {line(error)}") from error


def compare(original: Sequence[Feed], changed: Sequence[Feed], inputs: str) -> Agreement:
    """Compare the outputs of the same runs; outputs that aren't numbers (strings, sequences) are left out."""
    rows = []
    for name in original[0] if original else ():
        a, b = [run[name] for run in original], [run[name] for run in changed]
        if not all(isinstance(value, np.ndarray) and value.dtype.kind in "fiub" for value in (*a, *b)):
            continue
        if [value.shape for value in a] != [value.shape for value in b]:
            raise ExportError(f"output {name!r} has another shape than in the original: the two aren't the same model")
        rows.append(_output(name, a, b))
    if not rows:
        raise ExportError("the model has no numeric output to compare")
    return _agreement(inputs, len(original), rows)


def worst_of(parts: Sequence[Agreement], inputs: str) -> Agreement:
    """Several comparisons of the same two models as one: of each output the figures of the worst."""
    rows = []
    for same in zip(*(part.outputs for part in parts), strict=True):
        top1 = [row.top1 for row in same if row.top1 is not None]
        rows.append(
            OutputAgreement(
                same[0].name,
                min(row.cosine for row in same),
                max(row.max_abs_error for row in same),
                min(top1) if top1 else None,
                sum(row.not_finite for row in same),
            )
        )
    return _agreement(inputs, sum(part.runs for part in parts), rows)


def cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Cosine of two arrays' values; 1 where both are zero, 0 where one is."""
    x, y = a.reshape(-1).astype(np.float64), b.reshape(-1).astype(np.float64)
    x, y = (v / (np.abs(v).max(initial=0.0) or 1.0) for v in (x, y))  # no overflow in the squares
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    if norms == 0:
        return 1.0 if np.array_equal(a, b) else 0.0
    return min(1.0, float(x @ y) / norms)


def _agreement(inputs: str, runs: int, rows: Sequence[OutputAgreement]) -> Agreement:
    top1 = next((row.top1 for row in rows if row.top1 is not None), None)
    worst = max(row.max_abs_error for row in rows)
    return Agreement(inputs, runs, min(row.cosine for row in rows), worst, top1, tuple(rows))


def _output(name: str, a: list[NDArray[Any]], b: list[NDArray[Any]]) -> OutputAgreement:
    x, y = (np.concatenate([v.reshape(-1).astype(np.float64) for v in side]) for side in (a, b))
    finite = np.isfinite(x) & np.isfinite(y)
    lost = int(np.count_nonzero(np.isfinite(x) != np.isfinite(y)))
    error = float(np.abs(x[finite] - y[finite]).max(initial=0.0))
    top1 = None
    if all(v.ndim == 2 and v.shape[1] > 1 and len(v) and v.dtype.kind == "f" for v in a):
        same = [v.argmax(axis=1) == w.argmax(axis=1) for v, w in zip(a, b, strict=True)]
        top1 = 100.0 * float(np.concatenate(same).mean())
    return OutputAgreement(name, cosine(x[finite], y[finite]), error, top1, lost)
