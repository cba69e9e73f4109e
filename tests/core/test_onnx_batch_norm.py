"""Folded batch norms give the same outputs, need no statistics, and load back into a fresh network."""

import copy
from typing import TypeVar

import numpy as np
import pytest
import torch
from torch import nn

from qacomp.errors import ArchitectureMismatchError, ExportError, NonFiniteWeightsError
from qacomp.graphs.batch_norm import (
    constant_names,
    fold_statistics,
    foldable_batch_norms,
    load_folded,
    untracked_batch_norms,
)

Model = TypeVar("Model", bound=nn.Module)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _used(model: Model, seed: int = 0) -> Model:
    """Give every batch norm statistics and weights as training would leave them."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.running_mean is not None and module.running_var is not None:
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.01, 3.0, generator=generator)
            if module.affine:
                with torch.no_grad():
                    module.weight.normal_(generator=generator)
                    module.bias.normal_(generator=generator)
    return model.eval()


CASES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "1d": (nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)), (6,)),
    "2d": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=1e-3), nn.ReLU()), (3, 7, 7)),
    "3d": (nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2, momentum=None)), (1, 5, 5, 5)),
    "not affine": (nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, affine=False)), (6,)),
    "alone": (nn.BatchNorm1d(6), (6,)),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_stay_the_same(case: str) -> None:
    template, shape = CASES[case]
    model = _used(copy.deepcopy(template))
    x = torch.randn(8, *shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        reference = copy.deepcopy(model).double()(x.double())  # eval mode in float64, never folded
    constants = fold_statistics(model)
    with torch.inference_mode():
        difference = (model.double()(x.double()) - reference).abs().max()
    assert difference < 1e-6 * max(1.0, float(reference.abs().max()))
    assert {name.rpartition(".")[2] for name in constants} == {"running_mean", "running_var", "num_batches_tracked"}
    state = model.state_dict()
    assert all(name in state for name in constants)
    for name in constants:
        expected = {"running_mean": 0, "running_var": 1}.get(name.rpartition(".")[2])
        assert expected is None or bool((state[name] == expected).all())


@pytest.mark.parametrize("case", CASES)
def test_a_folded_state_loads_into_a_fresh_network(case: str) -> None:
    template, shape = CASES[case]
    model = _used(copy.deepcopy(template))
    constants = set(fold_statistics(model))
    tensors = {name: value.numpy().copy() for name, value in model.state_dict().items() if name not in constants}
    fresh = _used(copy.deepcopy(template), seed=5).train()
    load_folded(fresh, tensors)
    x = torch.randn(4, *shape)
    assert not fresh.training
    assert torch.equal(fresh(x), model(x))


def test_folding_twice_changes_nothing() -> None:
    model = _used(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    fold_statistics(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert fold_statistics(model) == constant_names(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_module_used_twice_is_folded_once_and_named_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.BatchNorm1d(4)
            self.b = self.a

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.b(self.a(x))
            return y

    model = _used(Twice())
    x = torch.randn(5, 4)
    reference = model(x)
    constants = fold_statistics(model)
    assert {"a.running_mean", "b.running_mean"} <= set(constants)
    torch.testing.assert_close(model(x), reference, rtol=1e-5, atol=1e-5)
    fresh = Twice()
    load_folded(fresh, {name: value for name, value in model.state_dict().items() if name in ("a.weight", "a.bias")})
    assert torch.equal(fresh(x), model(x))


def test_without_running_statistics_it_is_left_and_reported() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert fold_statistics(model) == []
    assert untracked_batch_norms(model) == ["1"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_training_mode_is_refused_and_nothing_changed() -> None:
    model = _used(nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4)))
    model[1].train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ExportError, match=r"'1' is in training mode"):
        fold_statistics(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_batch_norms_of_one_weight_are_left_as_they_are() -> None:
    """Folded, each would need a scale of its own."""
    model = _used(nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4), nn.BatchNorm1d(4)))
    model[1].weight = model[0].weight
    x, before = torch.randn(3, 4), {name: value.clone() for name, value in model.state_dict().items()}
    wanted = model(x)
    assert list(foldable_batch_norms(model)) == ["2"]
    assert fold_statistics(model) == ["2.running_mean", "2.running_var", "2.num_batches_tracked"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items() if name[0] in "01")
    torch.testing.assert_close(model(x), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_unsound_statistics_are_refused(value: float) -> None:
    model = _used(nn.Sequential(nn.BatchNorm1d(4)))
    assert isinstance(model[0].running_var, torch.Tensor)
    model[0].running_var[2] = value
    with pytest.raises(NonFiniteWeightsError, match="'0'"):
        fold_statistics(model)


def test_load_folded_says_what_differs() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    good = {
        "0.weight": np.zeros((3, 4), np.float32),
        "0.bias": np.zeros(3, np.float32),
        "1.weight": np.ones(3, np.float32),
        "1.bias": np.zeros(3, np.float32),
    }
    for change, message in (
        ({"0.weight": np.zeros((4, 3), np.float32)}, r"shapes: 0.weight \(4, 3\) instead of \(3, 4\)"),
        ({"other": np.zeros(3, np.float32)}, "unknown: other"),
        ({"1.bias": None}, "missing: 1.bias"),
    ):
        tensors = {name: value for name, value in {**good, **change}.items() if value is not None}
        with pytest.raises(ArchitectureMismatchError, match=message):
            load_folded(model, tensors)
    load_folded(model, good)
    assert model[1].eps == 0.0
