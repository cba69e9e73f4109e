"""--max-drop and --min-agreement by rate: the smallest file within a limit, decided on samples that aren't reported."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from digits_network import PREPROCESS, digits_network
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import qacomp
from qacomp.datasets import load_dataset
from qacomp.errors import ConfigError, DataError, TargetNotReachedError
from qacomp.evaluation.accuracy import onnx_logits, topk_accuracy
from qacomp.evaluation.held_outputs import HeldOutputs, loss_between
from qacomp.evaluation.metric import metric_of
from qacomp.evaluation.metrics import Measure
from qacomp.evaluation.paired import paired_loss
from qacomp.evaluation.verdict import BROKEN, DOUBTFUL, GOOD, GOOD_CENTRED, LARGEST_DROP, judge
from qacomp.gating.release import stated_figure
from qacomp.models import model_info
from qacomp.options.config import CompressConfig
from qacomp.options.needs import limited, rate_aware
from qacomp.runtime.agreement import Agreement, compare

FAST: dict[str, Any] = {"preprocess": PREPROCESS, "tune_epochs": 0, "sharing": "rate:tuned=false"}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return digits_network()


def scores(rows: int, classes: int = 4) -> tuple[NDArray[Any], NDArray[Any]]:
    """Random scores, and the labels that they name."""
    found = np.random.default_rng(0).normal(size=(rows, classes)).astype(np.float32)
    return found, found.argmax(1)


def agreement_of(before: NDArray[Any], after: NDArray[Any]) -> Agreement:
    return compare([{"y": before}], [{"y": after}], "scores", batch=len(before))


def test_only_rows_that_change_are_noise() -> None:
    before, labels = scores(400)
    after = before.copy()
    after[:9] = -before[:9]  # the largest score becomes the least
    loss = paired_loss("accuracy", before, after, labels)
    assert loss.lost == pytest.approx(100 * 9 / 400) and loss.error == pytest.approx(100 * 3 / 400)
    assert paired_loss("accuracy", before, before, labels).error == pytest.approx(100 / 400)


def test_the_noise_of_another_metric_comes_from_groups() -> None:
    rng = np.random.default_rng(0)
    targets, moved = rng.normal(size=(640, 3)), 0.1 * rng.normal(size=(640, 3))
    loss = paired_loss("mse", targets, targets + moved, targets)
    expected = (moved**2).mean(1).std() / math.sqrt(640)
    assert loss.lost == pytest.approx((moved**2).mean()) and loss.error == pytest.approx(expected, rel=0.5)
    assert paired_loss("mse", targets[:3], targets[:3], targets[:3]).error is None


def test_a_network_keeps_both_limits_on_the_validation_split(network: nn.Module) -> None:
    made = qacomp.compress(network, "digits", max_drop=2.0, min_agreement=0.97, **FAST)
    assert made.rate_search is not None and not made.missed and made.accuracy.original and made.accuracy.tuned
    drop, alike = made.rate_search.limits
    assert (drop.option, drop.asked, alike.asked) == ("--max-drop", 2.0, 0.97)
    assert drop.reached <= 2.0 and alike.reached >= 0.97 and "validation split of digits, 144" in alike.inputs
    assert drop.reported is not None and drop.reported == pytest.approx(made.accuracy.original - made.accuracy.tuned)
    assert drop.noise is not None and 0.0 < drop.noise < 5.0 and drop.reported <= 2.0 + drop.noise
    tried = [t for t in made.rate_search.trials if t.lost is not None and t.agreement is not None]
    kept = {t.scale: (t.lost or 0) <= 2.0 and (t.agreement or 0) >= 0.97 for t in tried}
    assert kept[made.rate_search.chosen or 0] and not all(kept.values())
    assert min(scale for scale in kept if not kept[scale]) < 1.04 * (made.rate_search.chosen or 0)
    assert any("--max-drop 2: lost" in note and "samples tell it to" in note for note in made.notes)
    assert made.to_json()["rate_search"]["limits"][0]["noise"] == drop.noise


def test_agreement_is_kept_on_generated_inputs(network: nn.Module) -> None:
    made = qacomp.compress(network, input_shape=(1, 28, 28), min_agreement=0.9999, sharing="rate:tuned=false")
    assert made.agreement is not None and made.agreement.cosine is not None and made.rate_search is not None
    assert 0.9999 <= made.agreement.cosine < 1
    scale = made.rate_search.chosen or 0
    missed = [t.scale for t in made.rate_search.trials if t.agreement is not None and t.agreement < 0.9999]
    assert scale < min(missed) < 1.04 * scale  # a little coarser is too coarse
    assert made.rate_search.limits[0].reached == pytest.approx(made.agreement.cosine, abs=1e-7)


def test_a_limit_out_of_reach_exits_with_what_was_reached(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("qacomp.stages.limit_search._TRIALS", 2)
    with pytest.raises(TargetNotReachedError, match=r"reached cosine 0\.99"):
        qacomp.compress(
            network, input_shape=(1, 28, 28), min_agreement=0.99999999, output=tmp_path / "m.qac", sharing="rate"
        )
    assert not list(tmp_path.iterdir())


def test_training_aims_at_a_limit(network: nn.Module) -> None:
    made = qacomp.compress(network, "digits", max_drop=3.0, **(FAST | {"epochs": 1}))
    assert made.rate_search is not None and made.rate_search.limits[0].asked == 3.0
    assert bool(made.missed) == (made.rate_search.limits[0].reached > 3.0)


def classifier(network: nn.Module) -> Any:
    """The network as an ONNX model of images (n, 1, 28, 28), whose mean of four pixels is part of the first weight."""
    first, second = (m for m in network if isinstance(m, nn.Linear))  # type: ignore[attr-defined]
    pooled = first.weight.detach().numpy().reshape(64, 14, 14)
    tensors = {
        "w1": (np.repeat(np.repeat(pooled, 2, 1), 2, 2) / 4).reshape(64, 784),
        "b1": first.bias.detach().numpy(),
        "w2": second.weight.detach().numpy(),
        "b2": second.bias.detach().numpy(),
    }
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w1", "b1"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], transB=1),
    ]
    ends: tuple[tuple[str, list[str | int]], ...] = (("x", ["n", 1, 28, 28]), ("y", ["n", 10]))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends]
    held = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_what_decides_is_not_reported(network: nn.Module) -> None:
    """Decide on a third of 600 labelled images, and report the other two thirds."""
    model, data = classifier(network), load_dataset("digits")
    preprocessing = model_info("lenet300").preprocessing
    arrays = {"x": preprocessing.apply(data.train.x[:600]), "y": data.train.y[:600]}
    made = qacomp.compress(model, arrays, max_drop=1.0)
    assert made.metric is not None and made.metric.samples == 400 and made.rate_search is not None
    (limit,) = made.rate_search.limits
    assert "validation part of arrays, 200 samples" in limit.inputs and limit.reached <= 1.0
    assert limit.reported == pytest.approx(made.metric.original - made.metric.decoded)
    plain = qacomp.compress(model, arrays)  # a quality is decided there too
    assert plain.metric is not None and plain.metric.samples == 400
    sized = qacomp.compress(model, arrays, target_size="12KB")  # nothing is decided: all are reported
    assert sized.metric is not None and sized.metric.samples == 600
    own = qacomp.compress(model, "digits", max_drop=1.0, preprocess=PREPROCESS)  # its own validation split
    assert own.metric is not None and own.metric.samples == len(data.test)
    assert own.rate_search is not None and f"{len(data.val)} samples" in own.rate_search.limits[0].inputs


def test_other_samples_may_say_no(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples that are reported choose no steps: where they say no, there is no file."""
    images = load_dataset("digits").train
    arrays = {"x": model_info("lenet300").preprocessing.apply(images.x[:600]), "y": images.y[:600]}
    monkeypatch.setattr("qacomp.stages.validation._DROP", 100.0)
    with pytest.raises(TargetNotReachedError, match=r"good where samples decide, but .* give more labelled samples"):
        qacomp.compress(classifier(network), arrays)


