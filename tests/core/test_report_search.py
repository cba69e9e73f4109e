"""Check what a report and --json say of a rate-aware search: trials, sensitivities, and command lines to try next."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import HOSTILE, Outline

import qacomp
from qacomp.evaluation.verdict import DOUBTFUL, Verdict
from qacomp.options.config import CompressConfig
from qacomp.rate.quality import DISTANCES
from qacomp.rate.record import LimitKept, RateSearch, ScaleTrial, Sensitivity
from qacomp.report import gather, write_report
from qacomp.report.front_chart import front_chart
from qacomp.report.page import render
from qacomp.stages.figures import LayerResult
from qacomp.stages.next_steps import next_steps
from qacomp.stages.scaled import Scaled
from qacomp.stages.trial_log import TrialLog

_SMALL = 1e-3
TRIALS = (ScaleTrial(0.5, 900, 0.004), ScaleTrial(1.0, 700, 0.009), ScaleTrial(1.3, None, 0.015),
          ScaleTrial(1.6, 500, 0.025))  # fmt: skip
SEARCH = RateSearch(
    TRIALS, 1.0, {"a": Sensitivity(0.01, 0.02, 4000.0), "b": Sensitivity(0.002, 0.02, 800.0)}, True, "x"
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two tensors without a model, shared by rate."""
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(size=(40, 50)).astype(np.float32) for name in ("a", "b")}
    target = tmp_path_factory.mktemp("search") / "m.qac"
    return qacomp.compress(tensors, sharing="rate", quality="balanced", output=target)


def steps_of(done: Any, search: RateSearch, **settings: Any) -> list[str]:
    rows = tuple(LayerResult(n, (40, 50), 9, 350, 1.4, 1.3, "rans", "", None) for n in search.sensitivities)
    figures = replace(done, rate_search=search, layers=rows, source="my net.onnx", container_bytes=800)
    found = next_steps(figures, CompressConfig().with_settings(settings, "test"))
    assert all(step.why for step in found)
    return [step.command for step in found]


def test_bare_tensors_have_a_front_of_the_weights_and_no_sensitivity(done: Any) -> None:
    search = done.rate_search
    assert not search.of_outputs and search.sensitivities == {} and not search.inputs_given
    chosen = next((size, far) for scale, size, far in search.front if scale == search.chosen)
    assert 0 < chosen[1] <= DISTANCES["balanced"] and chosen[0] <= done.container_bytes
    stated = qacomp.decode(done, to="numpy")
    original = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    assert ((stated["a"] - original) ** 2).sum() / (original**2).sum() == pytest.approx(chosen[1], rel=0.2)
    page = render(gather(done.output, done))
    assert "Sensitivities weren&#x27;t measured" in page or "Sensitivities weren't measured" in page
    assert "relative squared error of the weights" in page and page.count('class="chosen"') == 1
    document = json.loads(json.dumps(done.to_json()))
    assert document["rate_search"]["chosen"] == search.chosen and document["next_steps"]


def test_a_container_alone_says_nothing_of_the_search(done: Any, tmp_path: Path) -> None:
    page = write_report(tmp_path / "r.html", done.output, measure=False).read_text(encoding="utf-8")
    ids = {attributes["id"] for tag, attributes in Outline(page).tags if tag == "section"}
    assert not ids & {"next", "front", "sensitivity"} and "layers" in ids


def test_the_page_shows_bytes_sensitivities_and_the_front(done: Any) -> None:
    known = gather(done.output, replace(done, rate_search=replace(SEARCH, inputs=HOSTILE)))
    page = render(replace(known, next_steps=((HOSTILE, HOSTILE),)))
    ids = [attributes["id"] for tag, attributes in Outline(page).tags if tag == "section"]
    assert ids.index("next") < ids.index("front") < ids.index("sensitivity") < ids.index("layers")
    assert "<script" not in page and "\u202e" not in page
    part = page[page.index('id="sensitivity"') : page.index('id="layers"')]
    assert "<td>0.5</td>" in part and "<td>0.1</td>" in part and "<td>0.02</td>" in part  # 0.01 / 4000 bits · 8000
    chart = front_chart(SEARCH)
    assert chart.count('class="point"') == 2 and chart.count('class="chosen"') == 1
    assert all(f"--quality {word}: {bound:g}" in chart for word, bound in DISTANCES.items())


def test_a_front_needs_two_measured_points() -> None:
    assert front_chart(RateSearch()) == "" == front_chart(replace(SEARCH, trials=TRIALS[:1]))


def test_the_next_quality_comes_with_what_was_measured(done: Any) -> None:
    first, second = steps_of(done, SEARCH, sharing="rate", quality="balanced")
    assert shlex.split(first)[2] == "my net.onnx" and first.endswith("--quality small")
    assert "--calibration" in second
    assert next_steps(replace(done, source="<Sequential>"), CompressConfig())[0].command.startswith(
        "qacomp compress MODEL "
    )
    smaller, layer = steps_of(done, replace(SEARCH, inputs_given=True), sharing="rate", target_size="800")
    assert smaller.endswith("--target-size 600")  # 800 − 700 + 500
    assert layer.endswith("--exclude a") and "--target-size 800" in layer


def test_a_poor_verdict_asks_for_more_quality(done: Any) -> None:
    poor = replace(done, verdict=Verdict(DOUBTFUL, ("moved",)))
    assert steps_of(poor, SEARCH, sharing="rate", quality="balanced")[0].endswith("--quality high")
    assert steps_of(poor, SEARCH, sharing="rate", target_size="800")[0].endswith("--target-size 1000")


def test_limits_are_shown_and_kept_in_the_next_command(done: Any) -> None:
    limit = LimitKept("--max-drop", 0.5, 0.4375, f"the validation split of {HOSTILE}", 0.625, 0.3125)
    search = replace(SEARCH, limits=(limit,))
    page = render(replace(gather(done.output, done), search=search))
    assert all(figure in page for figure in ("--max-drop", "0.4375", "0.625", "0.312")) and HOSTILE not in page
    told = steps_of(done, search, max_drop=0.5, data="digits")
    assert told and all("--max-drop 0.5" in line and "--quality" not in line for line in told)


def test_names_that_could_be_options_or_patterns_are_not_advised(done: Any) -> None:
    wild = {name: Sensitivity(1.0, 0.1, 9.0) for name in ("-o", "a*", "n" * 200, "x\n")}
    search = replace(SEARCH, inputs_given=True, sensitivities=wild)
    assert not any("--exclude" in line for line in steps_of(done, search, sharing="rate", quality="small"))


def test_each_figure_is_measured_once() -> None:
    asked: list[tuple[str, float]] = []

    def size(scale: float) -> int:
        asked.append(("bytes", scale))
        return int(1000 / scale)

    def far(scale: float) -> float:
        asked.append(("distance", scale))
        return float("inf") if scale > 3 else scale * _SMALL

    unused: Any = None
    log = TrialLog(Scaled(unused, unused, size, far, unused, unused))
    for scale in (1.0, 1.05, 1.6, 4.0, 1.0, 1.05):
        log.weight_bytes(scale)
    found = log.chosen(1.05)
    assert len(asked) == len(set(asked)) == 8  # all bytes; distances of 1, 1.6 and 4, and of the chosen one
    assert [t.scale for t in found.trials] == [1.0, 1.05, 1.6, 4.0] and found.trials[-1].distance is None
    assert found.front[1] == (1.05, 952, 1.05 * _SMALL)
