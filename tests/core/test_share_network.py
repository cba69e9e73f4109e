"""A network's weights are shared in the form that the same bare arrays are."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from qacomp.sharing.form import SharingRules
from qacomp.sharing.selection import Layer, Selection
from qacomp.sharing.share import share_array
from qacomp.training.parametrizations.shared import shared_tensor
from qacomp.training.parametrizations.zeros import Zeros
from qacomp.training.share_network import share_network


def random(rows: int = 24) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((rows, 40)).astype(np.float32)


def mirrored() -> NDArray[np.float32]:
    return np.concatenate([random(12), -random(12)])


def shared(values: NDArray[np.float32], layer: Layer, rules: SharingRules, zeros: Zeros) -> tuple[nn.Module, list[str]]:
    model = nn.Linear(values.shape[1], len(values), bias=False)
    notes: list[str] = []
    model.load_state_dict({"weight": torch.from_numpy(values)})
    share_network(model, Selection((layer,), {}), {}, notes.append, zeros, rules)
    return model, notes


@pytest.mark.parametrize("codebook", ["tensor", "channel", "group:20", "affine4"])
@pytest.mark.parametrize("rounding", ["nearest", "balanced"])
@pytest.mark.parametrize("make", [random, mirrored])
def test_a_network_and_an_array_get_the_same_form(make: object, codebook: str, rounding: str) -> None:
    assert callable(make)
    values = make()
    layer = Layer("weight", "dense", values.shape, 5, 0, "a weight")
    model, notes = shared(values, layer, SharingRules(codebook, rounding), Zeros())
    array = share_array(values, layer, codebook, "exact", rounding)
    np.testing.assert_array_equal(shared_tensor(model, "weight").dense(), array.dense())
    assert notes == ([] if array.note is None else [array.note])


def test_mirrored_slices_stay_mirrored_in_a_network_and_beside_masked_zeros() -> None:
    values = mirrored()
    layer = Layer("weight", "dense", values.shape, 6, 0, "a weight")
    model, _ = shared(values, layer, SharingRules(rounding="balanced"), Zeros())
    dense = shared_tensor(model, "weight").dense()
    np.testing.assert_array_equal(dense[:12], -dense[12:])
    values[:, ::3] = 0
    model, _ = shared(values, layer, SharingRules(), Zeros({"weight": torch.from_numpy(values != 0)}))
    found = shared_tensor(model, "weight")
    np.testing.assert_array_equal(found.dense()[:12], -found.dense()[12:])
    assert found.codebook.size == 7 and np.array_equal(found.dense() == 0, values == 0)


def test_a_network_with_too_few_values_says_so() -> None:
    values = np.sign(random())
    _, notes = shared(values, Layer("weight", "dense", values.shape, 5, 0), SharingRules(), Zeros())
    assert notes == ["weight: 2 shared values instead of 5"]
