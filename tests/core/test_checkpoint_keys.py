"""Which tensors of a file are the network's: nothing is dropped in silence, and names are those that a user knows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import qacomp
from qacomp.checkpoints import named_as, read_checkpoint
from qacomp.errors import AmbiguousCheckpointError, ConfigError, NotACheckpointError
from qacomp.models import create_model


def weight() -> Tensor:
    return torch.randn(4, 4)


def saved(path: Path, value: Any) -> Path:
    torch.save(value, path)
    return path


def gan() -> dict[str, Any]:
    networks = {name: {"c.weight": weight()} for name in ("g", "d", "g_ema")}
    return {**networks, "latent_avg": torch.ones(4), "g_optim": {"state": {0: {"exp_avg": weight()}}}}


def test_several_networks_are_listed_and_one_is_taken_by_its_key(tmp_path: Path) -> None:
    whole = gan()
    path = saved(tmp_path / "gan.pt", whole)
    with pytest.raises(AmbiguousCheckpointError, match=r"g \(1 tensor\), d .*g_ema .*latent_avg .*--key g, or"):
        read_checkpoint(path)
    one = read_checkpoint(path, key="g_ema")
    assert list(one.state) == ["c.weight"] and torch.equal(one.state["c.weight"], whole["g_ema"]["c.weight"])
    assert any("left out beside g_ema: 4 tensors" in note for note in one.notes)
    everything = ["g.c.weight", "d.c.weight", "g_ema.c.weight", "latent_avg", "g_optim.state.0.exp_avg"]
    assert list(read_checkpoint(path, key=".").state) == everything
    with pytest.raises(AmbiguousCheckpointError, match=r"--key nosuch: no tensors there; tensors are under g \(1"):
        read_checkpoint(path, key="nosuch")


def test_the_key_is_an_option_of_the_interface(tmp_path: Path) -> None:
    path = saved(tmp_path / "gan.pt", gan())
    result = qacomp.compress(path, key="d", min_size=1, output=tmp_path / "d.qac")
    assert list(qacomp.decode(result)) == ["c.weight"]
    assert not [note for note in result.notes if "--key" in note]
    with pytest.raises(ConfigError, match="checkpoint files"):
        qacomp.compress({"w": weight()}, key="w")


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda w: {"encoder": {"fc.weight": w}, "logit_scale": w}, ["encoder.fc.weight", "logit_scale"]),
        (lambda w: {"model": {"enc": {"w": w}, "dec": {"w": w}}}, ["enc.w", "dec.w"]),
        (lambda w: {"state_dict": {"a": w, "packed": (w, None, [w])}}, ["a", "packed.0", "packed.2.0"]),
        (lambda w: {"net": {0: w, 1: w}}, ["0", "1"]),
        (lambda w: {"params": {"a": w}, "params_ema": {"a": w}}, ["a"]),
        (lambda w: {"model_ema": {"a": w}, "optimizer": {"m": w}, "epoch": 3}, ["a"]),
        (lambda w: {"module": {"a": w}, "optimizer": {"m": w}, "lr_scheduler": {"v": w}}, ["a"]),
        (lambda w: {"checkpoint": {"networks": {"a": {"w": w}}}}, ["w"]),
    ],
)
def test_trees_of_one_network_are_flattened(tmp_path: Path, make: Callable[[Tensor], Any], names: list[str]) -> None:
    assert list(read_checkpoint(saved(tmp_path / "x.pt", make(weight()))).state) == names


@pytest.mark.parametrize(
    ("make", "left_out"),
    [
        (lambda w: {"model": {"a": w}, "discriminator": {"b": w, "c": w}}, "'discriminator' (2 tensors)"),
        (lambda w: {"a": w, "optimizer": {"m": w}}, "'optimizer' (1 tensor)"),
        (lambda w: {"params": {"a": w}, "params_ema": {"a": w}}, "'params_ema' (1 tensor)"),
        (lambda w: {"state_dict": {"a": w}, "bias": w}, "'bias' (1 tensor)"),
        (lambda w: {"model": {"enc": {"a": w, "note": "x"}, "b": w}}, "'enc.note'"),
        (lambda w: {"a": w, ("odd", 1): w}, "1 tensors under keys that aren't text"),
    ],
)
def test_what_is_left_out_is_named(tmp_path: Path, make: Callable[[Tensor], Any], left_out: str) -> None:
    checkpoint = read_checkpoint(saved(tmp_path / "x.pt", make(weight())))
    assert any("left out" in note and left_out in note for note in checkpoint.notes), checkpoint.notes


@pytest.mark.parametrize(
    "value",
    [
        {"backbone": {"w": torch.ones(2)}, "head": {"w": torch.ones(2)}},
        {"student": {"w": torch.ones(2)}, "teacher": {"w": torch.ones(2)}, "epoch": 1},
        {"networks": {"g": {"w": torch.ones(2)}, "d": {"w": torch.ones(2)}}},
        {"optimizer": {"m": torch.ones(2)}, "scheduler": {"m": torch.ones(2)}},
    ],
)
def test_what_could_be_either_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(AmbiguousCheckpointError, match="say which ones"):
        read_checkpoint(saved(tmp_path / "x.pt", value))


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotACheckpointError, match=r"two tensors would be called a\.b"):
        read_checkpoint(saved(tmp_path / "x.pt", {"model": {"a": {"b": weight()}, "a.b": weight()}}))


# ---- names with wrappers and prefixes


def test_wrappers_within_names_are_removed_and_said(tmp_path: Path) -> None:
    state = {
        "layer._orig_mod.weight": weight(),
        "head._fsdp_wrapped_module._checkpoint_wrapped_module.weight": weight(),
    }
    checkpoint = read_checkpoint(saved(tmp_path / "x.pt", state))
    assert list(checkpoint.state) == ["layer.weight", "head.weight"]
    assert any("_orig_mod removed from 1 names" in note for note in checkpoint.notes)


def test_wrappers_stay_where_names_would_be_the_same(tmp_path: Path) -> None:
    state = {"a._orig_mod.weight": weight(), "a.weight": weight()}
    assert list(read_checkpoint(saved(tmp_path / "x.pt", state)).state) == list(state)


def test_an_averaged_model_is_unwrapped(tmp_path: Path) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(nn.Linear(3, 2))
    checkpoint = read_checkpoint(saved(tmp_path / "x.pt", averaged.state_dict()))
    assert list(checkpoint.state) == ["weight", "bias"]
    assert any("n_averaged" in note for note in checkpoint.notes)


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"model.{name}",
        lambda name: f"net.model.module.{name}",
        lambda name: f"_fsdp_wrapped_module.{name}",
        lambda name: name.replace(".", "._orig_mod.", 1),
        lambda name: f"model.{name.replace('.', '.module.', 1)}",
        lambda name: f"_forward_module._orig_mod.{name}",
    ],
)
def test_an_architecture_is_found_under_any_prefix(tmp_path: Path, rename: Callable[[str], str]) -> None:
    state = create_model("lenet5").state_dict()
    path = saved(tmp_path / "x.ckpt", {"state_dict": {rename(name): value for name, value in state.items()}})
    found = named_as(read_checkpoint(path), "lenet5")
    assert list(found.state) == list(state) and found.notes != ("nested under state_dict",)
    assert all(torch.equal(found.state[name], value) for name, value in state.items())


def test_what_stands_beside_the_architecture_is_named(tmp_path: Path) -> None:
    state = {f"model.{name}": value for name, value in create_model("lenet5").state_dict().items()}
    path = saved(tmp_path / "x.pt", {**state, "loss.weight": weight()})
    found = named_as(read_checkpoint(path), "lenet5")
    assert len(found.state) == len(state) and any("'loss.weight'" in note for note in found.notes)
    twice = {**state, **{name.replace("model.", "ema."): value for name, value in state.items()}}
    with pytest.raises(AmbiguousCheckpointError, match=r"several times, under model, ema.*--key"):
        named_as(read_checkpoint(saved(tmp_path / "y.pt", twice)), "lenet5")
    assert len(named_as(read_checkpoint(tmp_path / "y.pt", key="ema"), "lenet5").state) == len(state)
