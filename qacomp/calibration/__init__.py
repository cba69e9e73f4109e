"""Calibration: inputs without labels, given or made by the network itself, and what a model does with them."""
