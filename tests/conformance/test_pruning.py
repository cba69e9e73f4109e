"""The contract of every pruning method; a new one is picked up by its file."""

from types import MappingProxyType

from qacomp.testing import PrunerSuite, suites_of
from qacomp.training.pruning.methods import PRUNERS

globals().update(suites_of(PrunerSuite, [name for name in PRUNERS.registry.here() if name != "energy"]))


class TestEnergy(PrunerSuite):
    name = "energy"
    given = MappingProxyType({"population": 4, "epochs": 2})


def test_the_two_are_registered() -> None:
    assert {"energy", "magnitude"} <= set(PRUNERS.names())
