"""Rate-aware sharing of ONNX models and bare tensors: sizes, qualities, equal bytes, less error than plain rounding."""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

import qacomp
from qacomp.calibration.output_distance import OutputDistance
from qacomp.errors import TargetNotReachedError
from qacomp.formats import open_file
from qacomp.rate.compensation import factorized
from qacomp.rate.guard import guarded
from qacomp.rate.matrices import output_major
from qacomp.rate.sharing import RateSharing
from qacomp.rate.steps import WeightOnGrid, balanced_steps
from qacomp.rate.weight_error import relative_error


def network(inputs: int = 24, hidden: int = 96) -> ModelProto:
    """A small network whose inputs predict each other: x of few sources, a ReLU between two products."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(inputs, hidden)) / np.arange(1, hidden + 1)
    tensors = {
        "mixing": mixing,
        "first": rng.normal(size=(hidden, hidden)),
        "second": rng.normal(size=(hidden, 16)),
        "bias": rng.normal(size=16),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "mixing"], ["m"]),
        helper.make_node("MatMul", ["m", "first"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "second", "bias"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [32, s]) for n, s in (("x", inputs), ("y", 16))]
    held = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def shared(**settings: Any) -> Any:
    return qacomp.compress(network(), exclude=("mixing",), sharing="rate", **settings)


@pytest.mark.parametrize("size", [12_800, 20_000])
def test_a_size_is_reached_from_below(size: int) -> None:
    made = shared(target_size=str(size))
    assert 0.99 * size <= made.container_bytes <= size
    assert made.container_bytes == Path(made.output).stat().st_size
    with open_file(made.output) as container:
        assert "32 generated inputs" in container.meta["calibration"]


def test_the_same_settings_give_the_same_bytes(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.qac", "b.qac")]
    for file in files:
        qacomp.compress(network(), output=file, target_size="12800", seed=3)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_quality_is_kept() -> None:
    sizes = {}
    for quality in ("high", "balanced", "small"):
        made = shared(quality=quality)
        sizes[quality] = made.container_bytes
        if quality != "small":
            assert made.verdict.word == "good"
    assert min(sizes["high"], sizes["balanced"]) > sizes["small"]  # a good verdict may ask more of this one than high


def test_a_size_below_the_graph_is_refused() -> None:
    with pytest.raises(TargetNotReachedError, match="--target-size 300"):
        shared(target_size="300")


def test_bare_tensors_reach_a_size_by_their_weights_alone() -> None:
    rng = np.random.default_rng(0)
    state = {f"layer{i}.weight": rng.normal(size=(64, 64)).astype(np.float32) * 10.0**i for i in range(3)}
    made = qacomp.compress(state, target_size="6KB")
    assert 0.99 * 6000 <= made.container_bytes <= 6000
    errors = [layer.error_db or 0.0 for layer in made.layers]
    assert max(errors) - min(errors) < 1  # steps go with the weights' deviation


def test_a_weight_whose_compensation_harms_elsewhere_is_rounded_plainly() -> None:
    """Two equal weights with equal factors; elsewhere outputs like the compensated values of one alone."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 12)) @ rng.normal(size=(12, 12))
    weight = WeightOnGrid(rng.normal(size=(8, 12)), output_major((8, 12)), factorized((x.T @ x / 200)[None]))
    names = ("helped", "harmed")
    sharing = RateSharing(
        dict.fromkeys(names, weight), dict.fromkeys(names, 0.5), dict.fromkeys(names, np.dtype(float)), "exact", {}
    )
    better = {"helped": weight.integers(0.5) * 0.5, "harmed": np.rint(weight.values / 0.5) * 0.5}
    found, plain = guarded(
        sharing, lambda v: sum(float(((a - better[n]) ** 2).sum()) for n, a in v.items()), lambda: None
    )
    assert plain == ["harmed"]
    assert found.weights["harmed"].factor is None and found.weights["helped"].factor is not None


