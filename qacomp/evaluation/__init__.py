"""Measure how good a model is: accuracy, metrics, agreement with the original, verdict."""
