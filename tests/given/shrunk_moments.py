"""What second moments of few samples must be: those of the samples, with a part of what lies beside the diagonal."""

import numpy as np
from numpy.typing import NDArray


def is_shrunk(moment: NDArray[np.float64], samples: NDArray[np.float64], most: float = 1.0) -> bool:
    """Whether a moment (n, n) is that of samples (count, n), with one factor of 0 to `most` beside the diagonal."""
    plain = samples.T @ samples / len(samples)
    kept = moment[0, 1] / plain[0, 1]
    wanted = kept * plain + (1 - kept) * np.diag(np.diag(plain))
    return bool(0 <= kept <= most + 1e-9 and np.allclose(moment, wanted, rtol=1e-4, atol=1e-6 * np.trace(plain)))
