"""What one compression gathers on its way, and the Result that comes of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qacomp.evaluation.verdict import NOT_JUDGED
from qacomp.formats import WriteReport
from qacomp.options.config import CompressConfig
from qacomp.progress import Progress
from qacomp.runtime.operator_errors import OperatorError
from qacomp.sharing.selection import Selection
from qacomp.sources.source_size import SourceSize
from qacomp.stages.figures import Accuracy, Figures, layer_results
from qacomp.training.history import EpochRecord, WeightHistogram
from qacomp.training.pruning.report import PruningReport


class Run:
    """Remarks for the user, seconds a stage, training history, pruning, how far weights moved, and the verdict."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.notes: list[str] = []
        self.seconds: dict[str, float] = {}
        self.history: list[EpochRecord] = []
        self.pruning: PruningReport | None = None
        self.weights: dict[str, tuple[WeightHistogram, ...]] = {}
        self.errors: dict[str, float | None] = {}
        self.operator_errors: dict[str, OperatorError] = {}
        self.verdict = NOT_JUDGED

    def note(self, text: str) -> None:
        """Tell the user now and in the result."""
        self.notes.append(text)
        self.progress.note(text)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def result(
        self,
        output: Path,
        source: str,
        size: SourceSize,
        config: CompressConfig,
        report: WriteReport,
        selection: Selection,
        *,
        arch: str | None = None,
        accuracy: Accuracy | None = None,
        max_abs_error: float | None = None,
    ) -> Figures:
        """What was gathered, with what was written from the file `source` of that `size`."""
        if vectors := sum(t.k is None and t.precision != "exact" for t in report.tensors):
            what = "1 bias or norm vector is" if vectors == 1 else f"{vectors} bias and norm vectors are"
            self.note(f"{what} rounded to {config.stored_precision} (--stored-precision exact: none)")
        return Figures(
            output=output,
            arch=arch,
            source_bytes=size.bytes,
            checkpoint_bytes=size.fp32,
            container_bytes=report.container_bytes,
            graph_bytes=report.graph_bytes,
            overhead_bytes=report.overhead_bytes,
            ratio=size.bytes / report.container_bytes,
            fp32_ratio=size.fp32 / report.container_bytes,
            bits_per_weight=8 * report.container_bytes / max(1, size.fp32 // 4),
            accuracy=accuracy or Accuracy(),
            max_abs_error=max_abs_error,
            layers=layer_results(report, selection, self.operator_errors),
            history=tuple(self.history),
            seconds=self.seconds,
            seed=config.seed,
            settings=config.plain(),
            settings_toml=config.to_toml(),
            notes=tuple(self.notes),
            pruning=self.pruning,
            weight_history=self.weights,
            relative_errors=self.errors,
            verdict=self.verdict,
            source=source,
        )
