"""Codebooks in blocks: as good as k-means of each block by itself, exact where they can be, through to the decoder."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from qacomp.api import compress
from qacomp.checkpoints import read_checkpoint
from qacomp.errors import ConfigError
from qacomp.exporting.decode import decode_file
from qacomp.formats import open_file
from qacomp.options.config import CompressConfig
from qacomp.options.method import MethodChoice
from qacomp.sharing.block_kmeans import cluster_rows
from qacomp.sharing.blocks import block_shape, share_in_blocks
from qacomp.sharing.kmeans import kmeans
from qacomp.sharing.selection import Layer
from qacomp.sharing.share import share_array
from qacomp.training.parametrizations.shared import share_weight_in_blocks, shared_tensor, unshare

RNG = np.random.default_rng(0)


def inertia(rows: NDArray[Any], books: NDArray[Any], indices: NDArray[Any]) -> NDArray[Any]:
    found = np.take_along_axis(books, indices.astype(np.int64), axis=1)
    total: NDArray[Any] = ((found.astype(np.float64) - rows) ** 2).sum(axis=1)
    return total


@pytest.mark.parametrize(("count", "n", "k"), [(60, 64, 16), (60, 64, 4), (20, 1000, 16), (5, 2000, 256), (40, 33, 2)])
def test_rows_are_clustered_as_well_as_one_by_one(count: int, n: int, k: int) -> None:
    rows = (RNG.standard_t(5, (count, n)) * RNG.gamma(2, 1, (count, 1))).astype(np.float32)
    books, indices = cluster_rows(rows, k)
    assert (np.diff(books, axis=1) >= 0).all()
    single = sum(kmeans(row, k).inertia for row in rows)
    assert inertia(rows, books, indices).sum() < 1.1 * single
    nearest = np.abs(rows[:, :, None].astype(np.float64) - books[:, None, :]).min(axis=2)
    own = np.abs(np.take_along_axis(books, indices.astype(np.int64), axis=1).astype(np.float64) - rows)
    assert np.allclose(own, nearest, atol=1e-6)


def test_rows_of_few_values_are_exact() -> None:
    rows = RNG.integers(0, 4, (50, 64)).astype(np.float32) * np.float32(0.1)
    rows[0] = 0.3
    rows[1, :2] = (1e30, -1e-30)
    books, indices = cluster_rows(rows, 8)
    assert np.array_equal(np.take_along_axis(books, indices.astype(np.int64), axis=1), rows)


@pytest.mark.parametrize(
    ("shape", "axis", "codebook", "blocks"),
    [
        ((128, 256), 0, "channel", (1, 256)),
        ((128, 256), 1, "channel", (128, 1)),
        ((128, 256), 0, "group:64", (1, 64)),
        ((128, 256), 1, "group:64", (64, 1)),
        ((64, 32, 3, 3), 0, "group:64", (1, 7, 3, 3)),
        ((2, 512, 128), 1, "group:64", (1, 1, 64)),
        ((128, 256), 0, "tensor", None),
        ((128, 20), 0, "channel", None),
        ((1, 256), 0, "channel", None),
    ],
)
def test_blocks_run_along_the_inputs_of_a_channel(
    shape: tuple[int, ...], axis: int, codebook: str, blocks: tuple[int, ...] | None
) -> None:
    assert block_shape(shape, axis, codebook, 16) == blocks


def test_each_block_has_its_own_clusters_ragged_ends_too() -> None:
    values = RNG.standard_normal((5, 150, 3)).astype(np.float32)
    shared = share_in_blocks(values, 4, (1, 64, 3))
    dense = shared.dense()
    assert shared.codebook.shape == (5, 3, 1, 4) and dense.shape == values.shape
    for start, stop in ((0, 64), (64, 128), (128, 150)):
        for row in range(5):
            block = values[row, start:stop]
            error = float(((dense[row, start:stop].astype(np.float64) - block) ** 2).sum())
            assert error < 1.3 * kmeans(block, 4).inertia


def test_groups_keep_a_matrix_better_than_one_codebook() -> None:
    """Channels of unequal scale, as transformers have them."""
    matrix = (RNG.standard_normal((64, 512)) * np.exp(RNG.standard_normal((64, 1)))).astype(np.float32)
    layer = Layer("w", "dense", matrix.shape, 16)
    errors = {
        name: float(((share_array(matrix, layer, name, "fp16").dense() - matrix) ** 2).sum())
        for name in ("tensor", "channel", "group:64")
    }
    assert errors["group:64"] < 0.8 * errors["channel"] < 0.5 * errors["tensor"]


def test_a_parametrized_weight_has_the_values_and_gradients_of_its_blocks() -> None:
    layer = nn.Linear(128, 8)
    weight = layer.weight.detach().numpy().copy()
    shared = share_in_blocks(weight, 8, (1, 64))
    share_weight_in_blocks(layer, "weight", shared)
    assert np.array_equal(layer.weight.detach().numpy(), shared.dense())
    torch.autograd.backward(layer.weight.sum())
    gradient = layer.parametrizations["weight"].original.grad  # type: ignore[index, union-attr]
    assert gradient is not None and float(gradient.sum()) == weight.size
    again = shared_tensor(layer, "weight")
    assert again.blocks == (1, 64) and np.array_equal(again.dense(), shared.dense())
    unshare(layer, "weight")
    assert np.array_equal(layer.weight.detach().numpy(), shared.dense())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_reach_the_decoded_file_in_their_dtype(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {"w": torch.randn(64, 256).to(dtype), "b": torch.randn(64).to(dtype), "n": torch.tensor(3)}
    torch.save(state, tmp_path / "m.pt")
    config = CompressConfig(k=16, codebook="group:64")
    result = compress(read_checkpoint(tmp_path / "m.pt"), None, config, tmp_path / "m.qac")
    with open_file(tmp_path / "m.qac") as container:
        assert container.shared("w").codebook.shape == (64, 4, 16)
    assert decode_file(tmp_path / "m.qac", tmp_path / "m.safetensors").max_abs_error == 0
    from safetensors.torch import load_file

    back = load_file(tmp_path / "m.safetensors")
    assert {name: tensor.dtype for name, tensor in back.items()} == {n: t.dtype for n, t in state.items()}
    assert {name: tensor.shape for name, tensor in back.items()} == {n: t.shape for n, t in state.items()}
    original, decoded = state["w"].double(), back["w"].double()
    assert float((original * decoded).sum() / (original.norm() * decoded.norm())) > 0.995
    row = next(layer for layer in result.layers if layer.name == "w")
    assert row.k == 16 and math.prod(row.shape) == 64 * 256


def test_settings_that_exclude_each_other_are_refused() -> None:
    for codebook in ("row", "group:", "group:4", "group:-8"):
        with pytest.raises(ConfigError, match="codebook"):
            CompressConfig(codebook=codebook).check()
    with pytest.raises(ConfigError, match="one codebook for each tensor"):
        CompressConfig(codebook="channel", reg=MethodChoice("exp")).check()
