"""Good, doubtful, broken, not measured: on networks of the shapes that people compress, and at each threshold."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import qacomp
from qacomp.evaluation import verdict
from qacomp.evaluation.advice import finer_settings
from qacomp.evaluation.verdict import Verdict, judge, stated_verdict
from qacomp.formats import open_file
from qacomp.options.config import CompressConfig
from qacomp.runtime.agreement import Agreement
from qacomp.runtime.operator_error import OperatorError
from qacomp.runtime.output_agreement import OutputAgreement

DETECTORS = ("ocr_recogniser", "ssd_detector", "yolo_detector", "sentence_transformer", "text_classifier")
SPEECH = ("voice_detector", "denoiser")


def word(small: ModuleType, kind: str, k: int) -> str:
    return qacomp.compress(getattr(small, kind)(), k=k, min_agreement=0).verdict.word


@pytest.mark.parametrize("kind", DETECTORS)
def test_a_network_of_two_values_is_broken_and_of_256_good(small: ModuleType, kind: str) -> None:
    assert word(small, kind, 2) == "broken"
    assert word(small, kind, 16) in ("doubtful", "broken")
    assert word(small, kind, 256) == "good"


@pytest.mark.parametrize("kind", SPEECH)
def test_speech_models_that_work_with_16_values_are_not_called_broken(small: ModuleType, kind: str) -> None:
    assert word(small, kind, 16) in ("doubtful", "good")
    assert word(small, kind, 256) == "good"


def test_a_collapsed_prior_is_seen_though_the_flattened_cosine_is_fine(small: ModuleType) -> None:
    result = qacomp.compress(small.ssd_detector(), k=4, min_agreement=0)
    assert result.agreement is not None
    boxes = next(o for o in result.agreement.outputs if o.name == "boxes")
    assert boxes.cosine is not None and boxes.cosine > 0.99
    assert boxes.centred is not None and boxes.centred < 0.5
    assert result.verdict.word == "broken" and "--k 16" in result.verdict.advice


def agreed(**figures: Any) -> Agreement:
    output = replace(OutputAgreement("y", 1.0, 0.0, None, centred=1.0), **figures)
    return Agreement("", 8, output.cosine, 0.0, output.top1, (output,), output.centred)


FINE = {f"w{i}": OperatorError(-40.0, "Conv") for i in range(3)}
NOISY = {f"w{i}": OperatorError(-5.0, "Conv") for i in range(3)}


@pytest.mark.parametrize(
    ("figures", "errors", "expected"),
    [
        ({}, FINE, "good"),
        ({}, {}, "good"),
        ({"centred": 0.98}, FINE, "doubtful"),
        ({"centred": 0.3}, NOISY, "broken"),
        ({"centred": 0.3}, FINE, "doubtful"),  # a chaotic state: what the operators make is right
        ({"centred": None, "cosine": 0.3}, NOISY, "broken"),
        ({}, NOISY, "doubtful"),
        ({"not_finite": 1}, FINE, "broken"),
        ({"rare": 94.0, "top1": 99.0, "positions": 100}, FINE, "doubtful"),
        ({"rare": 20.0, "top1": 99.0, "positions": 100}, NOISY, "broken"),
        ({"top1": 87.5, "positions": 8}, FINE, "good"),  # one of eight may lie on a border
        ({"top1": 75.0, "positions": 8}, FINE, "doubtful"),
        ({"equal": 98.0, "centred": None}, FINE, "doubtful"),
        ({"other_shape": 1}, FINE, "doubtful"),
        ({"unmeasured": "it is one constant", "cosine": None, "centred": None}, FINE, "not measured"),
        ({"unmeasured": "it is one constant", "cosine": None, "centred": None, "not_finite": 3}, FINE, "broken"),
    ],
)
def test_each_threshold(figures: dict[str, Any], errors: dict[str, OperatorError], expected: str) -> None:
    verdict = judge(agreed(**figures), errors)
    assert verdict.word == expected and verdict.reasons
    assert verdict.passes == (expected in ("good", "not measured"))
    assert bool(verdict.advice) == (expected != "good")


def test_accuracy_decides_where_it_is_known() -> None:
    bad = agreed(centred=0.2)
    assert judge(bad, NOISY, (90.0, 89.0)).word == "good"
    assert judge(agreed(), FINE, (90.0, 87.9)).word == "doubtful"
    assert judge(agreed(), FINE, (90.0, 60.0)).word == "broken"
    assert "90.00 -> 60.00" in str(judge(None, {}, (90.0, 60.0)))


@pytest.mark.parametrize(
    ("settings", "finer"),
    [
        ({"k": 16}, "--k 64"),
        ({"k": 256}, "--min-agreement 0.9999"),
        ({"k": 16, "codebook": "channel"}, None),
        ({"quality": "small"}, "--quality balanced"),
        ({"quality": "balanced"}, "--quality high"),
        ({"quality": "high"}, None),
        ({"target_size": "3KB"}, "a larger --target-size"),
    ],
)
def test_the_advice_follows_the_way_of_sharing(settings: dict[str, Any], finer: str | None) -> None:
    assert finer_settings(CompressConfig(**settings)) == finer


def test_the_advice_names_the_tensor_that_loses_most_and_never_a_dangerous_name() -> None:
    errors = FINE | {"bad one": OperatorError(-2.0, "MatMul")}
    assert judge(agreed(centred=0.9), errors, finer="--k 64").advice == "--k 64 or --exclude 'bad one'"
    unsafe = FINE | {"a\x1b[31m": OperatorError(-2.0, "MatMul")}
    assert judge(agreed(centred=0.9), unsafe, finer="--k 64").advice == "--k 64"
    assert "--data" in judge(None, {}).advice


def test_bare_weights_are_not_measured_and_say_what_they_lose() -> None:
    rng = np.random.default_rng(0)
    state = {"a.weight": rng.standard_normal((64, 64)).astype(np.float32), "b": np.zeros(4, np.float32)}
    result = qacomp.compress(state, k=16)
    (layer,) = (layer for layer in result.layers if layer.k)
    read = qacomp.decode(result, to="numpy")["a.weight"]
    own = 10 * np.log10(((read - state["a.weight"]) ** 2).sum() / (state["a.weight"] ** 2).sum())
    assert layer.error_db == pytest.approx(own) and layer.error_of == "weights"
    assert result.verdict.word == "not measured" and "dB" in str(result.verdict)
    assert result.to_json()["verdict"] == "not measured"


def test_a_network_without_data_is_measured_on_generated_pictures() -> None:
    import torch
    from torch import nn

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 10))
    fine, coarse = (qacomp.compress(network, k=k, input_shape=(3, 8, 8), min_agreement=0) for k in (256, 2))
    assert fine.agreement is not None and fine.agreement.centred is not None and fine.agreement.centred > 0.99
    assert fine.verdict.word == "good" and coarse.verdict.word in ("doubtful", "broken")
    errors = {layer.name: (layer.error_db, layer.error_of) for layer in coarse.layers if layer.k}
    assert {of for _, of in errors.values()} == {"Conv2d", "Linear"}
    assert all(db is not None and -40 < db < 0 for db, _ in errors.values())


def test_a_trained_network_that_lost_accuracy_is_told(digits: Any) -> None:
    import torch
    from torch import nn

    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    x = torch.from_numpy(digits.train.x).float().reshape(len(digits.train.x), 1, 8, 8) / 255
    y = torch.from_numpy(np.asarray(digits.train.y)).long()
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    settings = {"k": 2, "epochs": 0, "tune_epochs": 0, "preprocess": "size=8,mean=0,std=1"}
    lost = qacomp.compress(network, digits, settings)
    assert lost.accuracy.original is not None and lost.accuracy.decoded is not None
    assert lost.accuracy.original - lost.accuracy.decoded > 2
    assert lost.verdict.word in ("doubtful", "broken") and lost.verdict.reasons[0].startswith("accuracy ")


def test_the_container_states_its_verdict_and_odd_metadata_is_no_verdict(small: ModuleType, tmp_path: Path) -> None:
    result = qacomp.compress(small.denoiser(), k=2, output=tmp_path / "m.qac", min_agreement=0)
    with open_file(tmp_path / "m.qac") as container:
        assert stated_verdict(container.meta) == result.verdict
    done = qacomp.decode(result, tmp_path / "m.onnx")
    assert done.verdict == result.verdict and not done.judged_now
    assert done.to_json()["verdict"] == result.verdict.word
    assert stated_verdict({"verdict": "perfect"}) is None and stated_verdict({"verdict": ["good"]}) is None
    assert stated_verdict({}) is None
    odd = stated_verdict({"verdict": "good", "verdict_reasons": "x", "verdict_advice": 3})
    assert odd == Verdict("good", ())
    long = stated_verdict({"verdict": "broken", "verdict_reasons": ["x" * 10_000] * 100})
    assert long is not None and len(str(long)) < 5000


def test_the_page_states_the_thresholds_of_the_code() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "verdict.md").read_text(encoding="utf-8")
    for text in (
        f"more than {verdict.LARGEST_DROP:g} points is doubtful, more than {verdict.BROKEN_DROP:g} broken",
        f"≥ {verdict.GOOD_CENTRED:g} | < {verdict.BROKEN_CENTRED:g} in all outputs",
        f"< {verdict.LOST_CENTRED:g} in one",
        f"≥ {verdict.GOOD_TOP1:g} %",
        f"< {verdict.BROKEN_TOP1:g} %",
        f"≥ {verdict.GOOD_EQUAL:g} %",
        f"≤ −{-verdict.GOOD_SUM:g} dB",
        f"below −{-verdict.SOUND_SUM:g} dB",
    ):
        assert text in " ".join(page.split()), text
