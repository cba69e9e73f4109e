"""The table of kinds of distillation: a decorated function each, with the dataclass of its hyper-parameters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from qacomp.options.declaration import FRACTION, POSITIVE, Need, Option, option
from qacomp.options.method_table import MethodTable
from qacomp.options.registry import Registry, check_by
from qacomp.training.teaching.lesson import Lesson


@dataclass(frozen=True)
class TeachingOptions:
    """Hyper-parameters of every kind of distillation; one with more derives its own dataclass."""

    weight: float | None = option(
        None, Option("Share of the teachers in the loss.", bounds=FRACTION, shown="0.8, for kd 0.9")
    )
    temperature: float | None = option(
        None,
        Option(
            "Temperature of the softened outputs.",
            bounds=POSITIVE,
            needs=(Need(lambda o: o.softened, "with loss=mse or squared, which compare outputs as they are"),),
            shown="2, for exits 5, for widths and levels 1",
        ),
    )
    loss: str = option(
        "auto",
        Option(
            "Distance between a student's outputs and a teacher's; auto: kl for class scores, squared for others.",
            registry="qacomp.training.distillation_losses:list_distillation_losses",
            check=check_by("qacomp.training.distillation_losses:distillation_loss"),
        ),
    )

    @property
    def softened(self) -> bool:
        """Return whether the loss has a temperature."""
        return self.loss not in ("mse", "squared")

    @property
    def among_submodels(self) -> bool:
        """Return whether sub-models learn from larger ones; otherwise the original network is the only teacher."""
        return True

    @property
    def default_weight(self) -> float:
        """Return λ if no weight is given: the paper's."""
        return 0.8


TeachingLoss: TypeAlias = Callable[[Sequence[Tensor], Tensor, Lesson], Tensor]
"""(logits of all sub-models, smallest first, y, lesson) -> scalar float32."""
DISTILLATION: MethodTable[TeachingLoss] = MethodTable(
    "distill", TeachingOptions, Registry("distillation", "qacomp.training.teaching", "qacomp.teaching")
)


def register_teaching(
    name: str, options: type[TeachingOptions] = TeachingOptions
) -> Callable[[TeachingLoss], TeachingLoss]:
    """Return a decorator that registers `def loss(logits, y, lesson) -> Tensor` as `--distill NAME`.

    logits: (B, classes) of each sub-model, smallest first, one or more; y: (B,) int64; lesson: λ, τ and the distance.
    The loss is a scalar float32. With λ = 0 it is the sum of all cross-entropies. The largest sub-model, which has no
    teacher, learns from the labels alone. options: the frozen dataclass that declares the hyper-parameters.
    """
    return DISTILLATION.register(name, options)
