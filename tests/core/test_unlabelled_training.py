"""Training without labels: outputs come closer to the original's at equal bytes, or the untrained network is kept."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from qacomp.api import compress
from qacomp.calibration import synthetic
from qacomp.calibration.tuning import output_loss
from qacomp.errors import ConfigError, DataError
from qacomp.formats import open_file
from qacomp.graphs import known_graphs
from qacomp.graphs.network import export_dense
from qacomp.models.plain_modules import copied
from qacomp.options.config import CompressConfig
from qacomp.options.method import MethodChoice
from qacomp.progress import SilentProgress
from qacomp.rate.record import RateSearch, ScaleTrial
from qacomp.result import Result
from qacomp.stages import network_by_rate, network_calibration
from qacomp.stages import train_unlabelled as stage
from qacomp.stages.made import Measurements
from qacomp.stages.network_on_grids import NetworkOnGrids
from qacomp.training.fine_tune_rate import OnGrid
from qacomp.training.rate_model import code_length
from qacomp.training.resume import ResumeStore
from qacomp.training.unlabelled import GridStart, UnlabelledSetup
from qacomp.training.unlabelled import train_unlabelled as train

NAMES = ("0.weight", "3.weight", "8.weight")
STEP = 0.15
SHAPE = (2, 8, 8)


def network(norm: bool = True) -> nn.Sequential:
    """A classifier (N, 2, 8, 8) -> (N, 6) whose batch norms know the statistics of standard normal inputs."""
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(8) if norm else nn.Identity() for _ in range(2)]
    first = nn.Conv2d(2, 8, 3, padding=1), norms[0], nn.ReLU()
    second = nn.Conv2d(8, 8, 3, padding=1), norms[1], nn.ReLU()
    model = nn.Sequential(*first, *second, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(32, 6))
    with torch.no_grad():
        model.get_parameter("8.weight").mul_(6.0)
        for _ in range(30):
            model(torch.randn(64, *SHAPE))
    return model.eval()


def inputs(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def entropy(integers: Mapping[str, NDArray[np.int64]]) -> int:
    return int(sum(code_length(torch.from_numpy(q).float()).bits for q in integers.values()) / 8)


def plain(original: nn.Module) -> dict[str, GridStart]:
    weights = {name: original.get_parameter(name).detach().numpy() for name in NAMES}
    return {name: GridStart(STEP, np.rint(w / STEP).astype(np.int64)) for name, w in weights.items()}


def trained(original: nn.Module, epochs: int, store: ResumeStore | None = None) -> tuple[nn.Module, dict[str, OnGrid]]:
    """The network trained from plainly rounded weights, and its weights."""
    config = CompressConfig(sharing=MethodChoice("rate"), epochs=epochs, batch_size=16, seed=1)
    model, starts = copied(original), plain(original)
    goal = entropy({name: start.integers for name, start in starts.items()})
    setup = UnlabelledSetup(original, inputs(128, 1), config, SilentProgress(), store)
    found, _ = train(model, starts, goal, entropy, setup)
    return model, found


def distance(original: nn.Module, other: nn.Module) -> float:
    held = inputs(256, 2)
    with torch.no_grad():
        return float(output_loss(other(held), original(held)))


def test_outputs_come_closer_at_equal_bytes() -> None:
    original = network()
    rounded = copied(original)
    with torch.no_grad():
        for name, start in plain(original).items():
            rounded.get_parameter(name).copy_(torch.from_numpy(start.integers) * start.step)
    model, found = trained(original, 12)
    assert distance(original, model) < 0.5 * distance(original, rounded)
    integers = {name: np.rint(model.get_parameter(name).detach().numpy() / STEP).astype(np.int64) for name in found}
    assert entropy(integers) < 1.02 * entropy({name: start.integers for name, start in plain(original).items()})
    for name, own in original.named_buffers():
        assert torch.equal(own, model.get_buffer(name)), "running statistics are held"


class _Stopped(ResumeStore):
    """Ctrl-C after the second epoch."""

    def save(self, stage: str, state: dict[str, Any], *, last: bool) -> None:
        super().save(stage, state, last=True)
        if len(state["records"]) == 2:
            raise KeyboardInterrupt


def test_an_interrupted_training_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, _ = trained(network(), 4)
    with pytest.raises(KeyboardInterrupt):
        trained(network(), 4, _Stopped(tmp_path / "state", "mine"))
    resumed, _ = trained(network(), 4, ResumeStore(tmp_path / "state", "mine"))
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_interrupted_images_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "STEPS", 3)

    class Held:
        def __init__(self) -> None:
            self.made: list[synthetic.Synthetic] = []

        def load(self) -> list[synthetic.Synthetic]:
            return list(self.made)

        def save(self, made: list[synthetic.Synthetic]) -> None:
            self.made = list(made)

    model, held, steps = network(), Held(), []
    alone = synthetic.synthetic_images(model, SHAPE, 300, 5, lambda: None).images
    synthetic.synthetic_images(model, SHAPE, 256, 5, lambda: None, held)
    again = synthetic.synthetic_images(model, SHAPE, 300, 5, lambda: steps.append(1), held).images
    assert torch.equal(alone, again) and len(held.made) == 3 and len(steps) == 9


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few images, made in few steps, and a graph that is exported once: it is the same for all weights."""
    exported: list[onnx.ModelProto] = []

    def once(*given: Any, **how: Any) -> onnx.ModelProto:
        exported.extend([] if exported else [export_dense(*given, **how)])
        copy: onnx.ModelProto = onnx.ModelProto.FromString(exported[0].SerializeToString())
        return copy

    monkeypatch.setattr(known_graphs, "export_dense", once)
    monkeypatch.setattr(network_calibration, "_IMAGES", 32)
    monkeypatch.setattr(network_calibration, "_TO_TRAIN_ON", 64)
    for module in (network_calibration, synthetic):
        monkeypatch.setattr(module, "STEPS", 10)


