"""Describe tensors: element types that numpy lacks, constants among weights, values that half precision can hold."""
