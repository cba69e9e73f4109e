"""Calibration: inputs without labels, given or generated from the network, and what a model computes on them."""
