"""IPKD-TA-1: each sub-model has one teacher assistant, the next larger sub-model."""

from collections.abc import Sequence

from torch import Tensor

from qacomp.training.teaching.lesson import Lesson
from qacomp.training.teaching.registry import register_teaching


@register_teaching("ta-1")
def ipkd_ta_1(logits: Sequence[Tensor], y: Tensor, lesson: Lesson) -> Tensor:
    """Return eq. (6): each sub-model is taught by the next larger one, its only teacher assistant."""
    return lesson.passed_down(logits, y, [[i + 1] for i in range(len(logits) - 1)])
