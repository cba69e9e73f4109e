"""Weights of any size, the ends of every float type among them: shared without harm, or exact with a reason."""

from typing import Any

import numpy as np
import pytest

import qacomp
from qacomp.sharing.affine_grid import nearest_grid
from qacomp.tensors.constants import mask_kind

SIZES = {
    "f4": (1e-44, 1e-39, 1e-30, 1e-20, 1e-8, 1e8, 1e20, 1e30, 3e37),
    "f8": (1e-300, 1e-160, 1e-50, 1e-8, 1e50, 1e160, 1e300),
    "f2": (1e-6, 1e3),
}
SETTINGS: tuple[tuple[dict[str, Any], float], ...] = (
    ({"k": 16}, 0.15),
    ({"k": 16, "stored_precision": "exact"}, 0.15),
    ({"k": 256, "min_agreement": 0.999}, 0.02),
    ({"k": 4, "codebook": "channel"}, 0.45),
    ({"k": 4, "codebook": "group:16"}, 0.45),
    ({"codebook": "affine4"}, 0.15),
    ({"codebook": "affine8:32"}, 0.02),
    ({"levels": (2, 4, 16)}, 0.15),
)


def weights() -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(0)
    state = {}
    for dtype, sizes in SIZES.items():
        for size in sizes:
            array = (np.clip(random.standard_normal((48, 48)), -4, 4) * size).astype(dtype)
            array[3], array[5, ::2] = 0, 0
            state[f"{dtype}_{size:g}.weight"] = array
    return state


@pytest.mark.parametrize("settings, most", SETTINGS, ids=str)
def test_weights_of_every_size_are_shared_or_exact(settings: dict[str, Any], most: float) -> None:
    state = weights()
    result = qacomp.compress(state, **settings)
    decoded = qacomp.decode(result, to="numpy")
    for layer in result.layers:
        before, after = state[layer.name], np.asarray(decoded[layer.name])
        assert after.dtype == before.dtype, layer.name
        assert not after[before == 0].any(), layer.name
        if layer.k is None:
            assert after.tobytes() == before.tobytes() and "kept exactly" in str(layer.skipped), layer.name
            continue
        unit = np.abs(before).max()  # squares of the values themselves would leave double precision
        lost = np.linalg.norm((after.astype(np.float64) / unit) - (before.astype(np.float64) / unit))
        assert lost <= most * np.linalg.norm(before.astype(np.float64) / unit), layer.name
    ordinary = [layer for layer in result.layers if layer.name in ("f4_1e-08.weight", "f4_1e+08.weight")]
    assert len(ordinary) == 2 and all(layer.k for layer in ordinary)


@pytest.mark.parametrize("exponent", [-90, -60, 60, 100])
def test_the_nearest_grid_of_tiny_and_huge_values_is_that_of_ordinary_ones(exponent: int) -> None:
    matrix = np.random.default_rng(1).standard_normal((64, 8)).astype(np.float32)
    ordinary, other = nearest_grid(matrix, 4, 32), nearest_grid(np.ldexp(matrix, exponent), 4, 32)
    assert np.array_equal(ordinary.q, other.q) and np.array_equal(np.ldexp(ordinary.scale, exponent), other.scale)


def test_a_mask_in_half_precision_is_told_without_an_overflow() -> None:
    mask = np.triu(np.full((16, 16), -65504, np.float16), 1) + np.eye(16, dtype=np.float16) * np.float16(3)
    assert mask_kind(mask) == "a mask with an extreme value"
