"""scikit-learn's digits: 1,797 images of 8 by 8 pixels, ten classes; they come with scikit-learn, without download."""

import numpy as np

from qacomp.datasets.registry import register_dataset
from qacomp.datasets.split import Source, Split, separate

_TEST_FRACTION = 0.2


@register_dataset("digits")
def load_digits(argument: str) -> Source:
    """Load scikit-learn's embedded 8x8 digits; a fixed stratified fifth of them is the test part."""
    from sklearn.datasets import load_digits as load_embedded

    images, labels = load_embedded(return_X_y=True)
    pixels = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)  # stored as 0 to 16
    train, test = separate(Split(pixels, labels.astype(np.int64)), _TEST_FRACTION)
    return Source(train=train, test=test, num_classes=10)
