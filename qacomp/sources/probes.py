"""Inputs that are drawn for a network where there is no data, to see how its outputs move."""

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import DataError
from qacomp.evaluation.accuracy import torch_logits
from qacomp.sources.network import Network


def probe_inputs(network: Network, count: int, seed: int, quiet: float = 1.0) -> NDArray[np.float32]:
    """Draw (count, C, H, W) float32, standard normal, every other one times `quiet`.

    A network that can't take those, since it looks values up, gets pixels between 0 and 1 as its preprocessing scales
    them. Raises DataError where it takes neither.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal((count, *network.input_shape)).astype(np.float32)
    drawn[1::2] *= np.float32(quiet)
    try:
        torch_logits(network.model, drawn)
    except DataError:
        mean, std = (np.reshape(v, (-1, 1, 1)) for v in (network.preprocessing.mean, network.preprocessing.std))
        drawn = ((rng.random(drawn.shape) - mean) / std).astype(np.float32)
        torch_logits(network.model, drawn)
    return drawn
