"""Weights as torch modules hold them: shared, in straight-through training, nested, quantized, on grids, with zeros."""
