"""Limits and qualities of a network that is tuned: searched before tuning, and then tuned a few times."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from digits_network import PREPROCESS, digits_network
from torch import nn

import qacomp
from qacomp.evaluation.verdict import BROKEN, GOOD, Verdict
from qacomp.models.plain_modules import copied
from qacomp.options.config import CompressConfig
from qacomp.rate.tuned_search import TUNINGS, largest_tuned_scale
from qacomp.stages import network_by_rate, network_on_grids, scale_search, tune_on_grids
from qacomp.stages.limit_search import scale_within_limits
from qacomp.stages.run import Run
from qacomp.stages.scaled import Scaled
from qacomp.stages.trial_log import TrialLog
from qacomp.stages.validation import Validation


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return digits_network(norm=True)


@pytest.fixture
def tunings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one name with each tuning, whether on labels or towards the original's outputs."""
    found: list[str] = []

    def counted(name: str) -> Callable[..., Any]:
        tune: Callable[..., Any] = getattr(tune_on_grids, name)

        def once_more(*given: Any, **named: Any) -> Any:
            found.append(name)
            return tune(*given, **named)

        return once_more

    for name in ("tune_shared", "tune_small"):
        monkeypatch.setattr(tune_on_grids, name, counted(name))
    return found


@pytest.mark.parametrize("gain", [0.8, 0.95, 1.0, 1.2, 1.5, 1.9, 2.6])
def test_a_gain_by_tuning_is_found_in_few_trials(gain: float) -> None:
    untuned = {s: 2 * math.log(s) for s in (1.6, 0.625, 0.79, 1.26, 1.02, 0.99)}
    tried: list[float] = []

    def excess(scale: float) -> float:
        tried.append(scale)
        return 2 * math.log(scale / gain)

    found = largest_tuned_scale(excess, 0.99, untuned, 14)
    assert found is not None and found <= gain and len(tried) <= TUNINGS
    if 0.9 < gain < 2:
        assert found > 0.96 * gain


def test_without_a_search_before_tuning_the_scale_moves_further() -> None:
    tried: list[float] = []

    def excess(scale: float) -> float:
        tried.append(scale)
        return scale - 0.01

    found = largest_tuned_scale(excess, 1.0, {}, 14)
    assert found is not None and 0.0095 < found <= 0.01 and len(tried) <= 14
    assert largest_tuned_scale(lambda scale: math.inf, 1.0, {}, 4) is None


class _Caught(Exception):
    """What would be searched: the network at any scale, the settings, the run."""


def caught(monkeypatch: pytest.MonkeyPatch, compress: Callable[[], object]) -> tuple[Scaled, CompressConfig, Run]:
    """What `compress` would search within limits: nothing is exported or written."""

    def stop(*given: Any) -> None:
        raise _Caught(*given)

    monkeypatch.setattr(network_by_rate, "made_within_limits", stop)
    with pytest.raises(_Caught) as found:
        compress()
    scaled, config, run = found.value.args
    return scaled, config, run


@pytest.mark.parametrize(
    ("data", "settings"),
    [
        ("digits", {"max_drop": 4.0, "tune_epochs": 1, "preprocess": PREPROCESS}),
        (None, {"min_agreement": 0.998, "input_shape": (1, 28, 28)}),
    ],
)
def test_a_limit_takes_few_tunings_and_as_few_bytes(
    network: nn.Module, tunings: list[str], monkeypatch: pytest.MonkeyPatch, data: str | None, settings: dict[str, Any]
) -> None:
    monkeypatch.setattr("qacomp.calibration.tuning.STEPS", 40)
    monkeypatch.setattr("qacomp.calibration.synthetic.STEPS", 20)
    monkeypatch.setattr("qacomp.stages.network_calibration._MADE", 32)
    monkeypatch.setattr("qacomp.stages.trial_log._MOST", 0)  # bytes of scales that the report shows
    scaled, config, run = caught(monkeypatch, lambda: qacomp.compress(network, data, min_size=1, **settings))
    log = TrialLog(scaled)
    found = scale_within_limits(log, config, run)
    count = len(tunings)
    tuned = [t for t in log.chosen(found).trials if t.lost is not None or t.agreement is not None]
    assert len(tuned) == count and found in [t.scale for t in tuned]
    scaled.validated(found)
    assert len(tunings) == count <= TUNINGS, "no scale is tuned twice"
    alone = scale_within_limits(TrialLog(replace(scaled, before_tuning=None)), config, run)
    assert scaled.shared_bytes(found) < 1.06 * scaled.shared_bytes(alone), "so small a network moves unevenly"
    assert count < len(tunings) - count


