"""Share a source without training: tensor by tensor, and again with more values if the outputs don't agree well enough.

The model that is compared with the original, the one that is written, and the one that a reader decodes are the same,
bit for bit; the last step checks that.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from qacomp.errors import AgreementNotReachedError
from qacomp.evaluation.measured import Measured
from qacomp.evaluation.samples import Given
from qacomp.options.config import CompressConfig
from qacomp.options.needs import rate_aware
from qacomp.sharing.agreement import Trials, raised_note, refined, refined_alone
from qacomp.sharing.selection import Selection
from qacomp.sources.source import ModelRuns, PlainSource
from qacomp.stages.large import large_by_kmeans
from qacomp.stages.made import Made
from qacomp.stages.measured_source import coarser_levels, judged, made_of, moved, operator_errors, point_of
from qacomp.stages.pack_weights import PackedWeights
from qacomp.stages.run import Run
from qacomp.stages.share_by_rate import share_by_rate


def share(source: PlainSource, selection: Selection, config: CompressConfig, data: Given | None, run: Run) -> Made:
    """Share the selected tensors of a source, and measure the compressed model if it can be run.

    data: what the model is measured on (see `load_samples`); without it outputs are compared on generated inputs.
    Raises AgreementNotReachedError if --min-agreement can't be reached, DataError for data that doesn't fit the model.
    """
    if rate_aware(config):
        return share_by_rate(source, selection, config, data, run)
    with run.stage("evaluate"):
        runs = source.runs(data, config, run.note)
    if source.large:
        if config.min_agreement:
            raise AgreementNotReachedError(
                f"--min-agreement {config.min_agreement:g}: a model of 1 GiB or more isn't run, so its agreement can't"
                " be measured and nothing is written; leave the option out"
            )
        return large_by_kmeans(source, selection, config, run)
    vectors = source.vectors(config.stored_precision)
    selection = selection.with_reasons(vectors)
    packed = PackedWeights(source, vectors, config)
    work = _Work(source, config, packed, runs, run)
    selection = work.refine(selection)
    for text in (*packed.notes, raised_note(selection.layers, config.shared_values)):
        if text:
            run.note(text)
    selection = packed.left(selection)
    with run.stage("evaluate"):
        numbers = config.levels if work.measured.agreement is not None else None
        coarser = coarser_levels(packed.items, numbers or (), runs, run.note)
        errors = operator_errors(source, packed.items, runs)
    found = judged(work.measured, errors, config)
    made = made_of(source, selection, packed.items, found, config)
    if config.levels is not None and source.graph() is not None:
        each = coarser | {f"level{config.levels[-1]}": work.measured}
        made = replace(made, meta={**made.meta, "submodels": {name: point_of(m) for name, m in each.items()}})
    return replace(made, training=moved(source, selection, packed.items))


@dataclass
class _Work:
    """Shares the tensors and measures the model, once for each trial. measured: the result of the last trial."""

    source: PlainSource
    config: CompressConfig
    packed: PackedWeights
    runs: ModelRuns | None
    run: Run
    measured: Measured = field(default_factory=Measured)

    def refine(self, selection: Selection) -> Selection:
        """Share the selection; return it with more values for some tensors if the settings ask for agreement."""
        read = {weight.name: weight.read for weight in self.source.weights()}
        if self.runs is None and self.source.graph() is None:
            with self.run.stage("share"):
                selection = refined_alone(selection, self.config, lambda name: read[name]())
                self.packed.share(selection)
            return selection
        trials = Trials(self._tried, self.packed.dense, self._felt)
        selection, missed = refined(selection, self.config, lambda name: read[name](), trials)
        if missed:
            self.run.note(missed)
        return selection

    def _tried(self, selection: Selection) -> float | None:
        """Share a selection and run the model; return 1 − cosine of the worst output, or None if it can't be run."""
        with self.run.stage("share"):
            self.packed.share(selection)
        with self.run.stage("evaluate"):
            self.measured = self._measured(self.packed.dense)
        cosine = None if self.measured.agreement is None else self.measured.agreement.cosine
        return None if cosine is None else 1 - cosine

    def _measured(self, values: Callable[[str], Any]) -> Measured:
        return Measured() if self.runs is None else self.runs.measured(values)

    def _felt(self) -> Mapping[str, float]:
        with self.run.stage("evaluate"):
            if self.runs is None:
                errors = operator_errors(self.source, self.packed.items, None)
                return {name: 10 ** (error.db / 10) for name, error in errors.items()}
            return self.runs.felt(self.packed.items)
