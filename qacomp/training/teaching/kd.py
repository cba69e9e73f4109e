"""Knowledge distillation (Hinton et al., 2015): the original network is the teacher."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from qacomp.training.teaching.lesson import Lesson
from qacomp.training.teaching.registry import TeachingOptions, register_teaching


@dataclass(frozen=True)
class KDOptions(TeachingOptions):
    """Hyper-parameters of kd."""

    @property
    def among_submodels(self) -> bool:
        """Return False: sub-models don't learn from each other."""
        return False

    @property
    def default_weight(self) -> float:
        """Return 0.9: the teacher is the network whose outputs shall be kept."""
        return 0.9


@register_teaching("kd", KDOptions)
def kd(logits: Sequence[Tensor], y: Tensor, lesson: Lesson) -> Tensor:
    """Return eq. (4), since sub-models learn nothing from each other."""
    return lesson.supervised(logits, y)
