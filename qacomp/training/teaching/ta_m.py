"""IPKD-TA-M: each sub-model has several teacher assistants, all larger sub-models."""

from collections.abc import Sequence

from torch import Tensor

from qacomp.training.teaching.lesson import Lesson
from qacomp.training.teaching.registry import register_teaching


@register_teaching("ta-m")
def ipkd_ta_m(logits: Sequence[Tensor], y: Tensor, lesson: Lesson) -> Tensor:
    """Return eq. (7): each sub-model is taught by all larger ones, with equal weights."""
    n = len(logits)
    return lesson.passed_down(logits, y, [list(range(i + 1, n)) for i in range(n - 1)])
