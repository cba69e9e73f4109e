"""The contract of every distillation loss; a new one is picked up by its file."""

from qacomp.testing import DistillationSuite, suites_of
from qacomp.training.distillation_losses import list_distillation_losses

globals().update(suites_of(DistillationSuite, list_distillation_losses()))


def test_the_three_are_registered() -> None:
    assert {"kl", "cross-entropy", "mse"} <= set(list_distillation_losses())
