"""Quantization-aware regularizers, one file each; they are found by name."""

from qacomp.options.regularizer_options import RegularizerOptions
from qacomp.training.regularizers.accumulation import accumulate_penalties, extra_penalty, total_penalty, trained_weight
from qacomp.training.regularizers.base import (
    REGULARIZERS,
    QuantizedLayer,
    Regularizer,
    list_regularizers,
    register_regularizer,
)
from qacomp.training.regularizers.building import build_regularizers
from qacomp.training.regularizers.schedule import SCHEDULES, Schedule, strength_schedule

__all__ = [
    "REGULARIZERS",
    "SCHEDULES",
    "QuantizedLayer",
    "Regularizer",
    "RegularizerOptions",
    "Schedule",
    "accumulate_penalties",
    "build_regularizers",
    "extra_penalty",
    "list_regularizers",
    "register_regularizer",
    "strength_schedule",
    "total_penalty",
    "trained_weight",
]
