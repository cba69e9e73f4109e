"""Kinds of distillation (--distill), a file each: every file here registers its own."""

from qacomp.training.teaching.lesson import Lesson, cross_entropy, supervised
from qacomp.training.teaching.registry import DISTILLATION, TeachingLoss, TeachingOptions, register_teaching

__all__ = [
    "DISTILLATION",
    "Lesson",
    "TeachingLoss",
    "TeachingOptions",
    "cross_entropy",
    "register_teaching",
    "supervised",
]
