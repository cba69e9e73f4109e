"""Values alone tell grids, masks and tables from weights, also of bare tensors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from constant_tables import RNG, alibi_mask, angles, pixel_grid, priors, rotary, weights
from numpy.typing import NDArray

import qacomp
from qacomp.tensors.constants import constant_kind


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (pixel_grid, "a grid of equal steps"),
        (priors, "a grid of equal steps"),
        (lambda: rotary()[0], "a table of sines or powers"),
        (lambda: rotary()[1].astype(np.float16)[None, None], "a table of sines or powers"),
        (lambda: np.stack([f(angles(50, 32)) for f in (np.sin, np.cos)], 2)[None], "a table of sines or powers"),
        (alibi_mask, "a mask with an extreme value"),
        (lambda: np.triu(np.full((77, 77), -np.inf, np.float32), 1), "a mask with an extreme value"),
        (lambda: np.tril(np.ones((64, 64), np.float32)), "a mask of zeros and ones"),
        (lambda: np.where(np.eye(40) > 0, 0, np.finfo(np.float32).min), "a mask with an extreme value"),
        (lambda: (-np.abs(np.arange(40)[:, None] - np.arange(40)) * 0.25).astype(np.float32), "a grid of equal steps"),
        (lambda: (2.0 ** -np.arange(1, 17))[:, None, None] * np.ones((1, 1, 3)), "a table of sines or powers"),
        (lambda: np.cumsum(np.abs(weights(40, 3)), 0), "a table of values in order"),
    ],
)  # fmt: skip
def test_values_tell_constants(make: Any, kind: str) -> None:
    assert constant_kind(make()) == kind


def quantized(array: NDArray[Any], steps: int) -> NDArray[Any]:
    scale = np.abs(array).max() / steps
    return np.asarray(np.rint(array / scale) * scale, np.float32)


@pytest.mark.parametrize(
    "array",
    [
        weights(64, 64), weights(4000, 32), weights(16, 16, 3, 3), weights(1, 512), weights(7, 1),
        weights(64, 64, size=1e-8),
        quantized(weights(64, 64), 127), quantized(weights(64, 64), 7), quantized(weights(200, 64), 1),
        np.sign(weights(64, 64)) * np.float32(0.03), np.where(RNG.random((300, 64)) < 0.97, 0, weights(300, 64)),
        np.concatenate([np.zeros((1, 32), np.float32), weights(500, 32)]), weights(64, 64).astype(np.float16),
        np.cumsum(weights(64, 64), 0), np.ones((32, 32), np.float32),
    ],
)  # fmt: skip
def test_values_of_weights_do_not(array: NDArray[Any]) -> None:
    """Trained, quantized, ternary, binary, pruned ones; with a padding row; one that holds a single value."""
    assert constant_kind(array) is None


def test_bare_tensors_are_chosen_by_their_values_before_their_names(tmp_path: Path) -> None:
    cos, _ = rotary()
    state = {
        "emb.weight": weights(200, 32), "pos.pe": np.sin(angles(64, 64)).astype(np.float32),
        "learned.pe": weights(64, 32),
        "rotary.cos_cached": cos, "head.anchors": np.array([[[10, 13], [16, 30], [33, 23]]] * 3, np.float32),
        "attn.mask": alibi_mask(), "head.mask": np.repeat(weights(8, 1), 40, axis=1), "feature.grid": weights(32, 32),
        "conv.weight": weights(8, 8, 3, 3),
    }  # fmt: skip
    result = qacomp.compress({name: torch.from_numpy(value) for name, value in state.items()}, k=16)
    shared = {row.name for row in result.layers if row.k is not None}
    assert shared == {"emb.weight", "learned.pe", "feature.grid", "conv.weight"}
    back = qacomp.decode(result)
    for name in set(state) - shared:
        assert np.array_equal(back[name].numpy(), state[name]), name
    reasons = {row.name: str(row.skipped) for row in result.layers}
    reason = "2-dimensional tensor, by its values a table of sines or powers, not a weight"
    assert reasons["pos.pe"] == f"{reason}: kept exactly unless --include names it"
    assert "anchors by its name" in reasons["head.anchors"] and "mask by its name" in reasons["head.mask"]


@pytest.mark.parametrize("name", ["mel_scale.fb", "mel_basis", "frontend.window", "dct_mat"])
def test_filter_banks_and_windows_of_bare_tensors_stay_exact(name: str) -> None:
    bank = np.maximum(0, 1 - np.abs(np.arange(129)[:, None] - np.linspace(0, 128, 20)) / 7).astype(np.float32)
    result = qacomp.compress({name: bank, "fc.weight": weights(20, 32)}, k=4)
    assert [layer.name for layer in result.layers if layer.k] == ["fc.weight"]
    assert np.array_equal(np.asarray(qacomp.decode(result, to="numpy")[name]), bank)
