"""Quantization-aware regularizers: one file each, found by name."""

from qacomp.training.regularizers.accumulation import accumulate_penalties, extra_penalty, total_penalty, trained_weight
from qacomp.training.regularizers.base import Regularizer, list_regularizers, register_regularizer, regularizer_class
from qacomp.training.regularizers.building import build_regularizers
from qacomp.training.regularizers.options import RegularizerOptions
from qacomp.training.regularizers.schedule import StrengthSchedule

__all__ = [
    "Regularizer",
    "RegularizerOptions",
    "StrengthSchedule",
    "accumulate_penalties",
    "build_regularizers",
    "extra_penalty",
    "list_regularizers",
    "register_regularizer",
    "regularizer_class",
    "total_penalty",
    "trained_weight",
]
