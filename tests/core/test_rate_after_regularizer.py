"""A regularizer before rate-aware sharing: both trainings run, one after the other, and the file has its size."""

from pathlib import Path

import pytest
from digits_network import PREPROCESS, digits_network

from qacomp.api import compress


def test_the_penalty_comes_first_and_training_by_rate_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qacomp.calibration.tuning.STEPS", 40)
    done = compress(
        digits_network(),
        "digits",
        output=tmp_path / "m.qac",
        preprocess=PREPROCESS,
        reg="exp",
        sharing="rate",
        target_size="15x",
        epochs=2,
        tune_epochs=0,
        progress=False,
    )
    stages = [record.stage for record in done.history]
    assert stages == ["fine-tune"] * 2 + ["fine-tune by rate"] * 2
    assert done.accuracy.original is not None and done.accuracy.decoded is not None
    assert done.accuracy.decoded > done.accuracy.original - 5
    assert 15 * done.container_bytes <= 4 * sum(p.numel() for p in digits_network(steps=0).parameters())
