"""What a caller hands over is copied as a network of plain weights, whatever wraps it or makes its weights."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

import qacomp
from qacomp.datasets import Dataset, dataset_from_arrays
from qacomp.models.plain_modules import plain_module
from qacomp.tensors.weight_parts import exact_parts, with_weights

PLAIN = {"1.weight", "1.bias", "3.weight", "3.bias"}
HERE = Path("<a module>")


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))


def masked(layer: nn.Module, amount: float, name: str = "weight") -> None:
    prune.l1_unstructured(layer, name, amount=amount)  # type: ignore[no-untyped-call]


def pruned() -> nn.Sequential:
    model = small()
    for amount in (0.7, 0.1):
        masked(model[1], amount)
    masked(model[3], 0.3, "bias")
    return model


def weight_normed() -> nn.Module:
    model = small()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weight_norm(model[1])
    return model


def spectral_normed() -> nn.Module:
    model = small()
    spectral_norm(model[1])
    model(torch.randn(4, 64))
    return model


def pruned_and_normed() -> nn.Module:
    model = small()
    parametrizations.weight_norm(model[1])
    masked(model[3], 0.5)
    return model


def parametrized(put: Callable[..., Any]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = small()
        put(model[1])
        return model

    return build


def averaged() -> nn.Module:
    return torch.optim.swa_utils.AveragedModel(small())


MADE: dict[str, Callable[[], nn.Module]] = {
    "prune": pruned,
    "weight_norm": weight_normed,
    "spectral_norm": spectral_normed,
    "both": pruned_and_normed,
    "new weight_norm": parametrized(parametrizations.weight_norm),
    "new spectral_norm": parametrized(parametrizations.spectral_norm),
    "orthogonal": parametrized(parametrizations.orthogonal),
    "compiled": lambda: torch.compile(small()),  # type: ignore[dict-item,return-value]
    "parallel": lambda: nn.DataParallel(small()),
    "averaged": averaged,
    "compiled and parallel": lambda: torch.compile(nn.DataParallel(small())),  # type: ignore[dict-item,return-value]
}


@pytest.fixture(scope="module")
def few() -> Dataset:
    drawn = np.random.default_rng(0)
    x, y = drawn.random((60, 8, 8)).astype(np.float32), np.arange(60) % 10
    return dataset_from_arrays({"x_train": x, "y_train": y, "x_test": x[:20], "y_test": y[:20], "num_classes": 10})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
@pytest.mark.parametrize("how", MADE)
@pytest.mark.parametrize("training", [True, False])
def test_a_plain_copy_computes_what_the_module_does(how: str, training: bool) -> None:
    module = MADE[how]().train(training)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    x, state = torch.randn(5, 1, 8, 8), torch.get_rng_state()
    plain = plain_module(module, HERE)
    assert set(plain.module.state_dict()) == PLAIN and len(plain.notes) >= 1
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert module.training is training and all(part.training is training for part in plain.module.modules())
    inner = getattr(getattr(module, "_orig_mod", module), "module", getattr(module, "_orig_mod", module)).eval()
    with torch.no_grad():
        torch.testing.assert_close(plain.module.eval()(x), inner(x), rtol=1e-5, atol=1e-6)


def test_masks_become_exact_zeros_and_the_caller_keeps_its_hooks() -> None:
    model = pruned()
    weight: Any = model[1].weight
    zeros = weight == 0
    plain = plain_module(model, HERE)
    assert torch.equal(plain.module.get_parameter("1.weight") == 0, zeros)
    assert plain.notes == (
        "1.weight, 3.bias: stored as plain weights, for loading into a module after torch.nn.utils.prune.remove",
    )
    assert prune.is_pruned(model)
    normed = pruned_and_normed()
    plain_module(normed, HERE)
    assert parametrize.is_parametrized(normed.get_submodule("1")) and normed(torch.randn(2, 64)).shape == (2, 10)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("how", ["prune", "weight_norm", "orthogonal", "compiled"])
def test_such_modules_are_trained_and_compressed(how: str, few: Dataset) -> None:
    module = MADE[how]()
    result = qacomp.compress(module, few, k=8, reg="exp", epochs=1, tune_epochs=0, batch_size=32)
    state = qacomp.decode(result)
    assert set(state) == PLAIN and len(state["1.weight"].unique()) <= 9
    small().load_state_dict(state)
    assert any("plain weights" in note or "module inside" in note for note in result.notes)


def test_such_modules_are_exported_and_stored() -> None:
    exported = qacomp.compress(weight_normed(), k=8, input=("batch,1,8,8",))
    assert any("plain weights" in note for note in exported.notes)
    assert {row.k for row in exported.layers if row.shape in ((24, 64), (64, 24))} == {8}
    stored = qacomp.compress(pruned_and_normed(), k=8)
    assert {row.name for row in stored.layers} == PLAIN


def test_weights_that_are_made_of_the_same_tensors_stay_tied_and_others_do_not() -> None:
    class Ties(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
            self.b.weight = self.c.weight = self.a.weight

    ties = Ties()
    masked(ties.a, 0.5)
    plain = plain_module(ties, HERE).module
    a, b, c = (plain.get_parameter(f"{name}.weight") for name in "abc")
    assert b is c and a is not b
    assert int((a == 0).sum()) == 18 and not bool((b == 0).any())
    viewed = Ties()
    viewed.b.weight = nn.Parameter(viewed.a.weight.data)
    assert viewed.b.weight is not viewed.a.weight
    plain = plain_module(viewed, HERE).module
    a, b, c = (plain.get_parameter(f"{name}.weight") for name in "abc")
    assert a is b is c and a.data_ptr() != viewed.a.weight.data_ptr()


def test_a_pickled_module_is_plain_in_compress_and_eval(tmp_path: Path) -> None:
    """Pickles of a trusted author: the module itself comes out of them."""
    from qacomp.evaluate import measure_file
    from qacomp.options.config import CompressConfig

    model, path = pruned(), tmp_path / "net.pt"
    torch.save(model, path)
    measured = measure_file(path, CompressConfig(data="digits"), trust_pickle=True)
    result = qacomp.compress(path, "digits", k=64, tune_epochs=0, trust_pickle=True, output=tmp_path / "net.qac")
    assert measured.accuracy == result.accuracy.original
    assert set(qacomp.decode(result)) == PLAIN


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_parts_of_weights_in_a_bare_state_dict_stay_exact(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"old": nn.Linear(40, 30), "new": nn.Conv2d(4, 20, 3), "cut": nn.Linear(50, 60)})
    weight_norm(model["old"])
    parametrizations.weight_norm(model["new"])
    masked(model["cut"], 0.5)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    parts = {"old.weight_g", "new.parametrizations.weight.original0", "cut.weight_mask"}
    assert set(exact_parts(state)) == parts
    result = qacomp.compress(state, k=8, min_size=2)
    back = qacomp.decode(result)
    for name in parts:
        assert torch.equal(back[name], state[name])
    assert {row.name for row in result.layers if row.k is not None} == {
        "old.weight_v",
        "new.parametrizations.weight.original1",
        "cut.weight_orig",
    }
    assert any("parts of weights" in note for note in result.notes)
    model.load_state_dict(back)
    wanted = plain_module(model, HERE).module.state_dict()
    whole, names = with_weights(back)
    assert set(whole) == set(wanted) and set(names) == {"old.weight", "new.weight", "cut.weight"}
    for name, weight in wanted.items():
        torch.testing.assert_close(whole[name], weight, rtol=1e-5, atol=1e-7)
    assert exact_parts({"a_g": torch.ones(3, 3), "a_v": torch.ones(3, 4), "b_mask": torch.ones(3)}) == {}


def test_a_pruned_state_dict_of_a_known_architecture_has_its_weights() -> None:
    from qacomp.models import create_model

    model = create_model("lenet5")
    masked(model.get_submodule("fc1"), 0.9)
    result = qacomp.compress(dict(model.state_dict()), arch="lenet5", k=8)
    assert any(note.startswith("fc1.weight: computed from pruning masks") for note in result.notes)
    create_model("lenet5").load_state_dict(qacomp.decode(result))


def test_a_buffer_that_is_a_parameters_memory_stays_tied() -> None:
    module = nn.Linear(30, 40)
    module.register_buffer("seen", module.weight.data)
    module.register_buffer("same", module.weight)
    plain = plain_module(module, HERE).module
    assert plain.seen is plain.weight and plain.same is plain.weight
    result = qacomp.compress(module, k=8)
    assert result.checkpoint_bytes == 4 * (30 * 40 + 40)
