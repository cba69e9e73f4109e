"""R_M and R_E against autograd of the papers' textbook form, which broadcasts every weight against every level."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qacomp.training.regularizers.exponential import Exponential
from qacomp.training.regularizers.minimum_distance import MinimumDistance


def textbook(name: str, w: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    distance = (w.reshape(-1, 1) - u).abs().min(dim=1).values  # (n,)
    return distance.square().mean() if name == "min" else (1 - torch.exp(-distance)).mean()


@pytest.mark.parametrize("name", ["min", "exp"])
@given(seed=st.integers(0, 2**31), k=st.integers(2, 40), shape=st.sampled_from([(1,), (7,), (20, 3), (4, 3, 3, 3)]))
def test_value_and_gradients_equal_the_textbook_form(name: str, seed: int, k: int, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    u = torch.randn(k, generator=generator, dtype=torch.float64)
    penalty = (MinimumDistance if name == "min" else Exponential)(u.clone())
    v = u.clone().requires_grad_()
    expected = textbook(name, w, v)
    want_w, want_u = torch.autograd.grad(expected, (w, v))
    got = penalty(w)
    got_w, got_u = torch.autograd.grad(got, (w, penalty.u))
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(got_w, want_w, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(got_u, want_u, atol=1e-12, rtol=1e-10)


def test_a_channels_last_weight_gets_its_gradient_in_place() -> None:
    w = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    penalty = Exponential(torch.tensor([-0.5, 0.1, 0.7], dtype=torch.float64))
    (plain,) = torch.autograd.grad(penalty(w.requires_grad_()), w)
    turned = w.detach().to(memory_format=torch.channels_last).requires_grad_()
    (got,) = torch.autograd.grad(penalty(turned), turned)
    torch.testing.assert_close(got, plain)
