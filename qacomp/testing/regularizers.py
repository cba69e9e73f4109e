"""Conformance of a regularizer: its zeros, its gradients, and its kernel if it has one."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from qacomp.testing.suite import Suite, expect
from qacomp.training.regularizers import Regularizer, build_regularizers
from qacomp.training.regularizers.blocks import BLOCK


def layer(seed: int = 0, shape: tuple[int, ...] = (40, 25)) -> Tensor:
    """Return normally distributed weights of `shape`, float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.1


class RegularizerSuite(Suite):
    """The contract of `register_regularizer`. `ks`: the numbers of representatives to test."""

    ks: tuple[int, ...] = (2, 3, 8, 64)

    def built(self, weight: Tensor, k: int) -> Regularizer:
        """Return a penalty for `weight` in evaluation mode, so that its statistics of the weights stay fixed."""
        return build_regularizers(self.name, {"w": weight}, {"w": k})["w"].eval()

    def each(self, weight: Tensor | None = None) -> list[tuple[int, Regularizer]]:
        """Return (k, penalty in float64) for each number of representatives."""
        given = layer() if weight is None else weight
        return [(k, self.built(given, k).double()) for k in self.ks]

    def test_each_level_is_a_zero_of_the_penalty(self) -> None:
        """Check that there are K representatives, ascending, and that the penalty is zero at each of them."""
        for k, penalty in self.each():
            levels = penalty.representatives().double()
            expect(levels.numel() == k and bool((levels[1:] > levels[:-1]).all()), "levels are K ascending numbers")
            for level in levels:
                expect(abs(penalty(level[None]).item()) <= 1e-4, f"k = {k}: the penalty is zero at {level.item()}")

    def test_every_midpoint_is_worse_than_its_neighbourhood(self) -> None:
        """Check that the penalty at the midpoint of two representatives is larger than beside the midpoint."""
        for k, penalty in self.each():
            for low, high in itertools.pairwise(penalty.representatives().detach().double()):
                middle, nudge = (low + high) / 2, (high - low) / 10
                worst = penalty(middle[None])
                near = torch.stack([penalty((middle - nudge)[None]), penalty((middle + nudge)[None])])
                expect(bool((worst > near).all()), f"k = {k}: a midpoint is worse than its neighbourhood")

    def test_the_value_is_the_mean_over_the_layer(self) -> None:
        """Check that the penalty of a layer is the mean of the penalties of its weights."""
        weight = layer(shape=(6, 5))
        for _, penalty in self.each(weight):
            each = torch.stack([penalty(w[None]) for w in weight.reshape(-1)])
            torch.testing.assert_close(penalty(weight), each.mean())

    def test_gradients_agree_with_finite_differences(self) -> None:
        """Check the gradients with respect to the weights, and to learned parameters of the penalty."""
        weight = layer(3, (4, 5)).requires_grad_()  # other weights than it is built from, which may lie on a kink
        for _, penalty in self.each():

            def plain(w: Tensor, penalty: Regularizer = penalty) -> Tensor:
                value: Tensor = penalty(w)
                return value

            check(plain, weight)
            for name, parameter in list(penalty.named_parameters()):

                def of_parameter(u: Tensor, name: str = name, penalty: Regularizer = penalty) -> Tensor:
                    value: Tensor = torch.func.functional_call(penalty, {name: u}, (weight.detach(),))
                    return value

                check(of_parameter, parameter.data.clone().requires_grad_())

    def test_descending_gathers_the_weights_at_the_levels(self) -> None:
        """Check that gradient descent on the penalty makes it smaller."""
        for k in self.ks:
            weight = layer(5).float().requires_grad_()
            penalty = self.built(weight.detach(), k)
            before = penalty(weight).item()
            levels = penalty.representatives().detach()
            spacing = float((levels[1:] - levels[:-1]).mean())
            for _ in range(60):
                (gradient,) = torch.autograd.grad(penalty(weight), weight)
                with torch.no_grad():
                    weight -= gradient / gradient.abs().max() * spacing / 60
            expect(penalty(weight).item() < 0.9 * before, f"k = {k}: descending makes the penalty smaller")

    def test_a_layer_of_equal_weights_has_a_finite_penalty(self) -> None:
        """Check that a layer whose weights are all equal has a finite penalty, so that training can go on."""
        weight = torch.full((3, 3), 0.25)
        penalty = build_regularizers(self.name, {"w": weight}, {"w": 4})["w"]
        expect(bool(torch.isfinite(penalty(weight))), "equal weights have a finite penalty")

    def test_the_kernel_is_the_plain_form(self) -> None:
        """Check that a kernel's value and gradients are those of `reference`, over several blocks."""
        for k in self.ks:
            weight = layer(9, (BLOCK + 777,)).float()
            penalty = self.built(weight, k)
            if penalty.kernel() is None:
                return
            value = penalty(weight.requires_grad_())
            exact = self.built(weight.detach(), k).double()
            double = weight.detach().double().requires_grad_()
            expected = exact.reference(double)
            torch.testing.assert_close(value.double(), expected, atol=1e-7, rtol=1e-5)
            got = torch.autograd.grad(value, [weight, *penalty.parameters()])
            want = torch.autograd.grad(expected, [double, *exact.parameters()])
            smooth = torch.ones(len(weight), dtype=torch.bool)  # rounding may put a weight past a kink
            for nudge in (1e-6, -1e-6):
                (nudged,) = torch.autograd.grad(exact.reference(double + nudge), double)
                smooth &= (nudged - want[0]).abs() < 0.1 * want[0].abs().max()
            expect(smooth.float().mean() > 0.99, "the slope is smooth almost everywhere")
            most = 1e-4 * want[0].abs().max().item()
            torch.testing.assert_close(got[0][smooth].double(), want[0][smooth], atol=most, rtol=1e-4)
            for g, w in zip(got[1:], want[1:], strict=True):
                torch.testing.assert_close(g.double(), w, atol=1e-8, rtol=1e-4)


def check(function: Callable[[Tensor], Tensor], at: Tensor) -> None:
    """Check a function's gradient against finite differences. Raises AssertionError if they differ."""
    expect(torch.autograd.gradcheck(function, (at,), eps=1e-7, atol=1e-5), "gradients agree with finite differences")
