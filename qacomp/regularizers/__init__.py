"""Quantization-aware regularizers: one file each, found by name."""

from qacomp.regularizers.accumulation import accumulate_penalties, extra_penalty, total_penalty, trained_weight
from qacomp.regularizers.base import Regularizer, list_regularizers, register_regularizer, regularizer_class
from qacomp.regularizers.building import build_regularizers
from qacomp.regularizers.options import RegularizerOptions
from qacomp.regularizers.schedule import StrengthSchedule

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
