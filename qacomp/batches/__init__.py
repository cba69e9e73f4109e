"""Batches of examples to train and to measure a network on: images of a data spec, or whatever a PyTorch user has."""
