"""The steps of a base are taken again where they are near what a quality or a size allows, else the usual ones."""

from pathlib import Path

import pytest

from qacomp.evaluation.verdict import GOOD, Verdict
from qacomp.options.config import CompressConfig
from qacomp.progress import SilentProgress
from qacomp.rate.quality import DISTANCES
from qacomp.sharing.selection import Selection
from qacomp.stages.made import Made, Measurements
from qacomp.stages.run import Run
from qacomp.stages.scale_search import Asked, made_for_quality, made_for_size
from qacomp.stages.scaled import Scaled
from qacomp.stages.validation import Validation

BYTES = 10_000


def source(largest: float, scales: list[float], *, based: bool = True) -> Scaled:
    """A source whose outputs stay good up to a scale; `scales` gets those whose container is made."""

    def made(scale: float) -> Made:
        scales.append(scale)
        measured = Measurements(verdict=Verdict(GOOD, ()))
        return Made(Selection(()), [], None, {"scale": scale}, measured, lambda container: (measured, Selection(())))

    def distance(scale: float) -> float:
        return DISTANCES["balanced"] * (scale / largest) ** 2

    def validated(scale: float) -> Validation:
        return Validation(Verdict(GOOD, ()))

    return Scaled(
        made,
        lambda m: int(BYTES / m.meta["scale"]),
        lambda s: int(BYTES / s),
        distance,
        validated,
        lambda factors: source(largest, scales),
        based=based,
    )


def run() -> Run:
    return Run(SilentProgress(), Path("unused"))


@pytest.mark.parametrize(("largest", "taken"), [(1.1, 1.0), (1.24, 1.0), (0.9, 0.9), (2.0, 2.0), (0.5, 0.5)])
def test_of_a_quality(largest: float, taken: float) -> None:
    scales: list[float] = []
    small = CompressConfig(quality="small")
    limit = largest * (DISTANCES["small"] / DISTANCES["balanced"]) ** 0.5
    found = made_for_quality(source(largest**2 / limit, scales), small, run())
    assert found.meta["scale"] == pytest.approx(taken, rel=0.02)
    assert (found.meta["scale"] == 1.0) == (taken == 1.0)
    other = made_for_quality(source(largest, scales, based=False), CompressConfig(), run())
    assert other.meta["scale"] == pytest.approx(largest, rel=0.02) and other.meta["scale"] != 1.0


@pytest.mark.parametrize(("most", "taken"), [(BYTES, 1.0), (int(1.1 * BYTES), 1.0), (2 * BYTES, 0.5), (BYTES // 2, 2)])
def test_of_a_size(most: int, taken: float) -> None:
    scales: list[float] = []
    found = made_for_size(source(1.0, scales), 0, Asked("", most), run())
    assert found.meta["scale"] == pytest.approx(taken, rel=0.02) and not found.missed
