"""Conformance of a distillation loss: a finite scalar that is smallest where student and teacher agree."""

import torch
from torch import Tensor

from qacomp.testing.suite import Suite, expect
from qacomp.training.distillation_losses import distillation_loss


class DistillationSuite(Suite):
    """The contract of `register_distillation_loss`."""

    def logits(self, seed: int) -> Tensor:
        """Return random logits: (6, 5) float64."""
        return torch.randn(6, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def test_it_is_a_finite_scalar(self) -> None:
        """Check that the loss is finite at low and high temperatures, for large logits too."""
        for temperature in (0.5, 1.0, 4.0, 20.0):
            loss = distillation_loss(self.name)(self.logits(0).float() * 30, self.logits(1).float() * 30, temperature)
            expect(loss.shape == () and loss.dtype == torch.float32, "the loss is a float32 scalar")
            expect(torch.isfinite(loss), "the loss is finite")

    def test_agreement_is_best(self) -> None:
        """Check that a student with the teacher's logits has the smallest loss, and a gradient of zero."""
        find, teacher = distillation_loss(self.name), self.logits(1).float()
        student = teacher.clone().requires_grad_()
        least = find(student, teacher, 2.0)
        (gradient,) = torch.autograd.grad(least, student)
        expect(gradient.abs().max() < 1e-5, "the gradient vanishes where student and teacher agree")
        for seed in range(2, 8):
            expect(find(self.logits(seed).float(), teacher, 2.0) > least, "another student has a greater loss")

    def test_it_is_the_mean_over_the_batch(self) -> None:
        """Check that the loss of a batch is the mean of the losses of its samples."""
        find, student, teacher = distillation_loss(self.name), self.logits(0).float(), self.logits(1).float()
        each = torch.stack([find(student[i : i + 1], teacher[i : i + 1], 3.0) for i in range(len(student))])
        expect(torch.allclose(find(student, teacher, 3.0), each.mean(), rtol=1e-4), "the mean over the batch")

    def test_descending_brings_the_student_to_the_teacher(self) -> None:
        """Check that gradient descent brings the student's outputs nearer to the teacher's."""
        find, teacher = distillation_loss(self.name), self.logits(1).float()
        student = self.logits(0).float().requires_grad_()
        optimizer = torch.optim.Adam([student], lr=0.1)
        before = (student.softmax(1) - teacher.softmax(1)).abs().sum().item()
        for _ in range(50):
            optimizer.zero_grad()
            torch.autograd.backward(find(student, teacher, 2.0))
            optimizer.step()
        after = (student.softmax(1) - teacher.softmax(1)).abs().sum().item()
        expect(after < 0.5 * before, "fifty steps at least halve the difference of the outputs")
