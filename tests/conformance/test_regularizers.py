"""What every registered regularizer must hold, whatever its formula."""

import itertools

import pytest
import torch

from qacomp.training.regularizers import Regularizer, build_regularizers, list_regularizers
from qacomp.training.regularizers.blocks import BLOCK

NAMES = list_regularizers()


def layer(seed: int = 0, shape: tuple[int, ...] = (40, 25)) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.1


def built(name: str, weight: torch.Tensor, k: int) -> Regularizer:
    """Evaluation mode: what a penalty takes from the weights without gradient stays as it was when it was built."""
    return build_regularizers(name, {"w": weight}, {"w": k})["w"].eval()


def test_the_papers_five_are_registered() -> None:
    assert {"sin", "cos", "min", "exp", "sinreq"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("k", [2, 3, 8, 64])
class TestEveryRegularizer:
    def test_each_level_is_a_zero_of_the_penalty(self, name: str, k: int) -> None:
        penalty = built(name, layer(), k).double()
        levels = penalty.representatives().double()
        assert levels.numel() == k
        for level in levels:
            assert penalty(level[None]).item() == pytest.approx(0.0, abs=1e-4)

    def test_levels_ascend(self, name: str, k: int) -> None:
        levels = built(name, layer(), k).representatives()
        assert (levels[1:] > levels[:-1]).all()

    def test_every_midpoint_is_worse_than_its_neighbourhood(self, name: str, k: int) -> None:
        penalty = built(name, layer(), k).double()
        levels = penalty.representatives().detach().double()
        for low, high in itertools.pairwise(levels):
            middle, nudge = (low + high) / 2, (high - low) / 10
            worst = penalty(middle[None])
            assert worst > penalty((middle - nudge)[None])
            assert worst > penalty((middle + nudge)[None])

    def test_the_value_is_the_mean_over_the_layer(self, name: str, k: int) -> None:
        weight = layer(shape=(6, 5))
        penalty = built(name, weight, k).double()
        each = torch.stack([penalty(w[None]) for w in weight.reshape(-1)])
        torch.testing.assert_close(penalty(weight), each.mean())

    def test_gradients_agree_with_finite_differences(self, name: str, k: int) -> None:
        weight = layer(3, (4, 5)).requires_grad_()  # other weights than it is built from: those may lie on a kink
        penalty = built(name, layer(), k).double()
        assert torch.autograd.gradcheck(lambda w: penalty(w), (weight,), eps=1e-7, atol=1e-5)
        for parameter in penalty.parameters():
            original = parameter.data.clone()

            def value(u: torch.Tensor, parameter: torch.nn.Parameter = parameter) -> torch.Tensor:
                result: torch.Tensor = torch.func.functional_call(penalty, {"u": u}, (weight.detach(),))
                return result

            assert torch.autograd.gradcheck(value, (original.requires_grad_(),), eps=1e-7, atol=1e-5)

    def test_descending_gathers_the_weights_at_the_levels(self, name: str, k: int) -> None:
        weight = layer(5).float().requires_grad_()
        penalty = built(name, weight, k)
        before = penalty(weight).item()
        levels = penalty.representatives().detach()
        spacing = float((levels[1:] - levels[:-1]).mean())
        for _ in range(60):
            (gradient,) = torch.autograd.grad(penalty(weight), weight)
            with torch.no_grad():
                weight -= gradient / gradient.abs().max() * spacing / 60
        assert penalty(weight).item() < 0.9 * before

    def test_the_kernel_is_the_textbook_form(self, name: str, k: int) -> None:
        weight = layer(9, (BLOCK + 777,)).float()
        penalty = built(name, weight, k)
        assert penalty.kernel() is not None
        value = penalty(weight.requires_grad_())
        exact = built(name, weight, k).double()
        double = weight.detach().double().requires_grad_()
        expected = exact.reference(double)
        torch.testing.assert_close(value.double(), expected, atol=1e-7, rtol=1e-5)
        got = torch.autograd.grad(value, [weight, *penalty.parameters()])
        want = torch.autograd.grad(expected, [double, *exact.parameters()])
        smooth = torch.ones(len(weight), dtype=torch.bool)  # rounding may put a weight past a kink
        for nudge in (1e-6, -1e-6):
            (nudged,) = torch.autograd.grad(exact.reference(double + nudge), double)
            smooth &= (nudged - want[0]).abs() < 0.1 * want[0].abs().max()
        assert smooth.float().mean() > 0.99
        torch.testing.assert_close(
            got[0][smooth].double(), want[0][smooth], atol=1e-4 * want[0].abs().max().item(), rtol=1e-4
        )
        for g, w in zip(got[1:], want[1:], strict=True):
            torch.testing.assert_close(g.double(), w, atol=1e-8, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_of_equal_weights_has_a_finite_penalty(name: str) -> None:
    weight = torch.full((3, 3), 0.25)
    penalty = build_regularizers(name, {"w": weight}, {"w": 4})["w"]
    assert torch.isfinite(penalty(weight))