@pytest.mark.parametrize(("first", "count"), [(0, 60), (200, 75), (200, 100), (400, 100)])
def test_few_labels_do_not_hide_a_loss(network: nn.Module, first: int, count: int) -> None:
    """A third of so few images decides. By their labels alone these took steps that lose up to 13 points elsewhere."""
    model, data = classifier(network), load_dataset("digits")
    images = model_info("lenet300").preprocessing.apply(data.train.x)
    part = slice(first, first + count)
    made = qacomp.compress(model, {"x": images[part], "y": data.train.y[part]})
    assert made.verdict.word == GOOD and not made.missed and f"{count - count // 3} samples only" in str(made.verdict)
    other, labels = images[600:], data.train.y[600:]
    files = (model, qacomp.decode(made, to="onnx"))
    before, after = (topk_accuracy(onnx_logits(m.SerializeToString(), other), labels, 1) for m in files)
    assert before - after <= LARGEST_DROP / 2


def test_a_network_is_judged_by_its_outputs_on_few_labels(network: nn.Module, tmp_path: Path) -> None:
    data = load_dataset("digits")
    splits = {"train": data.train, "val": data.val.take(np.arange(50)), "test": data.test.take(np.arange(60))}
    arrays = {f"{p}_{n}": getattr(s, p) for n, s in splits.items() for p in "xy"}
    np.savez(tmp_path / "few.npz", **arrays)
    made = qacomp.compress(network, f"npz:{tmp_path / 'few.npz'}", preprocess=PREPROCESS, tune_epochs=0)
    assert made.verdict.word == GOOD and "on 60 samples only" in str(made.verdict) and made.agreement is not None
    assert made.agreement.centred is not None and made.agreement.centred >= GOOD_CENTRED
    again = qacomp.decode(made, tmp_path / "m.onnx")
    assert again.verdict == made.verdict


