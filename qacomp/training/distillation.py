"""Losses of a flexible network: each smaller sub-model learns from the labels and from larger ones (IPKD-TA).

Equations (1)-(7) of Ozerov and Duong (2021), over the logits of all sub-models, smallest first. Equation (2) as printed
has the student's distribution first; here it is KL(teacher ∥ student), as in knowledge distillation and in the soft
cross-entropy that the paper allows instead. A teacher's logits are constants.

When a trained network is compressed, the network before compression is a better teacher than the largest sub-model,
whose weights get the gradients of all others: `guided_loss` adds it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qacomp.models.flexible import FlexibleModel
from qacomp.options.declaration import FRACTION, POSITIVE, Need, Option, option
from qacomp.options.method import MethodChoice
from qacomp.options.method_table import MethodTable
from qacomp.options.registry import Registry, check_by
from qacomp.training.distillation_losses import distillation_loss

STRATEGIES = ("none", "ipkd", "ta-1", "ta-m")


def cross_entropy(student: Tensor, y: Tensor) -> Tensor:
    """Return eq. (1), averaged over the batch: student (B, classes) logits, y (B,) int64 -> scalar float32."""
    return F.cross_entropy(student.float(), y)


def distillation(student: Tensor, teacher: Tensor, temperature: float, divergence: str = "kl") -> Tensor:
    """Return eq. (2), τ²·KL(softmax(teacher/τ) ∥ softmax(student/τ)), or another distance: scalar float32.

    The result is averaged over the batch. student, teacher: (B, classes) logits; no gradient passes to the teacher's;
    divergence: a registered loss (see `qacomp.training.distillation_losses`). Raises ConfigError for an unknown one.
    """
    return distillation_loss(divergence)(student, teacher.detach().float(), temperature)


def taught(
    student: Tensor, teacher: Tensor, y: Tensor, weight: float, temperature: float, divergence: str = "kl"
) -> Tensor:
    """Return eq. (3), (1 − λ)·CE + λ·KD, for one student and another network as teacher; weight: λ, 0 .. 1."""
    mixed: Tensor = (1 - weight) * cross_entropy(student, y)
    return mixed + weight * distillation(student, teacher, temperature, divergence)


def supervised(logits: Sequence[Tensor], y: Tensor) -> Tensor:
    """Return eq. (4), the sum of the cross-entropies of all sub-models: scalar float32."""
    return torch.stack([cross_entropy(student, y) for student in logits]).sum()


def ipkd(logits: Sequence[Tensor], y: Tensor, weight: float, temperature: float, divergence: str = "kl") -> Tensor:
    """Return eq. (5): the largest sub-model learns from the labels, and teaches all others."""
    last = len(logits) - 1
    return _inplace(logits, y, [[last]] * last, weight, temperature, divergence)


def ipkd_ta_1(logits: Sequence[Tensor], y: Tensor, weight: float, temperature: float, divergence: str = "kl") -> Tensor:
    """Return eq. (6): each sub-model is taught by the next larger one, its only teacher assistant."""
    return _inplace(logits, y, [[i + 1] for i in range(len(logits) - 1)], weight, temperature, divergence)


def ipkd_ta_m(logits: Sequence[Tensor], y: Tensor, weight: float, temperature: float, divergence: str = "kl") -> Tensor:
    """Return eq. (7): each sub-model is taught by all larger ones, with equal weights."""
    n = len(logits)
    return _inplace(logits, y, [list(range(i + 1, n)) for i in range(n - 1)], weight, temperature, divergence)


@dataclass(frozen=True)
class DistillationOptions:
    """Hyper-parameters of every kind of distillation."""

    weight: float | None = option(
        None, Option("Share of the teachers in the loss.", bounds=FRACTION, shown="0.8, for kd 0.9")
    )
    temperature: float | None = option(
        None,
        Option(
            "Temperature of the softened outputs.",
            bounds=POSITIVE,
            needs=(Need(lambda o: o.softened, "with loss=mse, which compares outputs as they are"),),
            shown="2, for exits 5, for widths and levels 1",
        ),
    )
    loss: str = option(
        "kl",
        Option(
            "Distance between a student's outputs and a teacher's.",
            registry="qacomp.training.distillation_losses:list_distillation_losses",
            check=check_by("qacomp.training.distillation_losses:distillation_loss"),
        ),
    )

    @property
    def softened(self) -> bool:
        """Return whether the loss has a temperature."""
        return self.loss != "mse"


FlexibleLoss: TypeAlias = Callable[[Sequence[Tensor], Tensor, float, float, str], Tensor]
"""(logits of all sub-models, smallest first, y, weight, temperature, divergence) -> scalar float32."""

DISTILLATION: MethodTable[FlexibleLoss] = MethodTable(
    "distill", DistillationOptions, Registry("distillation", "qacomp.training.distillation", "qacomp.teaching")
)
DISTILLATION.register("kd")(lambda logits, y, *_: supervised(logits, y))  # the teacher is outside the network
DISTILLATION.register("ipkd")(ipkd)
DISTILLATION.register("ta-1")(ipkd_ta_1)
DISTILLATION.register("ta-m")(ipkd_ta_m)


def flexible_loss(
    strategy: str, logits: Sequence[Tensor], y: Tensor, weight: float, temperature: float, divergence: str = "kl"
) -> Tensor:
    """Return the loss called `strategy` (none, ipkd, ta-1, ta-m): scalar float32.

    logits: one tensor (B, classes) for each sub-model, smallest first; for a single sub-model all losses are its
    cross-entropy. weight: λ; temperature: τ. Raises ConfigError for an unknown name.
    """
    if strategy == "none":
        return supervised(logits, y)
    return DISTILLATION.find(strategy)(logits, y, weight, temperature, divergence)


def guided_loss(strategy: str, logits: Sequence[Tensor], guide: Tensor, y: Tensor, *how: Any) -> Tensor:
    """Return `flexible_loss` with another network as one more teacher above all sub-models: scalar float32.

    guide: (B, classes) logits of that network, which isn't trained, such as the network before compression. The loss is
    eqs. (5)-(7) over n + 1 sub-models, without the guide's own cross-entropy, which is constant. With strategy none
    there is no teacher. how: weight, temperature and divergence, as for `flexible_loss`.
    """
    if strategy == "none":
        return supervised(logits, y)
    everything = flexible_loss(strategy, [*logits, guide.detach()], y, *how)
    return everything - cross_entropy(guide.detach(), y)


def teaching(model: nn.Module, method: MethodChoice) -> tuple[float, float]:
    """Return (λ, τ): the given ones, else the paper's λ of 0.8, or 0.9 if the original network teaches (`kd`)."""
    options: DistillationOptions = DISTILLATION.options(method)
    weight = (0.9 if method.name == "kd" else 0.8) if options.weight is None else options.weight
    return weight, default_temperature(model, method.name) if options.temperature is None else options.temperature


