"""Conformance of an optimizer: it descends, respects its groups, is deterministic, and resumes from a saved state."""

import copy

import torch
from torch import nn
from torch.optim import Optimizer

from qacomp.options.method import MethodChoice
from qacomp.testing.suite import Suite, expect
from qacomp.training.optimizers import OPTIMIZERS, make_optimizer


class OptimizerSuite(Suite):
    """The contract of `register_optimizer`. `lr`: a learning rate that suits weights and inputs of about 1."""

    lr = 0.05

    def problem(self) -> tuple[nn.Linear, Optimizer]:
        """Return a module with two parameters, and an optimizer with a group for each; the bias has learning rate 0."""
        torch.manual_seed(0)
        model = nn.Linear(6, 3)
        groups = [
            {"params": [model.weight], "lr": self.lr, "weight_decay": 0.0},
            {"params": [], "lr": self.lr, "weight_decay": 0.0},
            {"params": [model.bias], "lr": 0.0, "weight_decay": 0.0},
        ]
        return model, make_optimizer(MethodChoice(self.name), groups, self.lr)

    def steps(self, model: nn.Linear, optimizer: Optimizer, count: int) -> float:
        """Take `count` steps on a least-squares problem; return the loss afterwards."""
        x = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
        y = x @ torch.linspace(-1, 1, 18).reshape(6, 3)
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward((model(x) - y).square().mean())
            optimizer.step()
        left: float = (model(x) - y).square().mean().item()
        return left

    def test_it_descends(self) -> None:
        """Check that two hundred steps at least halve the loss."""
        model, optimizer = self.problem()
        before = self.steps(model, optimizer, 0)
        expect(self.steps(model, optimizer, 200) < 0.5 * before, "two hundred steps at least halve the loss")

    def test_each_group_has_its_own_rate(self) -> None:
        """Check that a group with learning rate 0 doesn't change."""
        model, optimizer = self.problem()
        bias = model.bias.detach().clone()
        self.steps(model, optimizer, 5)
        expect(torch.equal(model.bias, bias), "a group with learning rate 0 must not change")

    def test_it_repeats_itself(self) -> None:
        """Check that the same start gives the same weights, bit for bit."""
        first, second = self.problem(), self.problem()
        self.steps(*first, 7)
        self.steps(*second, 7)
        expect(torch.equal(first[0].weight, second[0].weight), "the same start gives the same weights")

    def test_it_goes_on_from_its_state(self) -> None:
        """Check that training resumed from a saved state gives the same weights as an uninterrupted one."""
        model, optimizer = self.problem()
        self.steps(model, optimizer, 4)
        weights, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
        self.steps(model, optimizer, 4)
        again, resumed = self.problem()
        again.load_state_dict(weights)
        resumed.load_state_dict(state)
        self.steps(again, resumed, 4)
        expect(torch.equal(model.weight, again.weight), "a restored optimizer must continue exactly")

    def test_its_damping_is_what_it_says(self) -> None:
        """Check that a constant gradient of 1 moves a weight by lr / damping in each step, if damping isn't None."""
        damping = OPTIMIZERS.options(MethodChoice(self.name)).damping
        if damping is None:
            return
        weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        groups = [{"params": [weight], "lr": self.lr, "weight_decay": 0.0}]
        optimizer = make_optimizer(MethodChoice(self.name), groups, self.lr)
        last = 0.0
        for _ in range(400):
            last = weight.item()
            weight.grad = torch.ones_like(weight)
            optimizer.step()
        expect(abs((last - weight.item()) * damping / self.lr - 1) < 0.01, "steps must approach lr / damping")
