"""The losses of flexible networks against equations (1)-(7), written out in float64."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from qacomp.errors import ConfigError
from qacomp.training.distillation import flexible_loss, guided_loss
from qacomp.training.teaching import Lesson

Array = NDArray[np.float64]
WEIGHT, Y = 0.8, np.array([0, 3, 1, 2, 2, 1])

DIVERGENCES = ("kl", "cross-entropy")
STRATEGIES = ("none", "ipkd", "ta-1", "ta-m")


def logits(n: int = 4, seed: int = 0) -> list[Tensor]:
    """Those of n sub-models for six samples of four classes."""
    generator = torch.Generator().manual_seed(seed)
    return [(3 * torch.randn(6, 4, generator=generator)).requires_grad_() for _ in range(n)]


def softmax(a: Array) -> Array:
    e = np.exp(a - a.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def ce(a: Array) -> float:
    return float(np.mean([-np.log(row[y]) for row, y in zip(softmax(a), Y, strict=True)]))


def kd(student: Array, teacher: Array, tau: float, divergence: str) -> float:
    total = 0.0
    for s, t in zip(softmax(student / tau), softmax(teacher / tau), strict=True):
        for x, z in zip(t, s, strict=True):
            total += x * np.log(x / z) if divergence == "kl" else -x * np.log(z)
    return tau**2 * total / len(student)


def written_out(strategy: str, a: list[Array], tau: float, divergence: str) -> float:
    n = len(a)
    if strategy == "none":
        return sum(ce(a[i]) for i in range(n))
    loss = ce(a[n - 1]) + (1 - WEIGHT) * sum(ce(a[i]) for i in range(n - 1))
    for i in range(1, n):  # as in the paper, sub-models count from 1
        if strategy == "ipkd":
            loss += WEIGHT * kd(a[i - 1], a[n - 1], tau, divergence)
        elif strategy == "ta-1":
            loss += WEIGHT * kd(a[i - 1], a[i], tau, divergence)
        else:
            for j in range(i + 1, n + 1):
                loss += WEIGHT / (n - i) * kd(a[i - 1], a[j - 1], tau, divergence)
    return loss


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("tau", [1.0, 5.0])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_loss_is_its_equation(strategy: str, tau: float, divergence: str) -> None:
    students = logits()
    a = [z.detach().double().numpy() for z in students]
    loss = flexible_loss(strategy, students, torch.from_numpy(Y), Lesson(WEIGHT, tau, divergence))
    assert loss.item() == pytest.approx(written_out(strategy, a, tau, divergence), rel=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_guide_is_one_more_sub_model_that_learns_nothing(strategy: str) -> None:
    *students, guide = logits(4)
    a = [z.detach().double().numpy() for z in (*students, guide)]
    loss = guided_loss(strategy, students, guide, torch.from_numpy(Y), Lesson(WEIGHT, 2.0))
    torch.autograd.backward(loss)
    alone = strategy == "none"
    expected = written_out(strategy, a[:-1] if alone else a, 2.0, "kl") - (0 if alone else ce(a[-1]))
    assert loss.item() == pytest.approx(expected, rel=1e-5) and guide.grad is None
    lessons = WEIGHT * kd(a[2], a[3], 2.0, "kl") + (1 - WEIGHT) * ce(a[2])  # of the largest that learns
    plain = flexible_loss(strategy, students, torch.from_numpy(Y), Lesson(WEIGHT, 2.0))
    if strategy == "ta-1":
        assert loss.item() == pytest.approx(plain.item() - ce(a[2]) + lessons, rel=1e-5)


def test_one_student_and_a_teacher_outside_it() -> None:
    student, teacher = logits(2)
    expected = 0.2 * ce(student.detach().double().numpy()) + 0.8 * kd(
        student.detach().double().numpy(), teacher.detach().double().numpy(), 2.0, "kl"
    )
    assert Lesson(WEIGHT, 2.0).taught(student, [teacher], torch.from_numpy(Y)).item() == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("strategy", ["ipkd", "ta-1", "ta-m"])
def test_teaching_moves_no_teacher(strategy: str) -> None:
    """With λ = 1 a sub-model's gradient comes from its own lessons: the largest has its labels' alone."""
    students = logits()
    torch.autograd.backward(flexible_loss(strategy, students, torch.from_numpy(Y), Lesson(1.0, 2.0)))
    largest = students[-1].detach().clone().requires_grad_()
    torch.autograd.backward(torch.nn.functional.cross_entropy(largest, torch.from_numpy(Y)))
    assert largest.grad is not None and students[-1].grad is not None
    torch.testing.assert_close(students[-1].grad, largest.grad)
    for student in students[:-1]:
        assert student.grad is not None and student.grad.abs().sum() > 0


def test_both_divergences_have_one_gradient() -> None:
    gradients = []
    for divergence in DIVERGENCES:
        student, teacher = logits(2)
        torch.autograd.backward(Lesson(1.0, 3.0, divergence).distance(student, teacher))
        assert teacher.grad is None and student.grad is not None
        gradients.append(student.grad)
    torch.testing.assert_close(*gradients)


def test_a_student_that_equals_its_teachers_has_nothing_to_learn_from_them() -> None:
    (same,) = logits(1)
    equal = [same.detach().clone().requires_grad_() for _ in range(3)]
    loss = flexible_loss("ta-m", equal, torch.from_numpy(Y), Lesson(1.0, 4.0))
    assert loss.item() == pytest.approx(ce(same.detach().double().numpy()), rel=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_single_sub_model_learns_from_the_labels(strategy: str) -> None:
    (student,) = logits(1)
    loss = flexible_loss(strategy, [student], torch.from_numpy(Y), Lesson(WEIGHT, 2.0))
    assert loss.item() == pytest.approx(ce(student.detach().double().numpy()), rel=1e-5)


def test_an_unknown_strategy_is_named() -> None:
    with pytest.raises(ConfigError, match="known are ipkd, kd, ta-1, ta-m"):
        flexible_loss("teacher", logits(), torch.from_numpy(Y), Lesson(WEIGHT, 2.0))
