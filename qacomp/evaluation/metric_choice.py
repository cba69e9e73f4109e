"""Choose the metric: a user's own, the one that the settings name, or the one that fits outputs and targets."""

from typing import Any

from qacomp.batches.feed import told
from qacomp.batches.outputs import main_output
from qacomp.datasets.custom import find_custom
from qacomp.errors import ConfigError
from qacomp.evaluation.metric import ACCURACY, MSE, PERPLEXITY, Metric, array_of, metric_of
from qacomp.evaluation.metrics import rows_of_scores
from qacomp.evaluation.similarity import similarity
from qacomp.options.metric_names import METRICS
from qacomp.runtime.output_agreement import cosine


def choose_metric(name: str, own: Any, outputs: Any, y: Any) -> Metric:
    """Return the metric for what a network returned and its targets.

    own: a caller's function or object (see `metric_of`), or None; name: of a built-in metric, `module:function`, or
    auto: top-1 accuracy for class labels, the mean squared error for float targets. Raises ConfigError if neither fits.
    """
    if own is not None:
        return metric_of(getattr(own, "__name__", type(own).__name__), own)
    if name == "cosine":
        return metric_of(name, lambda found, wanted: cosine(array_of(main_output(found)), array_of(wanted)))
    if name == "similarity":
        return metric_of(name, lambda found, wanted: similarity(array_of(main_output(found)), array_of(wanted)))
    if name not in METRICS:
        found = find_custom(*name.split(":", 1))
        return metric_of(name, found() if isinstance(found, type) else found)
    metric = {"accuracy": ACCURACY, "mse": MSE, "perplexity": PERPLEXITY}.get(name) or _fitting(main_output(outputs), y)
    if metric is None:
        raise ConfigError(
            f"no metric is known for outputs {told(main_output(outputs))} and targets {told(y)}; give metric (--metric "
            "module:function), a function of all outputs and targets"
        )
    return metric


def _fitting(outputs: Any, y: Any) -> Metric | None:
    """Return accuracy for class labels, the squared error for float targets of the same size, else None."""
    if not hasattr(y, "dtype") or not hasattr(y, "shape"):
        return None
    found, wanted = array_of(outputs), array_of(y)
    if rows_of_scores(found, wanted) is not None:
        return ACCURACY
    return MSE if wanted.dtype.kind == "f" == found.dtype.kind and wanted.size == found.size else None
