"""Training of torch networks: the loop, distillation, regularizers, quantizers, pruning, parametrizations."""
