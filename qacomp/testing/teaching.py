"""Conformance of a way of distilling: whom it teaches, from whom, and how its loss weighs labels and teachers."""

import torch
import torch.nn.functional as F
from torch import Tensor

from qacomp.options.method import MethodChoice
from qacomp.testing.suite import Suite, expect
from qacomp.training.teaching import DISTILLATION, Lesson, TeachingOptions

CLASSES, SAMPLES = 5, 7


class TeachingSuite(Suite):
    """The contract of `register_teaching`."""

    def logits(self, count: int) -> list[Tensor]:
        """Return random logits of `count` sub-models, smallest first, with gradients."""
        generator = torch.Generator().manual_seed(count)
        return [(2 * torch.randn(SAMPLES, CLASSES, generator=generator)).requires_grad_() for _ in range(count)]

    def labels(self) -> Tensor:
        """Return classes, (SAMPLES,) int64."""
        return torch.arange(SAMPLES) % CLASSES

    def loss(self, logits: list[Tensor], weight: float) -> Tensor:
        """Return the method's loss at temperature 2."""
        return DISTILLATION.find(self.name)(logits, self.labels(), Lesson(weight, 2.0))

    def options(self) -> TeachingOptions:
        """Return the method's hyper-parameters, all at their defaults."""
        found: TeachingOptions = DISTILLATION.options(MethodChoice(self.name))
        return found

    def test_the_loss_is_a_number_for_any_number_of_sub_models(self) -> None:
        """Check that one to four sub-models give a finite scalar, and each of them a gradient."""
        for count in (1, 2, 3, 4):
            logits = self.logits(count)
            loss = self.loss(logits, 0.5)
            expect(loss.shape == () and loss.dtype == torch.float32, "the loss is a scalar float32")
            expect(bool(torch.isfinite(loss)), "the loss is finite")
            torch.autograd.backward(loss)
            learned = all(z.grad is not None and z.grad.abs().sum().item() > 0 for z in logits)
            expect(learned, "every sub-model learns")

    def test_without_weight_only_labels_count(self) -> None:
        """Check that λ = 0 gives the sum of all cross-entropies."""
        logits = self.logits(3)
        plain = sum(F.cross_entropy(z, self.labels()).item() for z in logits)
        expect(abs(self.loss(logits, 0.0).item() - plain) < 1e-4, "λ = 0 gives the sum of all cross-entropies")

    def test_the_largest_learns_from_the_labels_alone(self) -> None:
        """Check that teaching moves no teacher: the largest sub-model's gradient is that of its cross-entropy."""
        logits = self.logits(3)
        torch.autograd.backward(self.loss(logits, 1.0))
        alone = logits[-1].detach().clone().requires_grad_()
        torch.autograd.backward(F.cross_entropy(alone, self.labels()))
        assert alone.grad is not None and logits[-1].grad is not None
        expect(torch.allclose(alone.grad, logits[-1].grad, atol=1e-6), "the largest learns from the labels alone")

    def test_equal_sub_models_have_nothing_to_learn_from_each_other(self) -> None:
        """Check that λ = 1 leaves the largest's cross-entropy, if sub-models teach each other and are equal."""
        (same,) = self.logits(1)
        equal = [same.detach().clone().requires_grad_() for _ in range(3)]
        count = 1 if self.options().among_submodels else len(equal)
        wanted = count * F.cross_entropy(same, self.labels()).item()
        expect(abs(self.loss(equal, 1.0).item() - wanted) < 1e-4, "equal sub-models learn nothing from each other")

    def test_smaller_sub_models_follow_larger_ones(self) -> None:
        """Check that steps on the loss bring the smallest sub-model's outputs to the others', if they teach it."""
        if not self.options().among_submodels:
            return
        student, *teachers = self.logits(3)
        target = teachers[0].detach().clone()
        larger = [target.clone().requires_grad_() for _ in teachers]
        before = (student.softmax(1) - target.softmax(1)).abs().sum().item()
        optimizer = torch.optim.Adam([student], lr=0.1)
        for _ in range(50):
            optimizer.zero_grad()
            torch.autograd.backward(self.loss([student, *larger], 1.0))
            optimizer.step()
        after = (student.softmax(1) - target.softmax(1)).abs().sum().item()
        expect(after < 0.5 * before, "fifty steps at least halve the difference of the outputs")

    def test_its_default_weight_is_a_share(self) -> None:
        """Check that λ lies between 0 and 1 if none is given."""
        expect(0 <= self.options().default_weight <= 1, "the default weight must be between 0 and 1")
