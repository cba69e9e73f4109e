"""Parametrizations of weights: shared, straight-through, nested, quantized, on grids, and with zeros."""
