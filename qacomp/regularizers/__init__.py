"""Quantization-aware regularizers: one file each, found by name."""

from qacomp.regularizers.base import Regularizer, list_regularizers, register_regularizer, regularizer_class

__all__ = ["Regularizer", "list_regularizers", "register_regularizer", "regularizer_class"]
