"""Check what `compress` does without options: by rate, a good verdict or an error, for every kind of source."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_trial import images, network
from two_products import two_products

import qacomp
from qacomp.calibration.given_images import given_inputs
from qacomp.calibration.weights_alone import OF_SUM, WeightsAlone
from qacomp.cli.main import main
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.errors import DataError
from qacomp.options.config import CompressConfig
from qacomp.options.needs import rate_aware
from qacomp.options.older import translated
from qacomp.rate.plain import on_grid_within
from qacomp.rate.weight_error import relative_error
from qacomp.sharing.share import Packed


@pytest.mark.parametrize(
    "settings",
    [
        {"k": 8},
        {"k_layers": {"a": 4}},
        {"levels": (4, 16)},
        {"codebook": "channel"},
        {"rounding": "nearest"},
        {"reg": "exp"},
        {"quantizer": "dorefa"},
        {"prune": "magnitude"},
        {"sharing": "after"},
        {"distill": "ta-m"},
    ],
)
def test_what_asks_for_k_means_gets_it(settings: dict[str, Any]) -> None:
    assert not rate_aware(CompressConfig(**settings))
    assert rate_aware(CompressConfig(quality="high") if "sharing" in settings else CompressConfig())


def test_an_onnx_model_keeps_its_outputs() -> None:
    made = qacomp.compress(two_products())
    assert made.verdict.word == "good" and not made.missed
    assert made.settings["sharing"] == "rate" and made.settings["quality"] == "balanced" and made.settings["k"] is None
    assert any("calibrated on" in note for note in made.notes)
    assert qacomp.compress(two_products(), k=16).settings["sharing"] == "after"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bare_tensors_are_as_exact_as_a_good_verdict_asks(tmp_path: Path, dtype: torch.dtype) -> None:
    """The errors of twelve tensors add up to no more than -12 dB; the file says that nothing was compared."""
    generator = torch.Generator().manual_seed(0)
    state = {f"l{i}.weight": torch.randn(48, 32, generator=generator).to(dtype) for i in range(12)}
    save_file(state | {"steps": torch.arange(3)}, tmp_path / "w.safetensors")
    made = qacomp.compress(tmp_path / "w.safetensors", output=tmp_path / "w.qac")
    read = qacomp.decode(tmp_path / "w.qac")
    total = sum(float(((read[n].double() - v.double()) ** 2).sum() / (v.double() ** 2).sum()) for n, v in state.items())
    assert 0.04 < total < 10**-1.2 and torch.equal(read["steps"], torch.arange(3))
    assert made.verdict.word == "not measured" and any("no outputs are compared" in note for note in made.notes)


def test_a_few_tensors_are_exact_one_by_one() -> None:
    weights = {"a": np.ones((4, 4)), "b": np.ones((4, 4))}
    distance = WeightsAlone(lambda name: weights[name]).distance
    assert distance({"a": np.full((4, 4), 0.9)}) == pytest.approx(0.01)
    many = WeightsAlone(lambda name: np.ones(4)).distance({str(i): np.full(4, 0.9) for i in range(20)})
    assert many == pytest.approx(20 * 0.01 * OF_SUM)


@pytest.mark.parametrize("error", [0.3, 0.01, 1e-6])
def test_a_grid_is_as_coarse_as_the_error_allows(error: float) -> None:
    values = np.random.default_rng(0).laplace(size=(64, 50)).astype(np.float32)
    item = on_grid_within(values, error, "exact")
    assert isinstance(item, Packed) and 0.5 * error < relative_error(values, item.dense()) <= error
    assert on_grid_within(np.full((4, 4), np.nan, np.float32), error, "exact") == "it holds NaN or infinity"


def test_a_network_with_data_is_tuned_and_not_trained() -> None:
    made = qacomp.compress(network()[1].model, images_mapping(), min_size=1, batch_size=16)
    assert made.verdict.word == "good" and made.settings["epochs"] == 0 and made.settings["tune_epochs"] > 0
    assert made.accuracy.decoded is not None


def test_a_file_that_is_smaller_than_asked_says_so(tmp_path: Path) -> None:
    """Weights that are exact can't fill a larger file: the file is written, and the result says what it misses."""
    made = qacomp.compress({"a.weight": np.eye(32, dtype=np.float32)}, target_size="90KB", output=tmp_path / "a.qac")
    assert made.missed.startswith("--target-size 90KB: the file has") and (tmp_path / "a.qac").exists()
    save_file({"a.weight": torch.eye(32)}, tmp_path / "a.safetensors")
    with pytest.raises(SystemExit) as left:
        main(["compress", str(tmp_path / "a.safetensors"), "--target-size", "90KB"])
    assert left.value.code == 1


def images_mapping() -> dict[str, Any]:
    data = images()
    x, y = np.concatenate([data.train.x, data.val.x]), np.concatenate([data.train.y, data.val.y])
    return {"x_train": x, "y_train": y, "x_test": data.test.x, "y_test": data.test.y}


def test_calibration_images_need_no_labels(tmp_path: Path) -> None:
    preprocessing = Preprocessing((6, 6), 1, (0.5,), (0.25,))
    rng = np.random.default_rng(0)
    pictures, ready = rng.integers(0, 256, (30, 6, 6)).astype(np.uint8), rng.normal(size=(9, 1, 6, 6))
    np.savez(tmp_path / "p.npz", x=pictures)
    np.savez(tmp_path / "r.npz", x=ready)
    np.savez(tmp_path / "n.npz", x=np.full((9, 1, 6, 6), np.nan))
    np.savez(tmp_path / "w.npz", x=np.zeros((9, 5)))
    found = given_inputs(f"npz:{tmp_path / 'p.npz'}", preprocessing, 20, 0)
    whole = preprocessing.apply(pictures)
    assert found.shape == (20, 1, 6, 6) and all(any((row == other).all() for other in whole) for row in found)
    assert np.array_equal(given_inputs(f"npz:{tmp_path / 'r.npz'}", preprocessing, 20, 0), ready.astype(np.float32))
    for name, match in (("n", "NaN"), ("w", "x: images must be")):
        with pytest.raises(DataError, match=match):
            given_inputs(f"npz:{tmp_path / name}.npz", preprocessing, 20, 0)


def test_settings_of_files_from_before_lose_a_k_without_effect() -> None:
    for beside in ({"quantizer": "dorefa"}, {"codebook": "affine4"}, {"sharing": "rate"}):
        assert "k" not in translated({"k": 16, **beside}, "file")
        assert translated({"k": 8, **beside}, "file")["k"] == 8
    assert translated({"k": 16, "sharing": "after"}, "file")["k"] == 16
