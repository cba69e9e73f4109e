"""How good a model is: accuracy, metrics, samples, verdict."""
