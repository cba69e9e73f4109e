"""The contract of every registered model; a new family is picked up by being registered."""

import pytest
import torch

from qacomp.models import create_model, list_models, model_info

pytestmark = pytest.mark.parametrize("name", list_models())


def test_logits_have_the_declared_shape(name: str) -> None:
    info = model_info(name)
    for num_classes in (info.num_classes, 7):
        model = create_model(name, num_classes).eval()
        logits = model(torch.randn(3, *info.input_shape))
        assert logits.shape == (3, num_classes) and logits.dtype == torch.float32
        assert bool(torch.isfinite(logits).all())


def test_info_agrees_with_itself(name: str) -> None:
    info = model_info(name)
    info.preprocessing.validate()
    assert info.name == name and info.description
    assert info.preprocessing.input_shape == info.input_shape


def test_names_are_unique_and_the_state_round_trips(name: str) -> None:
    model, other = create_model(name).eval(), create_model(name).eval()
    names = [parameter for parameter, _ in model.named_parameters(remove_duplicate=False)]
    assert len(names) == len(set(names)) > 0
    other.load_state_dict(model.state_dict(), strict=True)
    x = torch.randn(2, *model_info(name).input_shape)
    assert torch.equal(model(x), other(x))


def test_the_seed_decides_the_initial_weights(name: str) -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(torch.cat([parameter.flatten() for parameter in create_model(name).parameters()]))
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = create_model(name)
    logits = model(torch.randn(4, *model_info(name).input_shape))
    torch.autograd.backward(torch.nn.functional.cross_entropy(logits, torch.arange(4)))
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in model.parameters())