def test_a_weight_that_moves_no_output_costs_what_an_equal_one_costs() -> None:
    """Three equal weights, one of them in a branch that isn't taken, of outputs that hardly feel any of them."""
    weights = {name: WeightOnGrid(np.random.default_rng(0).normal(size=(32, 32))) for name in ("a", "b", "idle")}

    def moved(values: Mapping[str, NDArray[Any]]) -> float:
        return sum(1e-3 * relative_error(weights[n].values, v) for n, v in values.items() if n != "idle")

    steps = balanced_steps(weights, moved, lambda: None).steps
    assert steps["idle"] == pytest.approx(steps["a"]) == pytest.approx(steps["b"])


def test_what_made_up_inputs_say_of_steps_counts_by_half() -> None:
    """Of weights of deviations 1 and 4 with equal steps, the first one's becomes half as wide as the second one's."""
    rng = np.random.default_rng(0)
    values = {"narrow": rng.normal(size=(40, 50)), "wide": 4 * rng.normal(size=(40, 50)), "zero": np.zeros((40, 50))}
    weights = {name: WeightOnGrid(array) for name, array in values.items()}
    sharing = RateSharing(weights, dict.fromkeys(values, 0.5), dict.fromkeys(values, np.dtype(float)), "exact", {})
    steps = sharing.eased().steps
    assert steps["wide"] / steps["narrow"] == pytest.approx(2, rel=0.05) and steps["zero"] == 0.5
    assert steps["wide"] * steps["narrow"] == pytest.approx(0.25)


def test_outputs_that_say_nothing_are_no_part_of_the_distance() -> None:
    """Of a constant output and one that varies, the second counts alone; without a change the distance is zero."""
    w = np.eye(3, dtype=np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Identity", ["w"], ["still"])]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [s, 3]) for n, s in (("x", 2), ("y", 2), ("still", 3))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(w, "w")])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.normal(size=(2, 3)).astype(np.float32)} for _ in range(5)]
    distance = OutputDistance(proto, ["w"], feeds)
    y = np.stack([feed["x"] for feed in feeds]).astype(np.float64)
    assert distance.measures and distance({}) == 0
    wanted = 0.01 * (y**2).sum() / ((y - y.mean(axis=0)) ** 2).sum()
    assert distance({"w": np.float32(0.9) * w}) == pytest.approx(wanted, rel=1e-5)


def test_calibration_data_needs_no_labels(tmp_path: Path) -> None:
    """An archive of the inputs alone, under the input's name or a plain x, which is another than the model's."""
    x = np.random.default_rng(0).normal(size=(96, 24)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    proto = network()
    for node in proto.graph.node:
        node.input[:] = ["signal" if name == "x" else name for name in node.input]
    proto.graph.input[0].name = "signal"
    made = qacomp.compress(proto, target_size="12800", calibration=f"npz:{tmp_path / 'x.npz'}")
    with open_file(made.output) as container:
        assert container.meta["calibration"] == f"3 runs on inputs of npz:{tmp_path / 'x.npz'}"


def test_steps_for_texts_of_random_words_follow_plain_rounding_and_the_weights_are_compensated(
    small: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: dict[str, bool] = {}
    calibrated: list[RateSharing] = []

    def watched(weights: Mapping[str, WeightOnGrid], *rest: Any) -> Any:
        tried.update({name: weight.factor is None for name, weight in weights.items()})
        return balanced_steps(weights, *rest)

    def kept(sharing: RateSharing, *rest: Any) -> Any:
        calibrated.append(sharing)
        return guarded(sharing, *rest)

    monkeypatch.setattr("qacomp.rate.sharing.balanced_steps", watched)
    monkeypatch.setattr("qacomp.stages.share_by_rate.guarded", kept)
    qacomp.compress(small.sentence_transformer(), sharing="rate", target_size="40KB")
    assert tried and all(tried.values())
    (sharing,) = calibrated
    weights = sharing.weights.values()
    assert any(weight.factor is not None for weight in weights) and all(weight.columns is None for weight in weights)
