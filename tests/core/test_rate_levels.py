"""Several sizes in one file by rate: nested grids, and a level that ends at each size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from two_products import two_products

import qacomp
from qacomp.errors import ConfigError, TargetNotReachedError
from qacomp.exporting.decode import decode_file
from qacomp.exporting.part import Part
from qacomp.formats import SharedTensor, open_file, save_file
from qacomp.options.config import CompressConfig
from qacomp.options.file_size import file_sizes
from qacomp.rate.nested_grids import nested_grids


@given(st.integers(0, 99), st.integers(1, 4), st.sampled_from([0.0, 0.3, 0.9]))
def test_each_level_of_nested_grids_is_its_own_grid(seed: int, levels: int, zeros: float) -> None:
    rng = np.random.default_rng(seed)
    shape = (5, 7)
    given_ = [rng.integers(-3 - 4 * i, 5 + 4 * i, shape) * (rng.random(shape) >= zeros) for i in range(levels)]
    steps = [1.0 / (i + 1) for i in range(levels)]
    shared = nested_grids(given_, steps)
    assert len(shared.levels) == levels - 1
    for level, (integers, step) in enumerate(zip(given_, steps, strict=True)):
        assert np.array_equal(shared.at_level(level).dense(), integers * step)


def test_a_container_holds_them(tmp_path: Path) -> None:
    """Also where one level's integer belongs to several of the coarser one."""
    rng = np.random.default_rng(0)
    fine = rng.integers(-20, 20, (40, 30))
    coarse = np.rint(fine / 4 + rng.normal(size=fine.shape) / 2).astype(np.int64)
    shared = nested_grids([coarse, fine], [0.5, 0.125])
    save_file(tmp_path / "m.qac", {"w": shared}, meta={})
    with open_file(tmp_path / "m.qac") as container:
        assert np.array_equal(container.tensor("w", level=0), coarse * 0.5)
        assert np.array_equal(container.tensor("w"), fine * 0.125)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("levels")
    return qacomp.compress(two_products(), output=folder / "m.qac", target_size="1600,2200", progress=False)


def test_each_level_ends_at_its_size(made: Any) -> None:
    points = made.operating_points
    assert [point.name for point in points] == ["level1", "level2"]
    for point, size in zip(points, (1600, 2200), strict=True):
        assert 0.99 * size <= point.bytes <= size
    assert made.container_bytes == points[-1].bytes


def test_each_level_is_measured_and_a_finer_one_agrees_better(made: Any, tmp_path: Path) -> None:
    found = []
    for number in (1, 2):
        done = decode_file(made.output, tmp_path / f"{number}.onnx", part=Part(level=number))
        assert done.max_abs_error == 0 and done.agreement is not None
        found.append(done.agreement["cosine"])
    assert 0.6 < found[0] < found[1] == made.agreement.cosine
    cut = tmp_path / "cut.qac"
    cut.write_bytes(Path(made.output).read_bytes()[: made.operating_points[0].bytes])
    decode_file(cut, tmp_path / "cut.onnx", part=Part(allow_truncated=True))
    assert (tmp_path / "cut.onnx").read_bytes() == (tmp_path / "1.onnx").read_bytes()


def test_the_coarse_level_is_as_good_as_a_file_of_its_own(made: Any, tmp_path: Path) -> None:
    """At equal steps it is the same: the codebook of the level is a grid, and so is that of the finer one."""
    with open_file(made.output) as container:
        for name in ("w0", "w1"):
            for level in (0, 1):
                shared = container.shared(name, level=level)
                assert isinstance(shared, SharedTensor)
                steps = np.diff(np.unique(shared.codebook))
                multiples = steps / np.median(steps)  # most values have both neighbours; fp16 rounds wide grids
                assert np.allclose(multiples, np.rint(multiples), atol=0.05)


@pytest.mark.parametrize("text", ["100KB,50KB", "50KB,50KB", "10x,20x"])
def test_sizes_ascend(text: str) -> None:
    with pytest.raises(ConfigError, match="smaller size first"):
        file_sizes(text, 1_200_000)


def test_what_does_not_work_together_is_refused_with_what_does() -> None:
    with pytest.raises(ConfigError, match="--target-size 50KB,100KB"):
        CompressConfig(target_size="50KB", levels=(4, 16)).check()
    with pytest.raises(ConfigError, match="at most 16"):
        CompressConfig(target_size=",".join("1KB" for _ in range(17))).check()
    with pytest.raises(TargetNotReachedError, match=r"further apart|was reached"):
        qacomp.compress(two_products(), target_size="1600,1620", progress=False)
