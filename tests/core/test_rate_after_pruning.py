"""Rate-aware sharing after pruning: what was pruned stays zero to the end, and the report says what the file holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digits_network import PREPROCESS, digits_network

from qacomp.api import compress
from qacomp.formats import open_file

SETTINGS: dict[str, dict[str, Any]] = {
    "trained": {"prune": "magnitude:rate=0.6,epochs=4", "epochs": 8, "tune_epochs": 0},
    "tuned without labels": {"prune": "magnitude:rate=0.6,epochs=4", "epochs": 0, "tune_epochs": 0},
    "tuned on labels": {"prune": "magnitude:rate=0.5,epochs=6,unit=filter", "epochs": 0, "tune_epochs": 2},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_pruned_weights_are_zero_in_a_file_of_the_size_asked_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 20th of the fp32 size, at most five points below the original; no layer has more weights than the report."""
    monkeypatch.setattr("qacomp.calibration.tuning.STEPS", 60)
    done = compress(
        digits_network(),
        "digits",
        output=tmp_path / "m.qac",
        preprocess=PREPROCESS,
        target_size="20x",
        progress=False,
        **SETTINGS[name],
    )
    assert done.accuracy.original is not None and done.accuracy.decoded is not None
    assert done.accuracy.decoded > done.accuracy.original - 5
    assert done.pruning is not None and 20 * done.container_bytes <= 4 * done.pruning.parameters
    with open_file(tmp_path / "m.qac") as container:
        assert container.meta["pruning"]["parameters_kept"] == done.pruning.parameters_kept
        for layer in done.pruning.layers:
            weights = container.tensor(layer.name)
            assert weights.size == layer.left
            assert np.count_nonzero(weights) <= layer.kept < layer.weights
