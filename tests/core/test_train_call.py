"""`qacomp.train`: the weights of the command `qacomp train`, for names, classes, modules and data in memory."""

import inspect
from pathlib import Path
from typing import Any

import own_networks
import pytest
import torch
from click.testing import CliRunner

import qacomp
from qacomp.cli.main import cli
from qacomp.cli.train import train_command
from qacomp.errors import ConfigError, OutputExistsError
from qacomp.options.from_scratch import taken
from qacomp.train_api import TrainCall, TrainKeywords

SETTINGS: dict[str, Any] = {"epochs": 2, "reg": "exp", "k": 4, "min_size": 32, "precision": "fp32", "seed": 3}
FLAGS = ["--epochs", "2", "--reg", "exp", "--k", "4", "--min-size", "32", "--precision", "fp32", "--seed", "3"]


def by_command(output: Path, *arguments: str) -> Path:
    done = CliRunner().invoke(cli, ["train", *arguments, *FLAGS, "-o", str(output), "--json"])
    assert done.exit_code == 0, done.output
    return output


def by_call(output: Path, *given: Any, **keywords: Any) -> qacomp.TrainedCheckpoint:
    call: Any = qacomp.train
    found: qacomp.TrainedCheckpoint = call(*given, output=output, **SETTINGS, **keywords)
    return found


def test_names_give_the_bytes_of_the_command(tmp_path: Path) -> None:
    names = ("own_networks:DigitsCNN", "own_networks:digits")
    wanted = by_command(tmp_path / "command.pt", "--arch", names[0], "--data", names[1]).read_bytes()
    found = by_call(tmp_path / "call.pt", *names)
    assert found.output.read_bytes() == wanted and found.bytes == len(wanted)
    assert found.module is not None and isinstance(found.module, own_networks.DigitsCNN) and not found.module.training
    stored = qacomp.read_checkpoint(found.output).state
    assert all(torch.equal(value, stored[name]) for name, value in found.module.state_dict().items())
    assert len(found.history) == 2 and found.accuracy is not None and found.accuracy > 50


def test_objects_give_the_weights_of_their_names(tmp_path: Path) -> None:
    flags = ["--loss-fn", "own_networks:mask_loss", "--metric", "own_networks:dice"]
    wanted = by_command(
        tmp_path / "command.pt", "--arch", "own_networks:UNet", "--data", "own_networks:squares", *flags
    )
    functions = {"loss_fn": own_networks.mask_loss, "metric": own_networks.dice}
    found = by_call(tmp_path / "call.pt", own_networks.UNet, own_networks.squares(), **functions)
    state = qacomp.read_checkpoint(wanted).state
    assert found.module is not None
    assert all(torch.equal(value, state[name]) for name, value in found.module.state_dict().items())
    assert found.metric == "dice" and found.accuracy is None and found.value is not None
    assert qacomp.read_checkpoint(found.output).notes == ("trained as --arch own_networks:UNet",)


def test_a_module_starts_with_its_own_weights_and_stays_as_it_was() -> None:
    torch.manual_seed(9)
    network = own_networks.DigitsCNN()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = qacomp.train(network, own_networks.digits(), epochs=1, lr=1e-12)
    assert found.output.is_file() and found.module is not None and found.module is not network
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    trained = found.module.state_dict()
    assert all(torch.allclose(trained[name], before[name], atol=1e-6) for name in ("body.0.weight", "head.weight"))
    folder = found.output.parent
    del found
    assert not folder.exists()


def test_what_can_not_be_trained_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't be made \(ZeroDivisionError.*give the module itself"):
        qacomp.train(lambda: 1 / 0, own_networks.digits())  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigError, match=r"gives a int, not a torch\.nn\.Module"):
        qacomp.train(lambda: 3, own_networks.digits())  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigError, match="is a setting of compress"):
        qacomp.train("lenet5", "digits", target_size="10KB")  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="needs --arch and --data"):
        qacomp.train("lenet5", None)
    (tmp_path / "kept.pt").write_text("mine")
    with pytest.raises(OutputExistsError):
        qacomp.train("lenet5", "digits", tmp_path / "kept.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["kept.pt"]


def test_the_call_takes_what_the_command_takes() -> None:
    """The types that an editor reads, the signature that a prompt shows and the options of the command are the same."""
    shown = inspect.signature(qacomp.train).parameters
    keywords = set(TrainKeywords.__annotations__)
    assert keywords == set(shown) - {"arch", "data", "output"}
    settings = {name for name in keywords if taken(name) and not name.endswith("_layers")}
    options = {p.name for p in train_command.make_options()}
    assert settings | {"arch", "data"} == options and keywords - settings >= set(vars(TrainCall()))
    assert shown["batch_size"].default == 64
