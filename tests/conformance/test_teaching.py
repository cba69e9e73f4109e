"""The contract of every way of distilling; a new one is picked up by its file."""

from qacomp.testing import TeachingSuite, suites_of
from qacomp.training.teaching import DISTILLATION

globals().update(suites_of(TeachingSuite, list(DISTILLATION.registry.here())))


def test_the_four_are_registered() -> None:
    assert {"ipkd", "kd", "ta-1", "ta-m"} <= set(DISTILLATION.names())
