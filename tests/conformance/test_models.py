"""The contract of every registered model; a new family is picked up by being registered.

Each model is built once for all its tests: the fixtures' scope makes pytest group them by name.
"""

import pytest
import torch
from torch import Tensor, nn

from qacomp.models import create_model, list_models, model_info
from qacomp.models.flexible import FlexibleModel


@pytest.fixture(scope="module", params=list_models())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str) -> nn.Module:
    return seeded(name, 0)


@pytest.fixture(scope="module")
def x(name: str) -> Tensor:
    return torch.randn(4, *model_info(name).input_shape, generator=torch.Generator().manual_seed(0))


def seeded(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return create_model(name)


def test_logits_have_the_declared_shape(name: str, model: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        logits = model.eval()(x[:3])
    assert logits.shape == (3, model_info(name).num_classes) and logits.dtype == torch.float32
    assert bool(torch.isfinite(logits).all())


def test_any_number_of_classes(name: str, x: Tensor) -> None:
    with torch.device("meta"):
        assert create_model(name, 7).eval()(x[:3].to("meta")).shape == (3, 7)


def test_info_agrees_with_itself(name: str) -> None:
    info = model_info(name)
    info.preprocessing.validate()
    assert info.name == name and info.description
    assert info.preprocessing.input_shape == info.input_shape


def test_the_seed_decides_the_initial_weights_and_the_state_round_trips(name: str, model: nn.Module, x: Tensor) -> None:
    names = [parameter for parameter, _ in model.named_parameters(remove_duplicate=False)]
    assert len(names) == len(set(names)) > 0
    same = seeded(name, 0)
    for mine, its in zip(model.parameters(), same.parameters(), strict=True):
        assert torch.equal(mine, its)
    del same
    other = seeded(name, 1)
    assert not all(torch.equal(mine, its) for mine, its in zip(model.parameters(), other.parameters(), strict=True))
    other.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(model.eval()(x[:2]), other.eval()(x[:2]))


def test_every_parameter_gets_a_gradient(model: nn.Module, x: Tensor) -> None:
    """In a flexible model from its sub-models together: an exit's head serves that exit alone."""
    torch.manual_seed(0)  # of dropout
    twin = model.train()
    every = twin.forward_all(x) if isinstance(twin, FlexibleModel) else [twin(x)]
    loss = sum(nn.functional.cross_entropy(logits, torch.arange(4)) for logits in every)
    assert isinstance(loss, Tensor)
    torch.autograd.backward(loss)
    without = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    model.zero_grad(set_to_none=True)
    assert not without
