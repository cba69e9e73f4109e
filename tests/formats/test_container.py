"""A container gives back what was put in, whatever it is."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qacomp.formats import (
    BFLOAT16,
    Coding,
    Level,
    NotSharedError,
    OutputNotWritableError,
    SharedTensor,
    TensorNotFoundError,
    UnsupportedTensorError,
    bfloat16_from_float32,
    load_file,
    open_file,
    save_file,
    stored_values,
    verify_file,
)

RNG = np.random.default_rng(0)


def shared(shape: tuple[int, ...], k: int) -> SharedTensor:
    indices = RNG.integers(0, k, shape).astype(np.uint8 if k <= 256 else np.uint16)
    return SharedTensor(np.sort(RNG.standard_normal(k)).astype(np.float32), indices)


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">f4", ">i8"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (5, 7)])
def test_every_dtype_and_shape(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    array = (RNG.standard_normal(shape) * 50).astype(dtype)
    save_file(tmp_path / "a.qac", {"x": array})
    back = load_file(tmp_path / "a.qac")["x"]
    assert back.dtype == array.dtype.newbyteorder("<") and back.shape == shape
    assert back.tobytes() == array.astype(back.dtype).tobytes()
    verify_file(tmp_path / "a.qac")


def test_bfloat16(tmp_path: Path) -> None:
    array = bfloat16_from_float32(RNG.standard_normal((4, 5)).astype(np.float32))
    save_file(tmp_path / "a.qac", {"x": array})
    with open_file(tmp_path / "a.qac") as container:
        assert container.info("x").dtype == "bfloat16"
        assert container.tensor("x").dtype == BFLOAT16
        assert container.tensor("x").tobytes() == array.tobytes()


@pytest.mark.parametrize("k", [1, 2, 3, 5, 16, 200, 256, 257, 5000, 65536])
def test_shared_tensors_are_exact(tmp_path: Path, k: int) -> None:
    tensor = shared((33, 65), k)
    report = save_file(tmp_path / "a.qac", {"w": tensor})
    assert report.container_bytes == (tmp_path / "a.qac").stat().st_size
    with open_file(tmp_path / "a.qac") as container:
        back = container.shared("w")
        assert np.array_equal(back.indices, tensor.indices) and np.array_equal(back.codebook, tensor.codebook)
        assert np.array_equal(container.tensor("w"), tensor.dense())
        assert container.info("w").k == k


def test_large_tensors_have_chunks_of_their_own(tmp_path: Path) -> None:
    tensors: dict[str, Any] = {
        "w": shared((600, 1000), 4),
        "d": RNG.standard_normal((700, 800)).astype(np.float32),
        "s": shared((9,), 3),
    }
    save_file(tmp_path / "a.qac", tensors)
    back = load_file(tmp_path / "a.qac")
    assert np.array_equal(back["w"], tensors["w"].dense())
    assert np.array_equal(back["d"], tensors["d"])
    verify_file(tmp_path / "a.qac")


def test_levels_nest(tmp_path: Path) -> None:
    fine = shared((40, 30), 12)
    parents = np.repeat(np.arange(4), [1, 5, 2, 4])
    coarse = np.array([fine.codebook[parents == p].mean() for p in range(4)], np.float32)
    tensor = SharedTensor(fine.codebook, fine.indices, (Level(coarse, parents),))
    save_file(tmp_path / "a.qac", {"w": tensor, "plain": shared((50,), 5)})
    with open_file(tmp_path / "a.qac") as container:
        assert container.info("w").levels == (4, 12)
        assert np.array_equal(container.tensor("w"), fine.dense())
        assert np.array_equal(container.tensor("w", level=0), coarse[parents[fine.indices]])
        assert np.array_equal(container.shared("w").levels[0].parents, parents)
    verify_file(tmp_path / "a.qac")


@pytest.mark.parametrize("sizes", [(2, 65_536), (2, 300, 65_536), (2, 16, 256, 4096), (1, 2, 3, 257)])
def test_levels_of_any_number_of_values(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    """Codebooks that grow a hundredfold from one level to the next, up to all that the format holds."""
    finest = shared((90, 31), sizes[-1])
    levels = tuple(
        Level(np.arange(coarse, dtype=np.float32), np.arange(fine) * coarse // fine) for coarse, fine in pairwise(sizes)
    )
    tensor = SharedTensor(finest.codebook, finest.indices, levels)
    save_file(tmp_path / "a.qac", {"w": tensor})
    with open_file(tmp_path / "a.qac") as container:
        assert container.info("w").levels == sizes
        for level in range(len(sizes)):
            assert np.array_equal(container.tensor("w", level=level), tensor.at_level(level).dense())
    verify_file(tmp_path / "a.qac")


def test_side_precision_gives_the_values_that_stored_values_tells(tmp_path: Path) -> None:
    bias, huge = RNG.standard_normal(50).astype(np.float32), np.array([1e6, 1.0], np.float32)
    weight, matrix = shared((20, 20), 6), RNG.standard_normal((5, 5)).astype(np.float32)
    for precision in ("fp16", "fp12", "fp9"):
        tensors: dict[str, Any] = {"b": bias, "h": huge, "w": weight, "m": matrix}
        report = save_file(tmp_path / "a.qac", tensors, precision=precision)
        back = load_file(tmp_path / "a.qac")
        assert np.array_equal(back["b"], stored_values(bias, precision)) and not np.array_equal(back["b"], bias)
        assert np.array_equal(back["h"], huge) and np.array_equal(back["m"], matrix)
        assert np.array_equal(back["w"], stored_values(weight.codebook, precision)[weight.indices])
        assert [t.precision for t in report.tensors] == [precision, "exact", precision, "exact"]


def test_names_graph_and_metadata(tmp_path: Path) -> None:
    names = ["", "é\n\0", "x" * 10_000, "layer.1", "layer.10"]
    meta = {"arch": "resnet20", "mean": [0.1, 0.2], "Ünïcode": None}
    save_file(tmp_path / "a.qac", {n: np.arange(3) for n in names}, graph=b"graph" * 9, meta=meta)
    with open_file(tmp_path / "a.qac") as container:
        assert list(container.names) == names and container.meta == meta and container.graph() == b"graph" * 9
        assert container.info("layer.1").same_as == ""


def test_same_input_same_bytes(tmp_path: Path) -> None:
    tensors: dict[str, Any] = {"w": shared((100, 90), 7), "b": RNG.standard_normal(90).astype(np.float32)}
    save_file(tmp_path / "a.qac", tensors, meta={"a": 1, "b": 2})
    save_file(tmp_path / "b.qac", tensors, meta={"b": 2, "a": 1}, coding=Coding(threads=4))
    assert (tmp_path / "a.qac").read_bytes() == (tmp_path / "b.qac").read_bytes()


def test_bytes_in_memory_work_like_a_file(tmp_path: Path) -> None:
    save_file(tmp_path / "a.qac", {"x": np.arange(5)})
    assert np.array_equal(load_file((tmp_path / "a.qac").read_bytes())["x"], np.arange(5))


def test_errors_of_use(tmp_path: Path) -> None:
    path = tmp_path / "a.qac"
    save_file(path, {"x": np.arange(5)})
    with open_file(path) as container:
        with pytest.raises(TensorNotFoundError, match="'y'"):
            container.tensor("y")
        with pytest.raises(NotSharedError, match="'x'"):
            container.shared("x")
    with pytest.raises(OutputNotWritableError, match="nowhere"):
        save_file(tmp_path / "nowhere" / "a.qac", {"x": np.arange(5)})
    bad = SharedTensor(np.zeros(3, np.float32), np.array([3], np.uint8))
    for tensor in (np.array(["text"]), np.array([None]), np.zeros(2, complex), bad):
        with pytest.raises(UnsupportedTensorError, match="x"):
            save_file(tmp_path / "b.qac", {"x": tensor})
    assert [p.name for p in tmp_path.iterdir()] == ["a.qac"]


def test_levels_of_a_tensor_that_repeats_itself_are_stored_at_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    indices = np.tile(rng.integers(0, 12, 500).astype(np.uint8), 60).reshape(60, 500)
    book = np.arange(12, dtype=np.float32)
    levels = (
        Level(np.array([2, 8], np.float32), np.array([0, 0, 1, 1])),
        Level(np.array([0, 2, 6, 10], np.float32), np.repeat(np.arange(4), [1, 5, 2, 4])),
    )
    nested, plain = SharedTensor(book, indices, levels), SharedTensor(book, indices)
    alone = save_file(tmp_path / "a.qac", {"w": plain}).container_bytes
    for chunk_log2 in (22, 12):
        report = save_file(tmp_path / "b.qac", {"w": nested}, coding=Coding(chunk_log2=chunk_log2))
        assert "all levels at once" in report.tensors[0].reason
        assert chunk_log2 < 22 or report.container_bytes < alone + 80
        with open_file(tmp_path / "b.qac") as container:
            assert container.levels == 3 and container.level == 2 and container.version == (1, 1)
            assert np.array_equal(container.tensor("w"), nested.dense())
            for level in range(3):
                coarse = nested.at_level(level).dense()
                assert np.array_equal(container.tensor("w", level=level), coarse)
                assert np.array_equal(container.rows("w", 3, 9, level=level), coarse[3:9])
                assert np.array_equal(container.shared("w", level=level).indices, nested.at_level(level).indices)
            back = container.shared("w")
            assert np.array_equal(back.indices, indices) and len(back.levels) == 2
        verify_file(tmp_path / "b.qac")


def test_a_cut_file_with_levels_at_once_reads_at_the_level_that_is_there(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    level = Level(np.array([2, 8], np.float32), np.repeat(np.arange(2), [6, 6]))
    book = np.arange(12, dtype=np.float32)
    repeats = np.tile(rng.integers(0, 12, 500).astype(np.uint8), 60).reshape(60, 500)
    tensors = {"r": SharedTensor(book, repeats, (level,)), "n": SharedTensor(book, repeats[:9, :9].copy(), (level,))}
    save_file(tmp_path / "a.qac", tensors)
    data = (tmp_path / "a.qac").read_bytes()
    with open_file(data[:-1], allow_truncated=True) as container:
        assert container.level == 0 and container.levels == 2
        for name, tensor in tensors.items():
            assert np.array_equal(container.tensor(name), tensor.at_level(0).dense())
