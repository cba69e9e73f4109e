"""What every registered regularizer must hold, whatever its formula; a new one is picked up by its file."""

from qacomp.testing import RegularizerSuite, suites_of
from qacomp.testing.regularizers import layer
from qacomp.training.regularizers import build_regularizers, list_regularizers

globals().update(suites_of(RegularizerSuite, list_regularizers()))


def test_the_papers_five_are_registered_and_have_kernels() -> None:
    assert {"sin", "cos", "min", "exp", "sinreq"} <= set(list_regularizers())
    for name in ("sin", "cos", "min", "exp", "sinreq"):
        assert build_regularizers(name, {"w": layer().float()}, {"w": 4})["w"].kernel() is not None
