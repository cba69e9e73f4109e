"""Draw texts at random from a transformer's own vocabulary, for calibration without data."""

import numpy as np
from numpy.typing import NDArray

from qacomp.calibration.block_model import BlockModel
from qacomp.tensors.vocabulary import drawn_words, trained_rows

WORDS = "words"
"""The spec of such texts."""
_LENGTHS = (32, 64, 128)  # tokens of a text, in turns: those of the generated texts for ONNX models


def drawn_texts(
    model: BlockModel, most: int, count: int, marks: tuple[list[int], list[int]], seed: int
) -> list[NDArray[np.int64]]:
    """Return `count` texts of ids, none longer than `most`, with the marks of start and end.

    Words are drawn by their rank, without rows of the embedding that don't look trained.
    """
    rng, (front, back) = np.random.default_rng(seed), marks
    words = _words(model)
    texts = []
    for i in range(count):
        inside = max(2, min(_LENGTHS[i % len(_LENGTHS)], most) - len(front) - len(back))
        texts.append(np.array([*front, *drawn_words(words, (inside,), rng), *back][:most], np.int64))
    return texts


def _words(model: BlockModel) -> NDArray[np.intp]:
    """Return the ids that look trained, of those that every embedding of the model knows."""
    rows = next((trained_rows(model.read(name)) for name in model.words), None)
    everything = np.arange(model.made.words)
    known = everything if rows is None else rows[rows < model.made.words]
    return known if known.size else everything
