"""Rate-aware sharing: compensation against a plain reference, layers' inputs against their outputs, sizes, searches."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from qacomp.calibration import synthetic, tuning
from qacomp.calibration.layer_inputs import columns, second_moment, view_of
from qacomp.calibration.synthetic import synthetic_images
from qacomp.calibration.torch_model import TorchCalibration
from qacomp.errors import ConfigError, DataError
from qacomp.formats import SharedTensor
from qacomp.options.config import CompressConfig
from qacomp.options.file_size import file_size
from qacomp.options.method import MethodChoice
from qacomp.rate.compensation import compensated, factorized, rounded
from qacomp.rate.grid_form import grid_tensor, grid_values
from qacomp.rate.matrices import MatrixView, along_axis, input_major, output_major
from qacomp.rate.search import largest_scale, scale_for_size
from qacomp.rate.sharing import RateSharing
from qacomp.rate.steps import WeightOnGrid, balanced_steps


def correlated(rows: int, inputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Weights (1, rows, inputs) and the second moment (1, inputs, inputs) of inputs that predict each other."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(inputs, inputs)) / np.arange(1, inputs + 1)
    x = rng.normal(size=(4 * inputs, inputs)) @ mixing
    return rng.normal(size=(1, rows, inputs)), (x.T @ x / len(x))[None]


def output_error(w: np.ndarray, integers: np.ndarray, step: float, moment: np.ndarray) -> float:
    off = w - integers * step
    return float(np.einsum("gri,gij,grj->", off, moment, off))


def test_compensation_is_the_plain_algorithm() -> None:
    """Optimal brain surgeon, one input after the other: the inverse of what is left of H is taken anew each time."""
    w, moment = correlated(3, 70)
    damped = moment[0] + 0.01 * np.trace(moment[0]) / 70 * np.eye(70)
    left, wanted = w[0].copy(), np.empty((3, 70), np.int64)
    for j in range(70):
        inverse = np.linalg.inv(damped[j:, j:])
        wanted[:, j] = np.rint(left[:, j] / 0.3)
        error = (left[:, j] - wanted[:, j] * 0.3) / inverse[0, 0]
        left[:, j:] -= error[:, None] * inverse[0]
    assert np.array_equal(compensated(w, factorized(moment), 0.3)[0], wanted)


def test_zeros_stay_zeros_and_pass_their_errors_on() -> None:
    """Optimal brain surgeon with some weights held at zero: what they would have been moved by is their error."""
    w, moment = correlated(3, 70)
    w[0][np.random.default_rng(1).random((3, 70)) < 0.5] = 0
    damped = moment[0] + 0.01 * np.trace(moment[0]) / 70 * np.eye(70)
    left, wanted = w[0].copy(), np.empty((3, 70), np.int64)
    for j in range(70):
        inverse = np.linalg.inv(damped[j:, j:])
        wanted[:, j] = np.where(w[0][:, j] == 0, 0, np.rint(left[:, j] / 0.3))
        error = (left[:, j] - wanted[:, j] * 0.3) / inverse[0, 0]
        left[:, j:] -= error[:, None] * inverse[0]
    found = compensated(w, factorized(moment), 0.3)
    assert np.array_equal(found[0], wanted) and (found[w == 0] == 0).all()
    lost = output_error(w, found, 0.3, moment)
    assert lost < 0.8 * output_error(w, rounded(w, 0.3), 0.3, moment)


@pytest.mark.parametrize("step", [0.1, 0.5, 1.0])
def test_compensation_loses_less_than_rounding(step: float) -> None:
    w, moment = correlated(16, 48)
    plain = output_error(w, rounded(w, step), step, moment)
    assert output_error(w, compensated(w, factorized(moment), step), step, moment) < 0.7 * plain


def test_independent_inputs_are_rounded_plainly() -> None:
    w = np.random.default_rng(0).normal(size=(2, 4, 9))
    assert np.array_equal(compensated(w, factorized(np.tile(np.eye(9), (2, 1, 1))), 0.25), rounded(w, 0.25))


@pytest.mark.parametrize("moment", [np.zeros((1, 5, 5)), np.full((1, 5, 5), np.nan), np.ones((1, 5, 5))])
def test_a_moment_that_says_nothing_is_no_trouble(moment: np.ndarray) -> None:
    w = np.random.default_rng(0).normal(size=(1, 2, 5))
    assert np.isfinite(compensated(w, factorized(moment), 0.25)).all()


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(5, 7, bias=False), (3, 4, 5)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, padding=1, bias=False), (2, 4, 8, 7)),
    "grouped": (lambda: nn.Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), groups=2, bias=False), (2, 4, 8, 7)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, dilation=2, groups=4, bias=False), (2, 4, 8, 7)),
    "same, mirrored": (
        lambda: nn.Conv2d(3, 2, 4, padding="same", padding_mode="reflect", bias=False),
        (2, 3, 8, 7),
    ),
    "conv1d": (lambda: nn.Conv1d(3, 5, 4, stride=3, padding=2, bias=False), (2, 3, 20)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, bias=False), (2, 4, 5, 6)),
    "transposed, grouped": (
        lambda: nn.ConvTranspose2d(4, 6, (2, 3), stride=(1, 2), dilation=2, groups=2, bias=False),
        (2, 4, 5, 6),
    ),
    "transposed, 1d": (lambda: nn.ConvTranspose1d(3, 4, 5, stride=3, padding=1, bias=False), (2, 3, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_columns_are_what_a_layer_multiplies_with(name: str) -> None:
    """The weight's rows times the columns are the layer's outputs; of the squares the moment gives the same sum."""
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer = make().double()
    x = torch.randn(shape, dtype=torch.float64)
    weight = layer.weight.detach().numpy()  # type: ignore[operator]
    view = view_of(layer, weight.shape)
    assert view is not None
    taken = columns(layer, x)
    made = view.matrices(weight) @ taken.numpy()  # (groups, rows, positions)
    with torch.no_grad():
        wanted = layer(x)
    wanted = wanted.reshape(-1, 7).T if name == "linear" else wanted.flatten(2).transpose(0, 1).flatten(1)
    assert np.allclose(made.reshape(wanted.shape), wanted.numpy())
    matrices, moment = view.matrices(weight), second_moment(taken).numpy()
    assert np.isclose(np.einsum("gri,gij,grj->", matrices, moment, matrices), float((wanted**2).sum()))


@pytest.mark.parametrize(
    ("view", "shape"),
    [
        (output_major((6, 4, 3, 3), 2), (6, 4, 3, 3)),
        (input_major((6, 4, 3, 3), 2), (6, 4, 3, 3)),
        (input_major((5, 7)), (5, 7)),
        (along_axis((3, 4, 5), 1), (3, 4, 5)),
    ],
)
def test_a_view_gives_the_tensor_back(view: MatrixView, shape: tuple[int, ...]) -> None:
    tensor = np.arange(math.prod(shape)).reshape(shape)
    matrices = view.matrices(tensor)
    assert matrices.shape == (view.groups, view.rows, view.inputs)
    assert np.array_equal(view.tensor(matrices, shape), tensor)


@given(st.lists(st.integers(-40, 40), min_size=1, max_size=60), st.floats(1e-3, 10))
def test_a_grid_tensor_holds_the_multiples(integers: list[int], step: float) -> None:
    given_ = np.array(integers)
    shared = grid_tensor(given_, grid_values(given_, step, np.dtype(np.float64)))
    assert np.array_equal(shared.dense(), given_ * step)
    assert len(shared.codebook) == len(set(integers))


def test_steps_are_finer_where_outputs_feel_more() -> None:
    """Of two equal weights one moves the outputs a hundred times as much: its step ends a tenth as wide."""
    rng = np.random.default_rng(0)
    weights = {name: WeightOnGrid(rng.normal(size=(40, 50))) for name in ("loud", "quiet")}

    def distance(values: dict[str, np.ndarray]) -> float:
        told = {"loud": 100.0, "quiet": 1.0}
        return float(sum(told[n] * ((v - weights[n].values) ** 2).mean() for n, v in values.items()))

    steps = balanced_steps(weights, distance, lambda: None).steps  # type: ignore[arg-type]
    assert 8 < steps["quiet"] / steps["loud"] < 12.5


def test_a_size_is_reached_from_below() -> None:
    def bytes_at(scale: float) -> int:
        return int(50_000 / scale + 3_000)

    for most in (5_000, 20_000, 200_000):
        assert 0.995 * most <= bytes_at(scale_for_size(bytes_at, most)) <= most
    assert bytes_at(scale_for_size(bytes_at, 2_999)) > 2_999  # out of reach


@pytest.mark.parametrize("size", [1_000, 5_000])
def test_a_search_stops_where_bytes_no_longer_change(size: int) -> None:
    tried: list[float] = []
    scale_for_size(lambda scale: tried.append(scale) or size, 2_000)  # type: ignore[func-returns-value]
    assert len(tried) < 10


def test_the_largest_good_scale_is_found() -> None:
    found = largest_scale(lambda scale: scale <= 0.037)
    assert found is not None and 0.036 < found <= 0.037
    assert largest_scale(lambda scale: False) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("100000", 100_000),
        ("100KB", 100_000),
        ("1.5 MB", 1_500_000),
        ("2KiB", 2048),
        ("12x", 100_000),
        ("1.5bpw", 56_250),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert file_size(text, 1_200_000) == size


@pytest.mark.parametrize("text", ["", "KB", "-3", "0x", "0", "12y", "1e9", "1.5bpm", "0.0000001bpw"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="KB"):
        file_size(text, 1_200_000)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    for _ in range(50):
        model(torch.randn(32, 3, 8, 8) * torch.tensor([1.0, 3.0, 0.2]).view(1, 3, 1, 1) + 0.7)
    return model.eval()


def test_made_images_meet_the_statistics_that_batch_norms_keep() -> None:
    """Nearer to them than the noise that they come from, by far; the same seed gives the same images."""
    model, steps = network(), []
    made = synthetic_images(model, (3, 8, 8), 64, 5, lambda: steps.append(1))
    first = model[0](made.images).mean((0, 2, 3))
    noise = model[0](torch.randn(64, 3, 8, 8)).mean((0, 2, 3))
    wanted = model[1].running_mean
    assert (first - wanted).abs().mean() < 0.2 * (noise - wanted).abs().mean()
    assert torch.equal(made.images, synthetic_images(model, (3, 8, 8), 64, 5, lambda: None).images)
    assert all(p.requires_grad for p in model.parameters())


class Viewing(nn.Module):
    """A network that views its feature maps as vectors, which fails where channels are last in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8 * 36, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, 8, 8) -> (N, 4)."""
        y: torch.Tensor = self.fc(torch.relu(self.norm(self.conv(x))).view(x.size(0), -1))
        return y


def test_a_network_that_views_its_feature_maps_makes_images_and_is_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (synthetic, tuning):
        monkeypatch.setattr(module, "STEPS", 2)
    original, model = Viewing().eval(), Viewing().eval()
    images = synthetic.synthetic_images(original, (3, 8, 8), 8, 0, lambda: None).images
    assert images.is_contiguous()
    before = model.norm.bias.detach().clone()
    turned = images.contiguous(memory_format=torch.channels_last)
    tuning.tune_small(model, original, turned, 0, lambda: None, lambda *_: None)
    assert not torch.equal(model.norm.bias, before)


def test_a_calibrated_network_knows_its_moments_and_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qacomp.calibration.halved_moment._ODDS", (0.0,))  # nothing is shrunk
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs = torch.randn(40, 3, 8, 8)
    calibration = TorchCalibration(model, inputs, "noise", 0)
    found = calibration.moments({"0.weight": (8, 3, 3, 3), "3.weight": (8, 8, 3, 3)}, lambda: None)
    taken = columns(model[0], inputs).double().numpy()[0]
    assert np.allclose(found["0.weight"].values[0], taken @ taken.T / taken.shape[1], rtol=1e-5)
    assert calibration.distance({}) == 0
    assert calibration.distance({"0.weight": np.zeros((8, 3, 3, 3), np.float32)}) > 0.1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_quantizer_is_refused_beside_grids() -> None:
    with pytest.raises(ConfigError, match="its levels are the grid"):
        CompressConfig(target_size="3KB", quantizer=MethodChoice("dorefa")).check()


def test_steps_leave_room_for_all_levels() -> None:
    """However small the scale, a weight has no more levels than a container holds, plainly and compensated."""
    w, moment = correlated(40, 60)
    weight = WeightOnGrid(w[0], output_major((40, 60)), factorized(moment))
    sharing = RateSharing({"w": weight}, {"w": 1.0}, {"w": np.dtype(np.float32)}, "exact", {})
    for items in (sharing.at(1e-12), sharing.plain(1e-12)):
        shared = items["w"].value
        assert isinstance(shared, SharedTensor) and len(shared.codebook) <= 65_536


class Names(nn.Module):
    """A network that returns a dictionary without tensors."""

    def forward(self, x: torch.Tensor) -> dict[str, str]:
        return {"y": str(len(x))}


def test_a_network_whose_outputs_are_no_tensors_is_refused() -> None:
    with pytest.raises(DataError, match="returns no float tensor"):
        TorchCalibration(Names(), torch.zeros(2, 3), "zeros", 0)
