"""What a sweep draws: settings that have an effect beside each other, read from text, and points that nothing beats."""

import random

import numpy as np
import pytest

from qacomp.errors import ConfigError
from qacomp.options.config import CompressConfig
from qacomp.sweeping.dimension import Choice, Dimension, read_dimension
from qacomp.sweeping.front import SweepPoint, pareto
from qacomp.sweeping.space import DEFAULT, Chooser, combinations, drawn, space_of

BASE = CompressConfig()


def chooser(rng: random.Random) -> Chooser:
    def choose(dimension: Dimension) -> Choice:
        if dimension.choices:
            return rng.choice(dimension.choices)
        if dimension.whole:
            return rng.randint(int(dimension.low), int(dimension.high))
        return rng.uniform(dimension.low, dimension.high)

    return choose


@pytest.mark.parametrize(
    "base", [{}, {"reg": "exp"}, {"quality": "high"}, {"levels": (4, 16)}, {"codebook": "affine4"}]
)
def test_no_draw_is_refused_and_none_is_without_effect(base: dict[str, object]) -> None:
    config = BASE.with_settings(base, "test").check()
    space = space_of((*DEFAULT, "min_size=0,256", "pull=1:4") if not base else DEFAULT, None)
    rng, seen = random.Random(0), set()
    for _ in range(60):
        settings = drawn(config, space, chooser(rng))
        config.with_settings(settings, "test").check()
        seen |= set(settings)
    assert "stored_precision" in seen and "pull" not in seen
    if not base:
        assert seen == {*(d.name for d in space)} - {"pull"}


def test_settings_of_the_other_method_are_left_out() -> None:
    space, rng = space_of(DEFAULT, None), random.Random(1)
    for _ in range(60):
        settings = drawn(BASE, space, chooser(rng))
        by_rate = settings["sharing"] == "rate"
        assert not by_rate or not {"k", "codebook", "rounding"} & set(settings)
        assert by_rate or not {"quality", "target_size"} & set(settings)
        assert ("target_size" in settings) == (settings.get("quality") == "auto")
        assert "k" not in settings or not str(settings["codebook"]).startswith("affine")
        assert "rounding" not in settings or settings["codebook"] == "tensor"


def test_combinations_are_counted_once_each() -> None:
    found = combinations(BASE, space_of(("k=4,8,16", "codebook=tensor,channel,affine4"), None), 64)
    assert found is not None and len(found) == 7 and {"codebook": "affine4"} in found
    assert combinations(BASE, space_of(("k=4,8,16", "codebook=tensor,channel,affine4"), None), 6) is None
    assert combinations(BASE, space_of(("k=4:16",), None), 64) is None
    both = combinations(BASE, space_of(("k=4,8", "quality=high,small"), None), 64)
    assert both == [
        {"sharing": "after", "k": 4},
        {"sharing": "after", "k": 8},
        {"sharing": "rate", "quality": "high"},
        {"sharing": "rate", "quality": "small"},
    ]


def test_what_has_no_effect_on_a_model_is_not_varied() -> None:
    assert [d.name for d in space_of(DEFAULT, ("k", "codebook"))] == ["codebook", "k"]
    assert [d.text for d in space_of(("quality=high", "target-size=1bpw:6bpw"), None)] == [
        "quality=auto,high",
        "target_size=1bpw:6bpw",
    ]


@pytest.mark.parametrize(
    ("text", "choices", "ends"),
    [
        ("k=4,8", (4, 8), None),
        ("--k = 4:256", (), (4, 256)),
        ("target-size=0.5bpw:6bpw", (), ("0.5bpw", "6bpw")),
        ("pull=0:4.5", (), (0, 4.5)),
        ("codebook=group:64,channel", ("group:64", "channel"), None),
        ("sharing=after;straight-through:entropy=0.05", ("after", "straight-through:entropy=0.05"), None),
    ],
)
def test_a_dimension_is_read(text: str, choices: tuple[Choice, ...], ends: tuple[Choice, ...] | None) -> None:
    dimension = read_dimension(text)
    assert dimension.choices == choices and (ends is None or dimension.probes == ends)
    assert read_dimension(dimension.text) == dimension


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("k", "NAME=LOW:HIGH"),
        ("k=", "NAME=LOW:HIGH"),
        ("kk=4", "did you mean 'k'"),
        ("k=1:4", "between 2 and"),
        ("k=8:4", "the lower number first"),
        ("k=4.5:8", "whole numbers"),
        ("k=four", "no value of type int"),
        ("k=e:e", "two numbers"),
        ("target_size=1:2", "has a unit"),
        ("target_size=1bpw:2KB", "in one unit"),
        ("rounding=up", "must be one of"),
        ("sharing=none-such", "none-such"),
        ("data=digits", "can't be varied"),
        ("metric=os:system", "can't be varied"),
        ("levels=4,16", "several values at once"),
        ("k_layers=4", "can't be varied"),
        ("k=" + "4," * 2000 + "4", "NAME=LOW:HIGH"),
    ],
)
def test_a_wrong_dimension_says_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        space_of((text,), None)
    assert len(str(error.value)) < 600
    with pytest.raises(ConfigError, match="varied twice"):
        space_of(("k=4,8", "k=16,32"), None)


def test_nothing_beats_a_point_of_the_front() -> None:
    rng = np.random.default_rng(0)
    points = [SweepPoint(i, int(b), float(x), {}) for i, (b, x) in enumerate(rng.integers(0, 12, (60, 2)))]
    front = pareto(points)
    assert [p.bytes for p in front] == sorted({p.bytes for p in front})

    def beats(a: SweepPoint, b: SweepPoint) -> bool:
        return a.bytes <= b.bytes and a.loss <= b.loss and (a.bytes, a.loss) != (b.bytes, b.loss)

    assert not any(beats(point, best) for point in points for best in front)
    assert all(any(beats(b, p) or (b.bytes, b.loss) == (p.bytes, p.loss) for b in front) for p in points)
    assert pareto([]) == ()