def with_teaching(model: nn.Module, method: MethodChoice) -> MethodChoice:
    """Return the method with λ filled in, and τ if its loss has a temperature."""
    weight, temperature = teaching(model, method)
    softened = DISTILLATION.options(method).softened
    return method.filled(weight=weight, temperature=temperature) if softened else method.filled(weight=weight)


def default_temperature(model: nn.Module, strategy: str) -> float:
    """Return the default τ: the paper's 5 for exits and 1 for widths; 1 for levels of precision, else 2.

    Levels share all their weights, as widths do. With 2 the coarsest level would learn more, and its larger gradients
    would harm the finer levels. A network without sub-models gets levels, unless it is taught by itself (`kd`).
    """
    if isinstance(model, FlexibleModel):
        return 5.0 if model.submodel_names[0].startswith("exit") else 1.0
    return 2.0 if strategy in ("none", "kd") else 1.0


def _inplace(
    logits: Sequence[Tensor],
    y: Tensor,
    teachers: Sequence[Sequence[int]],
    weight: float,
    temperature: float,
    divergence: str,
) -> Tensor:
    """Return the CE of the largest sub-model plus, for each other one, the mean of eq. (3) over its teachers.

    teachers: for each sub-model but the largest, the numbers of the larger sub-models that teach it.
    """
    terms = [cross_entropy(logits[-1], y)]
    for student, numbers in zip(logits[:-1], teachers, strict=True):
        lessons = [distillation(student, logits[j], temperature, divergence) for j in numbers]
        terms.append((1 - weight) * cross_entropy(student, y) + weight * torch.stack(lessons).mean())
    return torch.stack(terms).sum()
