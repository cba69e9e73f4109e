"""Collect the figures of a finished compression from what was made, written and measured."""

from dataclasses import replace

from qacomp.options.config import CompressConfig
from qacomp.sources.torch_source import Source
from qacomp.stages.figures import Figures, layer_results
from qacomp.stages.made import Made
from qacomp.stages.next_steps import next_steps
from qacomp.stages.run import Run
from qacomp.stages.write import Written


def figures(source: Source, config: CompressConfig, made: Made, written: Written, run: Run) -> Figures:
    """Return all figures of a compression, and note for the user how many vectors were rounded."""
    report, found, size = written.report, written.measured, source.size
    if vectors := [t.precision for t in report.tensors if t.k is None and t.precision != "exact"]:
        what = "1 bias or norm vector is" if len(vectors) == 1 else f"{len(vectors)} bias and norm vectors are"
        run.note(f"{what} rounded to {', '.join(sorted(set(vectors)))} (--stored-precision exact keeps all exact)")
    done = Figures(
        output=run.output,
        arch=made.arch,
        source_bytes=size.bytes,
        checkpoint_bytes=size.fp32,
        container_bytes=report.container_bytes,
        graph_bytes=report.graph_bytes,
        overhead_bytes=report.overhead_bytes,
        ratio=size.bytes / report.container_bytes,
        fp32_ratio=size.fp32 / report.container_bytes,
        bits_per_weight=8 * report.container_bytes / max(1, size.fp32 // 4),
        accuracy=found.accuracy,
        max_abs_error=found.max_abs_error,
        layers=layer_results(report, written.selection, found.errors),
        history=made.training.history,
        seconds=run.seconds,
        seed=config.seed,
        settings=config.plain(),
        settings_toml=config.to_toml(),
        notes=tuple(run.notes),
        pruning=made.training.pruning,
        agreement=found.agreement,
        metric=found.metric,
        weight_history=made.training.weights,
        relative_errors=made.training.errors,
        source=str(source.origin.path),
        operating_points=found.points,
        verdict=found.verdict,
        missed=made.missed,
        rate_search=made.search,
    )
    return replace(done, next_steps=next_steps(done, config))