@pytest.mark.parametrize(
    ("found", "samples", "word"),
    [(99.0, 199, DOUBTFUL), (99.0, 200, GOOD), (97.9, 40, DOUBTFUL), (97.9, None, DOUBTFUL), (80.0, 100, BROKEN)],
)
def test_few_samples_leave_the_verdict_to_the_outputs(found: float, samples: int | None, word: str) -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(size=(64, 10)).astype(np.float32)
    doubtful = agreement_of(before, before + 0.3 * rng.normal(size=before.shape).astype(np.float32))
    same = agreement_of(before, before)
    assert judge(doubtful, {}, (100.0, found), samples=samples).word == word
    assert judge(same, {}, (100.0, 97.5), samples=40).word == GOOD  # one of 40
    assert judge(None, {}, (100.0, 97.5), samples=40).word == DOUBTFUL  # nothing else was measured


def test_bare_tensors_agree_by_their_own_errors() -> None:
    rng = np.random.default_rng(0)
    state = {f"w{i}.weight": rng.normal(size=(64, 64)).astype(np.float32) for i in range(2)}
    made = qacomp.compress(state, min_agreement=0.999)
    read = qacomp.decode(made, to="numpy")
    for name, value in state.items():
        assert 0.0003 < ((read[name] - value) ** 2).sum() / (value**2).sum() / 2 <= 0.0011
    assert made.rate_search is not None and "weights alone" in made.rate_search.limits[0].inputs


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_drop": 1.0, "k": 8}, "--k: has no effect with rate-aware"),
        ({"max_drop": 1.0, "quality": "high"}, "--quality: has no effect together with --max-drop"),
        ({"min_agreement": 0.9, "quality": "high"}, "--quality: has no effect together with"),
        ({"max_drop": 1.0, "target_size": "3KB"}, "--max-drop: has no effect together with --target-size"),
        ({"min_agreement": 0.9, "target_size": "3KB"}, "--min-agreement: has no effect together with --target-size"),
        ({"min_agreement": 0.9, "epochs": 3}, "--min-agreement: has no effect together with training"),
        (
            {"min_agreement": 0.0, "sharing": "rate"},
            "--min-agreement: has no effect with rate-aware sharing if it is 0",
        ),
        ({"max_drop": -1.0}, "max_drop"),
    ],
)
def test_limits_beside_other_targets_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CompressConfig().with_settings(settings, "test").check()


