"""Make vectors of texts as a folder of Sentence Transformers says: what its users compare, so what weights must keep.

Its file 1_Pooling/config.json tells how hidden states of a text's tokens become one vector.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from qacomp.formats.errors import IrregularFileError
from qacomp.formats.regular import read_small

HIDDEN = "last_hidden_state"
"""Names the output of hidden states, (texts, tokens, width), from which vectors are made."""
VECTORS = "vectors of texts"
"""Names the output that vectors of texts are."""
MEAN = "mean"
"""Names the mean over a text's tokens: where a folder says nothing, its vectors are compared so."""
_OTHERS = 1 / 16  # what other outputs count beside the vectors: few users of such a folder read them
_POOLING = Path("1_Pooling")  # where Sentence Transformers puts it: no path of a file is followed
_LARGEST = 1 << 16  # bytes of each of both files
_WAYS: Mapping[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "pooling_mode_mean_tokens": (MEAN, lambda states: states.mean(1)),
    "pooling_mode_cls_token": ("first", lambda states: states[:, 0]),
    "pooling_mode_max_tokens": ("largest", lambda states: states.amax(1)),
}
_BY_NAME = dict(_WAYS.values())


def pooling_of(folder: Path) -> str | None:
    """Return which value of a text's tokens its vector has: `mean`, `first` or `largest`; None if it isn't said."""
    modules, config = (_json(folder / path) for path in (Path("modules.json"), _POOLING / "config.json"))
    listed = isinstance(modules, list) and any(
        isinstance(module, dict) and module.get("path") == str(_POOLING) for module in modules
    )
    if not listed or not isinstance(config, dict):
        return None
    modes = [mode for mode, value in config.items() if mode.startswith("pooling_mode_") and value is True]
    return _WAYS[modes[0]][0] if len(modes) == 1 and modes[0] in _WAYS else None


def pooled(states: Tensor, way: str) -> Tensor:
    """Return the vectors (texts, width) of hidden states (texts, tokens, width) of texts of equal length."""
    return _BY_NAME[way](states)


def with_vectors(outputs: dict[str, Tensor], way: str | None) -> dict[str, Tensor]:
    """Return the outputs, and the texts' vectors, of length 1, if the way they are made is known."""
    states = outputs.get(HIDDEN)
    if way is None or states is None or states.dim() != 3:
        return outputs
    return {**outputs, VECTORS: F.normalize(pooled(states, way), dim=1)}


def share_of(name: str, outputs: Mapping[str, Any]) -> float:
    """Return what an output counts, 1 unless there are vectors beside it."""
    return _OTHERS if VECTORS in outputs and name != VECTORS else 1.0


def _json(path: Path) -> Any:
    """Return what a file holds; None if it isn't there, is too large, or isn't JSON."""
    try:
        return json.loads(read_small(path, _LARGEST))
    except (OSError, ValueError, RecursionError, IrregularFileError):
        return None
