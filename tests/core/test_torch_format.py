"""Torch tensors through a container, every dtype and odd shape, lazily and at once."""

from pathlib import Path

import numpy as np
import pytest
import torch

from qacomp.formats import SharedTensor, TensorNotFoundError
from qacomp.tensors.torch_format import load_file, open_file, save_file

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.uint8, torch.bool)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (17, 5)])
def test_a_tensor_comes_back_as_it_was(dtype: torch.dtype, shape: tuple[int, ...], tmp_path: Path) -> None:
    tensor = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3).to(dtype)
    save_file(tmp_path / "t.qac", {"t": tensor})
    back = load_file(tmp_path / "t.qac")["t"]
    assert back.dtype == dtype and back.shape == tensor.shape and torch.equal(back, tensor)


def test_codebooks_in_blocks(tmp_path: Path) -> None:
    books = np.array([[[-1.0, 1.0]], [[-2.0, 2.0]]], np.float32)
    indices = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    save_file(tmp_path / "t.qac", {"w": SharedTensor(books, indices, blocks=(1, 3))})
    assert load_file(tmp_path / "t.qac")["w"].tolist() == [[-1, 1, 1], [2, -2, -2]]


def test_views_and_shared_tensors(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    book = np.array([-1.0, 0.5, 2.0], np.float32)
    save_file(tmp_path / "t.qac", {"view": base.T[1:3], "shared": SharedTensor(book, indices)})
    with open_file(tmp_path / "t.qac") as tensors:
        assert set(tensors) == {"view", "shared"} and len(tensors) == 2
        assert torch.equal(tensors["view"], base.T[1:3])
        assert torch.equal(tensors["shared"], torch.from_numpy(book[indices]))
        tensors["view"].zero_()  # its own memory
        assert torch.equal(tensors["view"], base.T[1:3])
        with pytest.raises(TensorNotFoundError):
            tensors["missing"]
