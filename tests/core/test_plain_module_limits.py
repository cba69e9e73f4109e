"""Modules that can't be copied say what to do; the caller's module, modes and random numbers stay as they were."""

import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import qacomp
from qacomp.datasets import Dataset, dataset_from_arrays
from qacomp.errors import CheckpointError, ConfigError

PLAIN = {"1.weight", "1.bias", "3.weight", "3.bias"}


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))


@pytest.fixture(scope="module")
def few() -> Dataset:
    drawn = np.random.default_rng(0)
    x, y = drawn.random((60, 8, 8)).astype(np.float32), np.arange(60) % 10
    return dataset_from_arrays({"x_train": x, "y_train": y, "x_test": x[:20], "y_test": y[:20], "num_classes": 10})


def test_a_module_that_remembers_its_results_is_copied() -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small()
            self.seen: dict[str, list[Tensor]] = {}

        def forward(self, x: Tensor) -> Tensor:
            self.last = self.inner(x)
            self.seen["last"] = [self.last]
            logits: Tensor = self.last
            return logits

    module = Remembers()
    module(torch.randn(2, 1, 8, 8)).sum().backward()
    result = qacomp.compress(module, k=8, input_shape=(1, 8, 8))
    assert len(result.layers) == 4 and module.inner[1].weight.grad is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_compressed_as_float32(dtype: torch.dtype, few: Dataset) -> None:
    result = qacomp.compress(small().to(dtype), few, k=8, tune_epochs=0)
    assert any("float32" in note for note in result.notes)
    assert result.accuracy.decoded is not None


def quantized() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(small(), {nn.Linear})  # type: ignore[no-any-return,no-untyped-call]


class Locked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.lock = small(), threading.Lock()


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "quantized": (quantized, r"1 is quantized \(Linear\).*compress the float module"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(10)), "0.weight has no shape yet; run the module once"),
    "meta": (lambda: nn.Linear(4, 4, device="meta"), "weight has no values"),
    "locked": (Locked, "can't be copied.*remove the attribute.*state_dict"),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_copied_says_what_to_do(case: str, few: Dataset) -> None:
    build, reason = REFUSED[case]
    module = build()
    for arguments in ((few,), ()):
        with pytest.raises(CheckpointError, match=reason):
            qacomp.compress(module, *arguments, k=8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_module_says_how(few: Dataset) -> None:
    scripted = torch.jit.script(small())
    with pytest.raises(ConfigError, match="scripted module has no layers to train"):
        qacomp.compress(scripted, few, k=8)
    assert {row.name for row in qacomp.compress(scripted, k=8).layers} == PLAIN


def test_what_is_no_tensor_is_left_out_and_named() -> None:
    class Extra(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"steps": 3}

        def set_extra_state(self, state: dict[str, int]) -> None:
            pass

    result = qacomp.compress(nn.Sequential(Extra(30, 40)), k=8)
    assert "0._extra_state: not a tensor, left out of the container" in result.notes


def test_a_frozen_network_is_trained_as_any_other(few: Dataset) -> None:
    frozen = small().requires_grad_(False)
    with torch.inference_mode():
        result = qacomp.compress(frozen, few, k=8, reg="exp", epochs=1, tune_epochs=1, batch_size=32)
    assert not any(p.requires_grad for p in frozen.parameters())
    assert len(result.history) == 2


def test_the_callers_random_numbers_and_modes_stay(few: Dataset) -> None:
    module = small().train()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    with torch.no_grad():
        qacomp.compress(module, few, k=8, tune_epochs=1, batch_size=32)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert module.training and all(p.grad is None for p in module.parameters())


def test_of_other_outputs_in_training_mode_the_first_one_is_trained(few: Dataset) -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small()

        def forward(self, x: Tensor) -> Any:
            scores = self.inner(x)
            return (scores, scores) if self.training else scores

    torch.manual_seed(0)
    network = Auxiliary()
    with_others = qacomp.compress(network, few, k=8, tune_epochs=2, seed=1)
    alone = qacomp.compress(network.inner, few, k=8, tune_epochs=2, seed=1)
    assert [r.loss for r in with_others.history] == [r.loss for r in alone.history] and len(alone.history) == 2