def test_agreement_with_k_is_that_of_k_means() -> None:
    assert limited(CompressConfig(min_agreement=0.9)) and not rate_aware(CompressConfig(min_agreement=0.9, k=8))
    assert not rate_aware(CompressConfig(min_agreement=0.0))


def test_a_limit_of_the_metric_needs_labels(network: nn.Module) -> None:
    with pytest.raises(ConfigError, match="--max-drop 1: needs labelled data; give --data"):
        qacomp.compress(network, input_shape=(1, 28, 28), max_drop=1.0)
    with pytest.raises(ConfigError, match="--max-drop 1: needs a network or an ONNX model"):
        qacomp.compress({"a.weight": np.ones((32, 32), np.float32)}, "digits", max_drop=1.0)
    images = np.random.default_rng(0).random((8, 1, 28, 28), np.float32)
    with pytest.raises(DataError, match="--max-drop 1: no metric was measured; give --data with targets"):
        qacomp.compress(classifier(network), {"x": images}, max_drop=1.0)


def test_a_metric_of_ones_own_may_rise(network: nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "own_error.py").write_text(
        "def error(y, t):\n    return float((y.argmax(1) != t).mean())\nerror.higher_is_better = False\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before, labels = scores(400)
    after = before.copy()
    after[:100] = -before[:100]
    assert paired_loss("own_error:error", before, after, labels).lost == pytest.approx(0.25)
    rises = Measure("own_error:error", 0.1, 0.3, 9, higher=False)
    assert rises.lost == pytest.approx(0.2) and rises.to_json()["higher_is_better"] is False
    assert stated_figure({"metric": rises.to_json()}).drop == pytest.approx(0.2)
    assert "higher_is_better" not in Measure("mse", 0.1, 0.3, 9, higher=False).to_json()
    data = load_dataset("digits")
    arrays = {"x": model_info("lenet300").preprocessing.apply(data.train.x[:300]), "y": data.train.y[:300]}
    made = qacomp.compress(classifier(network), arrays, max_drop=0.03, metric="own_error:error")
    assert made.metric is not None and made.metric.decoded <= made.metric.original + 0.1
    assert made.rate_search is not None and 0 <= made.rate_search.limits[0].reached <= 0.03


def test_the_noise_of_a_networks_own_metric_comes_from_groups() -> None:
    generator = torch.Generator().manual_seed(0)
    targets, moved = torch.randn(640, 3, generator=generator), 0.1 * torch.randn(640, 3, generator=generator)

    def closeness(outputs: torch.Tensor, wanted: torch.Tensor) -> float:
        return -float(((outputs - wanted) ** 2).mean())

    def held(outputs: torch.Tensor) -> HeldOutputs:
        outputs_of, targets_of = ([t[i : i + 128] for i in range(0, 640, 128)] for t in (outputs, targets))
        return HeldOutputs(tuple(outputs_of), tuple(targets_of), 640)

    before, after, metric = held(targets), held(targets + moved), metric_of("closeness", closeness)
    loss = loss_between(before, after, metric, (before.value(metric), after.value(metric)))
    expected = float((moved**2).mean(1).std()) / math.sqrt(640)
    assert loss.lost == pytest.approx(float((moved**2).mean())) and loss.error == pytest.approx(expected, rel=0.5)
    listed = HeldOutputs(before.outputs, tuple([t] for t in before.targets), 640)  # of no known order of examples
    assert loss_between(listed, listed, metric, (0.0, 0.0)).error is None
