"""Read one container for the checks: whether it is intact, its bytes, and its metric, stated or measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qacomp.errors import ConfigError, ExportError, FormatError
from qacomp.evaluation.metrics import lost
from qacomp.extras import naming_extra
from qacomp.formats import open_file, verify_file
from qacomp.graphs.metadata import metadata
from qacomp.options.config import CompressConfig

ACCURACY = "accuracy"
_FINAL = ("decoded", "tuned", "shared")  # accuracies of a compressed network, the last stage first
_LONGEST = 80  # characters of a metric's name, which anyone may have written


@dataclass(frozen=True)
class GateFigure:
    """A metric of the original and of the compressed model (`found`), accuracy in percent; None if unknown.

    how: where the figures come from, in words; higher: whether more is better; problem: why the compressed model's is
    unknown; advice: what to do if one of them is unknown.
    """

    name: str = ""
    original: float | None = None
    found: float | None = None
    how: str = ""
    problem: str = ""
    higher: bool = True
    advice: str = "compress again with --data that has targets, so that the file states the figures"

    @property
    def drop(self) -> float | None:
        """Return how much worse the compressed model is than the original; see `lost`."""
        if self.original is None or self.found is None:
            return None
        return lost(self.name, self.original, self.found, self.higher)


@dataclass(frozen=True)
class Release:
    """A container. fp32: bytes that its floating-point values take in fp32; problem: what is broken, or "".

    figure: its metric; empty if the file is broken.
    """

    path: Path
    bytes: int
    fp32: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    figure: GateFigure = field(default_factory=GateFigure)


def read_release(path: Path, config: CompressConfig | None) -> Release:
    """Verify a whole container, and read or measure its metric. A broken file returns a Release with its problem.

    config: with the data to measure on; None: the metric is read from the metadata. Raises OSError,
    IrregularFileError, and DataError for data that can't be used.
    """
    size = path.stat().st_size
    try:
        verify_file(path)
        with open_file(path) as container:
            size = container.available
            meta = metadata(container)
            infos = [container.info(name) for name in container.names]
    except FormatError as error:
        return Release(path, size, problem=str(error))
    fp32 = sum(4 * info.values for info in infos if "float" in info.dtype and info.same_as is None)
    stated = stated_figure(meta)
    return Release(path, size, fp32, meta, figure=stated if config is None else _measured(path, config, stated))


def stated_figure(meta: Mapping[str, Any]) -> GateFigure:
    """Return the metric in checked metadata: top-1 accuracy, otherwise the metric on data with targets."""
    accuracy, metric = meta.get("accuracy") or {}, meta.get("metric") or {}
    how = "stated in the file, not measured"
    final = next((value for name in _FINAL if (value := accuracy.get(name)) is not None), None)
    if accuracy.get("original") is not None or final is not None:
        return GateFigure(ACCURACY, accuracy.get("original"), final, how)
    if metric.get("original") is not None or metric.get("decoded") is not None:
        name = str(metric.get("name") or "metric")[:_LONGEST]
        higher = metric.get("higher_is_better") is not False
        return GateFigure(name, metric.get("original"), metric.get("decoded"), how, higher=higher)
    return GateFigure(problem="the file states no metric")


def _measured(path: Path, config: CompressConfig, stated: GateFigure) -> GateFigure:
    """Measure the decoded model; the original's figure is the stated one if it is of the same metric."""
    with naming_extra("measuring on data"):
        from qacomp.evaluate import measure_file
    try:
        measured = measure_file(path, config)
    except (ConfigError, ExportError, FormatError) as error:
        return GateFigure(problem=str(error), advice="")
    if measured.metric is None:
        return GateFigure(problem="; ".join(measured.notes) or "no metric was measured", advice="")
    name, value = str(measured.metric["name"]), float(measured.metric["value"])
    how = f"measured on {measured.samples} samples of {measured.data}"
    if stated.name != name:
        return GateFigure(name, None, value, how)
    return GateFigure(name, stated.original, value, f"{how}, the original's stated in the file", higher=stated.higher)
