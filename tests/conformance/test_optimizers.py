"""The contract of every optimizer; a new one is picked up by its file."""

import pytest
import torch

from qacomp.errors import ConfigError
from qacomp.options.method import MethodChoice, parse_method
from qacomp.testing import OptimizerSuite, suites_of
from qacomp.training.optimizers import OPTIMIZERS, make_optimizer

globals().update(suites_of(OptimizerSuite, [name for name in OPTIMIZERS.registry.here() if name != "adadelta"]))


class TestAdadelta(OptimizerSuite):
    name = "adadelta"
    lr = 1.0


def test_the_four_are_registered() -> None:
    assert {"adadelta", "adam", "adamw", "sgd"} <= set(OPTIMIZERS.names())


def test_hyper_parameters_reach_the_optimizer() -> None:
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": 0.1, "weight_decay": 0.0}]
    made = make_optimizer(parse_method("sgd:momentum=0.5,nesterov=true", "--optimizer"), groups, 0.1)
    assert made.defaults["momentum"] == 0.5 and made.defaults["nesterov"] is True
    made = make_optimizer(parse_method("adam:beta1=0.8", "--optimizer"), groups, 0.1)
    assert made.defaults["betas"] == (0.8, 0.999)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("none", "unknown optimizer 'none'"),
        ("sgd:momentum=2", "must lie between 0 and 1"),
        ("sgd:momentum=0,nesterov=true", "has no effect without momentum"),
        ("adagrad", "unknown optimizer 'adagrad'"),
    ],
)
def test_what_can_not_be_chosen(given: str, said: str) -> None:
    choice = MethodChoice("none") if given == "none" else parse_method(given, "--optimizer")
    with pytest.raises(ConfigError, match=said):
        make_optimizer(choice, [], 0.1)
