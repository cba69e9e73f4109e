"""Conformance suites for plug-ins of each kind (regularizers, codecs, models, ...), usable without pytest.

from qacomp.testing import RegularizerSuite

class TestAbs(RegularizerSuite):
    name = "abs"
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qacomp.testing.codecs import CodecSuite
    from qacomp.testing.datasets import DatasetSuite
    from qacomp.testing.distillation import DistillationSuite
    from qacomp.testing.models import ModelSuite
    from qacomp.testing.optimizers import OptimizerSuite
    from qacomp.testing.output_formats import FormatSuite
    from qacomp.testing.pruning import PrunerSuite
    from qacomp.testing.quantizers import QuantizerSuite
    from qacomp.testing.regularizers import RegularizerSuite
    from qacomp.testing.suite import Suite, run_suite, suites_of
    from qacomp.testing.teaching import TeachingSuite

_PLACES = {
    "CodecSuite": "codecs",
    "DatasetSuite": "datasets",
    "DistillationSuite": "distillation",
    "FormatSuite": "output_formats",
    "ModelSuite": "models",
    "OptimizerSuite": "optimizers",
    "PrunerSuite": "pruning",
    "QuantizerSuite": "quantizers",
    "RegularizerSuite": "regularizers",
    "Suite": "suite",
    "TeachingSuite": "teaching",
    "run_suite": "suite",
    "suites_of": "suite",
}
__all__ = [
    "CodecSuite",
    "DatasetSuite",
    "DistillationSuite",
    "FormatSuite",
    "ModelSuite",
    "OptimizerSuite",
    "PrunerSuite",
    "QuantizerSuite",
    "RegularizerSuite",
    "Suite",
    "TeachingSuite",
    "run_suite",
    "suites_of",
]


def __getattr__(name: str) -> Any:
    """Import a suite when it is first used, so that the suite of codecs needs no torch."""
    if name not in _PLACES:
        raise AttributeError(f"qacomp.testing has no {name}")
    return getattr(import_module(f"qacomp.testing.{_PLACES[name]}"), name)
