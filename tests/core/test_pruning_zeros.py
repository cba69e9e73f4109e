"""Pruned weights are part of no cluster: levels, penalties, strengths and quantizers see the living weights alone."""

import pytest
import torch
from torch import Tensor, nn

from qacomp.models.weight_places import split_name
from qacomp.sharing.zero_entry import with_masked_zero
from qacomp.training.parametrizations.straight_through import StraightThrough, install
from qacomp.training.parametrizations.zeros import ZeroMask
from qacomp.training.quantizers import list_quantizers, quantize_network, take_levels
from qacomp.training.regularizers import Regularizer, accumulate_penalties, build_regularizers, list_regularizers
from qacomp.training.strength import balance

NAME = "weight"


def pruned_layer(rows: int = 300) -> tuple[nn.Linear, nn.Linear, Tensor]:
    """A layer of which 80 % is zero, one that holds its other weights alone, and the mask."""
    torch.manual_seed(0)
    whole, living = nn.Linear(100, rows, bias=False), nn.Linear(20 * rows, 1, bias=False)
    mask = torch.rand(rows, 100).argsort(dim=1) < 20  # 20 in a row
    with torch.no_grad():
        whole.weight.normal_(0.5, 0.3).mul_(mask)
        living.weight.copy_(whole.weight[mask][None])
    return whole, living, mask


def penalty_of(name: str, layer: nn.Module) -> Regularizer:
    return build_regularizers(name, {NAME: layer.get_parameter(NAME).detach()}, {NAME: 4})[NAME]


@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("name", list_regularizers())
def test_a_penalty_is_that_of_the_living_weights(name: str, slices: int) -> None:
    whole, living, mask = pruned_layer()
    gradients, values = [], []
    for module, masks in ((whole, {NAME: mask}), (living, None)):
        penalty = penalty_of(name, living).train()
        penalty.divide(slices)
        module.weight.grad = torch.ones_like(module.weight)  # what the task left
        value = accumulate_penalties(module, {NAME: penalty}, 2.0, masks)
        values.append(float(value))
        assert module.weight.grad is not None
        gradients.append([module.weight.grad, *[p.grad for p in penalty.parameters() if p.grad is not None]])
    (dense, *of_levels), (alone, *expected) = gradients
    assert values[0] == pytest.approx(values[1])
    assert (dense[~mask] == 1).all() and (alone != 1).any()
    torch.testing.assert_close(dense[mask], alone[0])
    assert len(of_levels) == len(expected)
    for a, b in zip(of_levels, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_the_balanced_strength_is_that_of_the_living_weights() -> None:
    whole, living, mask = pruned_layer()
    penalties = {NAME: penalty_of("exp", living)}
    expected = balance(living, penalties, 0.5, 3.0)[NAME]
    found = balance(whole, penalties, 0.5, 3.0, {NAME: mask})[NAME]
    assert found.strength == pytest.approx(expected.strength)
    assert found.lr_levels(1.0) == pytest.approx(expected.lr_levels(1.0))
    assert balance(whole, penalties, 0.5, 3.0)[NAME].strength != pytest.approx(expected.strength, rel=0.05)


def test_straight_through_levels_learn_from_living_weights_alone() -> None:
    whole, living, mask = pruned_layer()
    steps = []
    for module, own in ((whole, mask), (living, None)):
        levels = penalty_of("min", living)
        install(*split_name(module.eval(), NAME), levels, 0.5, mask=own)
        if own is not None:
            torch.nn.utils.parametrize.register_parametrization(module, NAME, ZeroMask(own))
        (module.train().weight ** 2).sum().backward()  # type: ignore[no-untyped-call]
        part = module.get_submodule("parametrizations.weight.0")
        assert isinstance(part, StraightThrough)
        steps.append((next(levels.parameters()).grad, part.shares))
    for found, expected in zip(*steps, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("bits", [1, 3])
@pytest.mark.parametrize("name", list_quantizers())
def test_a_quantizer_fits_the_living_weights(name: str, bits: int) -> None:
    whole, living, mask = pruned_layer()
    quantize_network(whole, {NAME: bits}, name, scaled=True, masks={NAME: mask})
    quantize_network(living, {NAME: bits}, name, scaled=True)
    torch.testing.assert_close(whole.weight[mask], living.weight[0])
    assert (whole.weight[~mask] == 0).all()
    expected = whole.weight.detach().numpy()
    codebook, indices, zero = with_masked_zero(*take_levels(whole, NAME), mask.numpy())
    assert (codebook[indices] == expected).all() and (indices[~mask.numpy()] == zero).all()
    assert (codebook == 0).sum() == 1 and len(codebook) <= 2**bits + 1
