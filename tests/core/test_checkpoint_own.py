from pathlib import Path
from typing import Any

import pytest
import torch

from qacomp.checkpoints import CheckpointFacts, read_checkpoint, write_checkpoint
from qacomp.datasets import NamedData
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.errors import CheckpointError, OutputNotWritableError
from qacomp.models import create_model, model_info

INFO = model_info("lenet5")


def write(path: Path, **changes: Any) -> None:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "arch": "lenet5",
        "num_classes": 10,
        "preprocessing": INFO.preprocessing,
        "data": "digits",
        "extra": {"epochs": 3, "accuracy": 0.5, "lr": [0.1, 0.2], "note": None},
    }
    write_checkpoint(path, create_model("lenet5").state_dict(), CheckpointFacts(**{**settings, **changes}))


def test_it_knows_where_it_comes_from(tmp_path: Path) -> None:
    write(tmp_path / "model.pt")
    checkpoint = read_checkpoint(tmp_path / "model.pt")
    assert (checkpoint.kind, checkpoint.arch, checkpoint.num_classes) == ("qacomp", "lenet5", 10)
    assert (checkpoint.data, checkpoint.preprocessing, checkpoint.notes) == (
        NamedData("digits"),
        INFO.preprocessing,
        (),
    )
    torch.manual_seed(0)
    expected = create_model("lenet5").state_dict()
    assert list(checkpoint.state) == list(expected)
    assert all(torch.equal(checkpoint.state[name], tensor) for name, tensor in expected.items())


def test_torch_loads_it_without_trust(tmp_path: Path) -> None:
    write(tmp_path / "model.pt")
    loaded = torch.load(tmp_path / "model.pt", weights_only=True)
    assert loaded["qacomp"]["version"] == 1
    assert loaded["qacomp"]["extra"] == {"epochs": 3, "accuracy": 0.5, "lr": [0.1, 0.2], "note": None}
    assert loaded["qacomp"]["preprocessing"] == INFO.preprocessing.to_dict()


def test_the_same_values_give_the_same_bytes_under_any_name(tmp_path: Path) -> None:
    write(tmp_path / "one.pt")
    write(tmp_path / "other name.bin")
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "other name.bin").read_bytes()


def test_parameters_and_views_are_written_as_plain_tensors(tmp_path: Path) -> None:
    large = torch.nn.Parameter(torch.arange(100_000.0))
    write_checkpoint(tmp_path / "x.pt", {"w": large[:4], "t": large[:6].reshape(2, 3).T}, CheckpointFacts())
    checkpoint = read_checkpoint(tmp_path / "x.pt")
    assert checkpoint.bytes < 10_000 and torch.equal(checkpoint.state["t"], large.detach()[:6].reshape(2, 3).T)
    assert checkpoint.kind == "qacomp" and checkpoint.arch is None and checkpoint.preprocessing is None


def test_what_is_not_plain_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"extra\.history\[1\] is a Tensor"):
        write(tmp_path / "x.pt", extra={"history": [0.5, torch.ones(1)]})
    with pytest.raises(OutputNotWritableError):
        write(tmp_path / "absent" / "x.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "newer qacomp"),
        ({"version": "1"}, "no version"),
        ({"arch": 3}, "field arch"),
        ({"num_classes": "10"}, "field num_classes"),
        ({"num_classes": True}, "field num_classes"),
        ({"num_classes": 1}, "1 classes"),
        ({"data": ["digits"]}, "field data"),
        ({"preprocessing": {"size": [28, 28]}}, "lacks channels"),
        ({"preprocessing": 3}, "preprocessing must be a mapping"),
    ],
)
def test_spoilt_headers_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = tmp_path / "x.pt"
    write(path)
    loaded = torch.load(path, weights_only=True)
    loaded["qacomp"].update(changes)
    torch.save(loaded, path)
    with pytest.raises(CheckpointError, match=said) as raised:
        read_checkpoint(path)
    assert str(path) in str(raised.value)


def test_other_preprocessing_is_kept(tmp_path: Path) -> None:
    other = Preprocessing(size=(32, 30), channels=1, mean=(0.25,), std=(1 / 3,))
    write(tmp_path / "x.pt", preprocessing=other)
    assert read_checkpoint(tmp_path / "x.pt").preprocessing == other