@pytest.mark.parametrize("word", [GOOD, BROKEN])
def test_tuning_that_spoils_a_good_verdict_is_left_out(
    network: nn.Module, tunings: list[str], monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """word: the verdict after tuning; before it is good."""
    monkeypatch.setattr("qacomp.calibration.tuning.STEPS", 2)
    monkeypatch.setattr("qacomp.calibration.synthetic.STEPS", 2)
    monkeypatch.setattr("qacomp.stages.network_calibration._MADE", 8)
    own = {name: value.clone() for name, value in network.state_dict().items()}
    scaled, _, _ = caught(
        monkeypatch, lambda: qacomp.compress(network, min_size=1, min_agreement=0.9, input_shape=(1, 28, 28))
    )

    def judged(job: Any, model: nn.Module) -> Validation:
        values = {n: v for n, v in model.state_dict().items() if n in own and v.dim() == 1}
        same = all(torch.equal(value, own[name]) for name, value in values.items())
        return Validation(Verdict(GOOD if same else word, ()), inputs="as before" if same else "changed")

    monkeypatch.setattr(network_on_grids, "validated_network", judged)
    found = [scaled.validated(1.0) for _ in range(2)]
    assert [f.inputs for f in found] == ["changed" if word == GOOD else "as before"] * 2
    assert tunings == ["tune_small"], "once, whether it is taken or not"


def quality(goods: Callable[[int, bool], bool], tunable: int = 0) -> tuple[Any, list[int]]:
    """The scales that a quality tries, as numbers of steps down; goods: (number, after tuning) -> good.

    tunable: the first number whose weights alone are near enough.
    """
    tuned: list[int] = []

    def judged(scale: float, after: bool) -> Validation:
        number = round(math.log(scale) / math.log(scale_search._FINER))
        if after:
            tuned.append(number)
        word = GOOD if goods(number, after) else BROKEN
        return Validation(Verdict(word, ()), beyond_tuning=number < tunable)

    unused: Any = None
    scaled = Scaled(unused, unused, unused, unused, lambda s: judged(s, True), unused, (), lambda s: judged(s, False))
    return scale_search._first_good(TrialLog(scaled), 1.0), tuned


def test_a_scale_whose_weights_alone_are_too_far_off_is_not_tuned() -> None:
    for first in (1, 4, scale_search._MOST_FINER):
        found, tuned = quality(lambda number, after, first=first: number >= first, first)  # type: ignore[misc]
        assert found == pytest.approx(scale_search._FINER**first) and tuned == [first]
    found, tuned = quality(lambda number, after: False, 99)
    assert found is None and tuned == [scale_search._MOST_FINER]


def good_from(first: int, number: int, after: bool) -> bool:
    return number >= (first if after else first + 1)


def test_a_quality_tunes_few_scales() -> None:
    for first in range(scale_search._MOST_FINER):
        found, tuned = quality(partial(good_from, first))
        assert found == pytest.approx(scale_search._FINER**first) and len(tuned) <= 2
    for gain in (0, 2, 5):  # the steps that tuning allows
        found, tuned = quality(lambda number, after, gain=gain: number >= (6 if after else 6 + gain))  # type: ignore[misc]
        assert found == pytest.approx(scale_search._FINER**6) and len(tuned) <= 6
    found, tuned = quality(lambda number, after: after and number >= 2)
    assert found == pytest.approx(scale_search._FINER**2) and tuned == [0, 1, 2]
    assert quality(lambda number, after: False)[0] is None


def test_what_tuning_changed_is_put_into_another_network(network: nn.Module) -> None:
    one, other = copied(network), copied(network)
    with torch.no_grad():
        for parameter in list(one.parameters())[1:3]:
            parameter.add_(1)
    tuned = tune_on_grids.Tuned(tune_on_grids.changed(network.state_dict(), one))
    assert set(tuned.values) == {"2.bias", "3.weight"}
    tuned.put(other)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
