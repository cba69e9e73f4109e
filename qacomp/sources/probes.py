"""Draw random inputs for a network without data, to measure how much sharing changes its outputs."""

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import DataError
from qacomp.evaluation.accuracy import torch_logits
from qacomp.sources.network import Network


def probe_inputs(network: Network, count: int, seed: int, quiet: float = 1.0) -> NDArray[np.float32]:
    """Draw inputs (count, C, H, W), float32, standard normal; every second input is multiplied by `quiet`.

    If the network fails on them (it may use its input as an index), they are drawn as pixels in [0, 1] instead and
    normalized with its mean and std. Raises DataError if it fails on those too.
    """
    rng = np.random.default_rng(seed)
    shape, preprocessing = network.images
    drawn = rng.standard_normal((count, *shape)).astype(np.float32)
    drawn[1::2] *= np.float32(quiet)
    try:
        torch_logits(network.model, drawn)
    except DataError:
        mean, std = (np.reshape(v, (-1, 1, 1)) for v in (preprocessing.mean, preprocessing.std))
        drawn = ((rng.random(drawn.shape) - mean) / std).astype(np.float32)
        torch_logits(network.model, drawn)
    return drawn
