"""A network at several sizes in one file by rate: norms of each level are tuned, and each level is measured."""

from pathlib import Path
from typing import Any

import pytest
from digits_network import PREPROCESS, digits_network

from qacomp.api import compress
from qacomp.errors import ConfigError
from qacomp.formats import open_file
from qacomp.options.config import CompressConfig
from qacomp.options.method import MethodChoice

SIZES = (3300, 6000)


@pytest.mark.parametrize("tuning", [{"tune_epochs": 0}, {"tune_epochs": 1}], ids=["without labels", "on labels"])
def test_each_level_is_a_network_that_is_measured(
    tuning: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qacomp.calibration.tuning.STEPS", 40)
    done = compress(
        digits_network(norm=True),
        "digits",
        output=tmp_path / "m.qac",
        preprocess=PREPROCESS,
        target_size=",".join(map(str, SIZES)),
        progress=False,
        **tuning,
    )
    points = done.operating_points
    assert [point.name for point in points] == ["level1", "level2"] and done.max_abs_error is not None
    assert done.max_abs_error < 1e-4 and not any(record.stage == "fine-tune" for record in done.history)
    for point, size in zip(points, SIZES, strict=True):
        assert 0.99 * size <= point.bytes <= size
    assert done.accuracy.original is not None and done.accuracy.original > 95
    accuracies = [point.accuracy or 0.0 for point in points]
    assert accuracies[0] > 85 and accuracies[1] > done.accuracy.original - 3
    assert accuracies[1] == done.accuracy.tuned
    with open_file(tmp_path / "m.qac") as container:
        assert "level1:3.weight" in container.names  # the norm's scale of the coarser level
        assert container.meta["levels"] == [1, 2] and "inputs of digits" in container.meta["calibration"]


def test_pruning_beside_several_sizes_is_refused() -> None:
    with pytest.raises(ConfigError, match="give --target-size one size"):
        CompressConfig(target_size="2KB,4KB", prune=MethodChoice("magnitude")).check()
