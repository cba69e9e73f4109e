"""More than K shared values where outputs need them: who gets them, what that costs, and that K is K otherwise."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import qacomp
from qacomp.errors import AgreementNotReachedError, ConfigError
from qacomp.options.config import CompressConfig
from qacomp.result import Result
from qacomp.sharing.allocation import FACTORS, allocate, channel_weights, relative_error
from qacomp.sharing.kmeans import kmeans
from qacomp.sharing.symmetric import symmetric_kmeans

SIDE = 64


def matrices(count: int) -> list[NDArray[np.float32]]:
    """Normal ones, the last with a few columns of very small weights."""
    rng = np.random.default_rng(0)
    made = [rng.standard_normal((SIDE, SIDE)).astype(np.float32) / np.float32(np.sqrt(SIDE)) for _ in range(count)]
    made[-1][:, ::4] /= 500
    return made


def model(count: int = 3) -> onnx.ModelProto:
    """x -> MatMul -> Tanh -> ... -> y, whose outputs are scaled up again where the weights are small."""
    nodes, value = [], "x"
    for i in range(count):
        nodes += [
            helper.make_node("MatMul", [value, f"w{i}"], [f"p{i}"]),
            helper.make_node("Tanh", [f"p{i}"], [f"a{i}"]),
        ]
        value = f"a{i}"
    nodes.append(helper.make_node("Mul", [value, "scale"], ["y"]))
    scale = np.where(np.arange(SIDE) % 4 == 0, 500, 0.01).astype(np.float32)
    tensors = [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(matrices(count))]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", SIDE]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [*tensors, numpy_helper.from_array(scale, "scale")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def sizes(result: Result) -> dict[str, int | None]:
    return {layer.name: layer.k for layer in result.layers}


def cosine(result: Result) -> float:
    assert result.agreement is not None and result.agreement.cosine is not None
    return result.agreement.cosine


def test_bits_go_where_they_take_away_most_error() -> None:
    calls: list[tuple[str, int]] = []

    def error(name: str, k: int) -> float:
        calls.append((name, k))
        return {"bad": 1.0, "good": 0.01, "large": 0.5}[name] * (256 / k) ** 2

    values = {"bad": 10_000, "good": 10_000, "large": 1_000_000}
    assert allocate(values, 256, error, 1.0) == dict.fromkeys(values, 256)
    assert allocate(values, 256, error, 0.6) == {"bad": 512, "good": 256, "large": 256}
    least = allocate(values, 256, error, 0.0)
    assert least == {"bad": 10_000, "good": 10_000, "large": 256 * FACTORS[-1]}  # it gives what there is
    assert allocate({"few": 700}, 256, lambda name, k: 1 / k, 0.0) == {"few": 700}  # no more than it has values
    assert len(calls) < 30


def test_a_channel_of_small_weights_counts_like_any_other() -> None:
    weights = np.array([[1.0, 1.0], [0.01, 0.01], [0.0, 0.0]])
    shared = weights + np.array([[0.1, 0.0], [0.001, 0.0], [5.0, 0.0]])
    assert relative_error(weights, shared, 0) == pytest.approx(0.005)
    assert relative_error(weights.T, shared.T, 1) == pytest.approx(0.005)


def test_fine_codebooks_are_fitted_to_what_channels_lose() -> None:
    weights = matrices(3)[-1]  # (inputs, channels), a few channels of small weights
    plain = kmeans(weights, 256)
    fitted = kmeans(weights, 256, channel_weights(weights, 1))
    lost = [relative_error(weights, c.codebook[c.indices], 1) for c in (plain, fitted)]
    assert lost[1] < 0.95 * lost[0]
    assert fitted.inertia < 1.5 * plain.inertia  # what large channels lose for it
    counts = channel_weights(np.array([[3.0, 4.0], [0.0, 0.0]]), 0)
    assert counts.tolist() == [[1 / 18.75] * 2, [1 / 6.25] * 2]
    assert (channel_weights(np.zeros((2, 3)), 1) == 1).all()


def test_values_in_pairs_get_a_codebook_of_pairs() -> None:
    angle = np.outer(np.arange(33), np.arange(64)) * 2 * np.pi / 64
    basis = np.round(np.cos(angle), 6).astype(np.float32)
    clusters = symmetric_kmeans(basis, 8)
    assert clusters is not None
    book = clusters.codebook
    assert book.size <= 8 and np.array_equal(book, -book[::-1])
    shared = book[clusters.indices]
    assert np.array_equal(shared[:, 1:], shared[:, :0:-1])  # what was mirrored still is
    assert np.abs(basis - shared).max() <= np.abs(basis[..., None] - book).min(-1).max() + 1e-7
    assert clusters.inertia < 1.5 * kmeans(basis, 8).inertia
    assert symmetric_kmeans(basis + 0.1, 8) is None
    assert symmetric_kmeans(np.zeros((4, 4), np.float32), 8) is None
    few = symmetric_kmeans(np.array([-2, 0, 2, 2], np.float32), 5)
    assert few is not None and few.codebook.tolist() == [-2, 0, 2]


def test_outputs_agree_by_default_from_256_values_on() -> None:
    plain = qacomp.compress(model(), k=256, min_agreement=0)
    assert set(sizes(plain).values()) == {256, None}
    assert cosine(plain) < 0.9999
    chosen = qacomp.compress(model(), k=256)
    assert cosine(chosen) > 0.9999
    raised = [x for x in chosen.layers if "--min-agreement" in str(x.chosen or x.skipped)]
    assert {layer.name for layer in raised} >= {"w2"}  # the one with small channels
    assert all(x.k is None or 256 < x.k <= 1024 for x in raised)  # more would take more bits than half precision
    assert any("--min-agreement 0" in note for note in chosen.notes)
    assert plain.container_bytes < chosen.container_bytes < 2.2 * plain.container_bytes  # large codebooks
    assert set(sizes(qacomp.compress(model(), k=64)).values()) == {64, None}


def test_a_tensor_with_a_k_of_its_own_keeps_it() -> None:
    result = qacomp.compress(model(), k=16, k_layers={"w0": 8}, min_agreement=0.975)
    k = sizes(result)
    assert k["w0"] == 8 and (k["w1"] or 0) > 16
    assert cosine(result) > cosine(qacomp.compress(model(), k=16, k_layers={"w0": 8}))


def test_bare_weights_are_bounded_by_their_own_losses() -> None:
    state: dict[str, Any] = {f"w{i}.weight": w for i, w in enumerate(matrices(2))}
    assert set(sizes(qacomp.compress(state, k=256)).values()) == {256}  # nothing can be measured: only if asked for
    asked = qacomp.compress(state, k=64, min_agreement=0.99)
    assert max(k or 0 for k in sizes(asked).values()) > 64
    errors = [qacomp.decode(asked, to="numpy")[name] - value for name, value in state.items()]
    assert all(np.abs(e).max() < 0.2 for e in errors)


def test_a_network_without_data_is_run_on_generated_inputs(tmp_path: Path) -> None:
    import torch
    from torch import nn

    torch.manual_seed(0)
    last = nn.Linear(16 * 36, 10)
    network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), last)
    with torch.no_grad():
        last.weight[::2] /= 500
    loose = qacomp.compress(network, k=16, input_shape=(1, 8, 8))
    tight = qacomp.compress(network, k=16, min_agreement=0.9999, input_shape=(1, 8, 8))
    assert set(sizes(loose).values()) == {16, None}
    assert max(k or 0 for k in sizes(tight).values()) > 16
    x = np.random.default_rng(1).standard_normal((8, 1, 8, 8)).astype(np.float32)
    with torch.no_grad():
        wanted = network(torch.from_numpy(x)).numpy()
        off = []
        for result in (loose, tight):
            network.load_state_dict(qacomp.decode(result))
            off.append(np.abs(network(torch.from_numpy(x)).numpy() - wanted).max())
    assert off[1] < off[0] / 3


def test_a_target_is_reached_or_nothing_is_written(tmp_path: Path) -> None:
    target = tmp_path / "m.qac"
    reached = qacomp.compress(model(), k=16, min_agreement=0.999, output=target)
    assert cosine(reached) >= 0.999
    before = target.read_bytes()
    with pytest.raises(AgreementNotReachedError, match=r"reached cosine 0\.\d+.*nothing is written"):
        qacomp.compress(model(), k=16, k_layers={"w0": 2}, min_agreement=0.99999, output=target)
    assert target.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["m.qac"]


def test_the_default_target_only_says_what_was_reached() -> None:
    result = qacomp.compress(model(6), k=256, k_layers={f"w{i}": 16 for i in range(5)})
    assert cosine(result) < 0.9999
    assert any("below 0.9999, the default target" in note and "cosine 0." in note for note in result.notes)


def test_outputs_that_cannot_be_compared_reach_no_target() -> None:
    still = model(1)
    constant = helper.make_node("Mul", ["a0", "zero"], ["y"])
    del still.graph.node[-1]
    still.graph.node.append(constant)
    still.graph.initializer.append(numpy_helper.from_array(np.zeros(SIDE, np.float32), "zero"))
    with pytest.raises(AgreementNotReachedError, match="can't be compared"):
        qacomp.compress(still, k=16, min_agreement=0.9)
    assert qacomp.compress(still, k=256).verdict.word == "not measured"


def test_a_network_without_data_reaches_its_target_or_fails() -> None:
    import torch
    from torch import nn

    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
    with pytest.raises(AgreementNotReachedError, match="reached cosine"):
        qacomp.compress(network, k=16, k_layers={"1.weight": 2}, min_agreement=0.9999, input_shape=(1, 8, 8))
    reached = qacomp.compress(network, k=16, min_agreement=0.9999, input_shape=(1, 8, 8))
    assert reached.agreement is not None and (reached.agreement.cosine or 0) > 0.999


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_agreement": 1.0}, "between 0 and 1"),
        ({"min_agreement": -0.5}, "between 0 and 1"),
        ({"min_agreement": 0.9, "codebook": "channel"}, "one codebook for each tensor"),
        ({"min_agreement": 0.9, "levels": (4, 16)}, "one codebook for each tensor"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CompressConfig().with_settings(settings, "test").check()


def test_training_and_min_agreement_exclude_each_other() -> None:
    from torch import nn

    x, y = np.zeros((20, 8, 8), np.uint8), np.arange(20) % 10
    data = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    with pytest.raises(ConfigError, match="without data"):
        qacomp.compress(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), data, k=4, min_agreement=0.9)
