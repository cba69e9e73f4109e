"""A state dict that is a built-in architecture's by all names and shapes is compressed as that network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from qacomp.checkpoints import read_checkpoint
from qacomp.errors import ConfigError
from qacomp.evaluate import measure_file
from qacomp.models import create_model
from qacomp.options.config import CompressConfig
from qacomp.sources.how_to_read import Reading
from qacomp.sources.open_any import open_source
from qacomp.sources.tensor_source import TensorSource
from qacomp.sources.torch_source import Source, TorchSource


def resnet(classes: int = 7) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return create_model("resnet20", classes).state_dict()


def opened(state: Any, **settings: Any) -> Source:
    return open_source(state, None, CompressConfig(**settings), Reading(), lambda text: None)[0]


def test_all_names_and_shapes_make_a_network() -> None:
    source = opened(resnet())
    assert isinstance(source, TorchSource) and source.network.arch == "resnet20" and source.network.num_classes == 7
    (note,) = [note for note in source.notes if "recognized" in note]
    assert note == "recognized by all names and shapes as --arch resnet20 (7 classes); --arch none: weights alone"
    assert all(torch.equal(source.network.model.state_dict()[name], value) for name, value in resnet().items())
    named = opened(resnet(), arch="resnet20")
    assert isinstance(named, TorchSource) and not any("recognized" in note for note in named.notes)


def test_files_of_every_kind_are_recognized(tmp_path: Path) -> None:
    save = pytest.importorskip("safetensors.torch").save_file
    torch.save({"state_dict": {f"module.{n}": v for n, v in resnet().items()}, "epoch": 3}, tmp_path / "net.th")
    save(resnet(), tmp_path / "net.safetensors")
    for path in (tmp_path / "net.th", tmp_path / "net.safetensors"):
        source = opened(path)
        assert isinstance(source, TorchSource) and source.network.arch == "resnet20"


def test_arch_none_compresses_weights_alone() -> None:
    source = opened(resnet(), arch="none")
    assert isinstance(source, TensorSource) and not any("recognized" in note for note in source.notes)


@pytest.mark.parametrize("change", ["renamed", "reshaped", "missing", "one more"])
def test_one_difference_is_another_network(change: str) -> None:
    state = resnet()
    if change == "renamed":
        state["linear2.weight"] = state.pop("linear.weight")
    elif change == "reshaped":
        state["bn1.weight"] = torch.ones(17)
    elif change == "missing":
        del state["layer1.0.bn1.running_var"]
    else:
        state["extra.weight"] = torch.ones(3, 3)
    source = opened(state)
    assert isinstance(source, TensorSource) and not any("fit" in note for note in source.notes)


def test_counters_of_batch_norms_may_be_missing() -> None:
    state = {name: value for name, value in resnet().items() if not name.endswith("num_batches_tracked")}
    assert isinstance(opened(state), TorchSource)


def test_a_few_plain_layers_are_told_and_not_recognized() -> None:
    source = opened(create_model("lenet300", 10).state_dict())
    assert isinstance(source, TensorSource)
    assert "the names and shapes fit lenet300: to measure it give --arch" in source.notes


def test_what_a_checkpoint_says_of_itself_counts(tmp_path: Path) -> None:
    header = {"version": 1, "arch": "mine:Net", "num_classes": None, "preprocessing": None, "data": None, "extra": {}}
    torch.save({"qacomp": header, "state_dict": resnet()}, tmp_path / "mine.pt")
    assert read_checkpoint(tmp_path / "mine.pt").kind == "qacomp"
    assert isinstance(opened(tmp_path / "mine.pt"), TensorSource)


def test_eval_recognizes_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(12) % 7
    np.savez(tmp_path / "d.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    torch.save(resnet(), tmp_path / "net.pt")
    config = CompressConfig(data=f"npz:{tmp_path / 'd.npz'}", device="cpu")
    told = measure_file(tmp_path / "net.pt", config)
    assert told.accuracy is not None and told.samples == 12
    assert [note.partition(" as ")[0] for note in told.notes] == ["recognized by all names and shapes"]
    with pytest.raises(ConfigError, match="doesn't name its architecture"):
        measure_file(tmp_path / "net.pt", config.with_settings({"arch": "none"}, "test"))