def compressed(path: Path, model: nn.Module, **more: Any) -> Result:
    settings: dict[str, Any] = {"sharing": "rate:tuned=false", "target_size": "1850", "min_size": 1, "batch_size": 8}
    return compress(model, output=path, input_shape=SHAPE, **(settings | more))


def test_a_file_says_how_it_was_trained_and_has_the_same_bytes_again(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    distances = iter([1.0, 0.5] * 2)  # the trained network is closer; the choice has a test of its own
    monkeypatch.setattr(stage, "_distance", lambda *given: next(distances))
    monkeypatch.setattr(stage, "_no_worse", lambda *given: True)
    done = [compressed(tmp_path / f"{n}.qac", network(), epochs=3) for n in range(2)]
    assert (tmp_path / "0.qac").read_bytes() == (tmp_path / "1.qac").read_bytes()
    assert any("the trained network is kept" in note for note in done[0].notes), done[0].notes
    assert [record.stage for record in done[0].history] == ["train towards the original"] * 3
    assert 0.97 * 1850 <= done[0].container_bytes <= 1850  # of so few weights, each step changes many bytes
    with open_file(tmp_path / "0.qac") as container:
        assert container.meta["calibration"].startswith("64 images made from the statistics of its batch norms")
        assert container.meta["trained"] == "3 epochs towards the original's outputs, without labels"
    assert not list(tmp_path.glob("*.resume"))


@pytest.mark.parametrize("closer", [True, False])
def test_the_network_that_is_closer_to_the_original_is_kept(closer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    original = network()
    near, far = copied(original), copied(original)
    with torch.no_grad():
        near.get_parameter("8.weight").mul_(1.1)
        far.get_parameter("8.weight").mul_(1.3)
    same: dict[str, Any] = {
        "search": RateSearch((ScaleTrial(1.0, 1000),), 1.0),
        "missed": "",
        "measured": Measurements(),
    }
    networks = (far, near) if closer else (near, far)
    plain, trained = (SimpleNamespace(network=network, **same) for network in networks)
    notes: list[str] = []
    run = SimpleNamespace(note=notes.append, stage=lambda name: nullcontext())
    job = SimpleNamespace(
        original=original, run=run, config=CompressConfig(sharing=MethodChoice("rate"), target_size="2KB", epochs=1)
    )
    found = SimpleNamespace(training=inputs(56, 1), held=inputs(8, 2))
    asked = SimpleNamespace(left=lambda rest: 1000)
    task: Any = SimpleNamespace(job=job, found=found, asked=lambda: asked, scaled=lambda: None, rest=lambda: 500)
    task.whole, task.bytes_of, task.at = lambda made: 1500, lambda items: 1000, lambda scale: {}
    monkeypatch.setattr(stage, "made_for_size", lambda *given: plain)
    monkeypatch.setattr(stage, "scale_for_size", lambda *given, **how: 1.0)
    monkeypatch.setattr(stage, "_trained", lambda *given: trained)
    monkeypatch.setattr(stage, "replace", lambda made, **changed: made)
    kept: Any = stage.trained_unlabelled(task)
    assert kept is (trained if closer else plain)
    assert f"the {'trained' if closer else 'untrained'} network is kept" in notes[0]
    assert "56 inputs, by 8 others" in notes[0]


class _Caught(Exception):
    """The calibrated network, in place of what is made of it."""


def test_an_eighth_of_ones_own_inputs_is_held_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def caught(task: NetworkOnGrids) -> Any:
        raise _Caught(task.found)

    monkeypatch.setattr(network_by_rate, "trained_unlabelled", caught)
    own = inputs(600, 3)
    np.savez(tmp_path / "own.npz", x=own.numpy())
    with pytest.raises(_Caught) as found:
        compressed(tmp_path / "no.qac", network(norm=False), calibration=f"npz:{tmp_path / 'own.npz'}", epochs=3)
    calibrated = found.value.args[0]
    assert torch.equal(calibrated.training, own[:525]) and torch.equal(calibrated.held, own[525:])
    assert torch.equal(calibrated.inputs[0], own[:512])


def test_what_cannot_be_trained_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--epochs 3: .*batch norms, and it has none; give --calibration"):
        compressed(tmp_path / "no.qac", network(norm=False), epochs=3)
    np.savez(tmp_path / "few.npz", x=inputs(15, 3).numpy())
    with pytest.raises(DataError, match="15 inputs are too few to train on"):
        compressed(tmp_path / "no.qac", network(), calibration=f"npz:{tmp_path / 'few.npz'}", epochs=3)
    assert not (tmp_path / "no.qac").exists()
