"""Conformance of an architecture: shapes, seeds, state dicts, gradients."""

from functools import lru_cache

import torch
from torch import Tensor, nn

from qacomp.models import create_model, model_info
from qacomp.models.flexible import FlexibleModel
from qacomp.testing.suite import Suite, expect


def _seeded(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return create_model(name)


_model = lru_cache(maxsize=1)(_seeded)  # a large network takes a second to build


class ModelSuite(Suite):
    """The contract of `register_model`."""

    def images(self, count: int) -> Tensor:
        """Return random images in the architecture's input shape: (count, C, H, W) float32."""
        shape = model_info(self.name).input_shape
        return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))

    def test_logits_have_the_declared_shape(self) -> None:
        """Check that an input (3, C, H, W) gives logits (3, num_classes), finite and float32."""
        with torch.no_grad():
            logits = _model(self.name, 0).eval()(self.images(3))
        expect(logits.shape == (3, model_info(self.name).num_classes), f"logits are {list(logits.shape)}")
        expect(logits.dtype == torch.float32 and torch.isfinite(logits).all(), "logits are finite float32")

    def test_any_number_of_classes(self) -> None:
        """Check that the network has `num_classes` outputs, and can be built on the meta device."""
        with torch.device("meta"):
            logits = create_model(self.name, 7).eval()(self.images(3).to("meta"))
        expect(logits.shape == (3, 7), "num_classes is the width of the logits")

    def test_info_agrees_with_itself(self) -> None:
        """Check that name, description, input shape and preprocessing are consistent."""
        info = model_info(self.name)
        info.preprocessing.validate()
        expect(info.name == self.name and info.description, "the function's docstring describes the architecture")
        expect(info.preprocessing.input_shape == info.input_shape, "mean and std have a value for each channel")

    def test_the_seed_decides_the_weights_and_the_state_round_trips(self) -> None:
        """Check that torch's seed determines the weights, and that a state dict restores the whole network."""
        model, x = _model(self.name, 0), self.images(2)
        names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
        expect(names and len(names) == len(set(names)), "parameters have names of their own")
        for mine, its in zip(model.parameters(), _seeded(self.name, 0).parameters(), strict=True):
            expect(torch.equal(mine, its), "the seed decides the initial weights")
        other = _seeded(self.name, 1)
        pairs = zip(model.parameters(), other.parameters(), strict=True)
        expect(not all(torch.equal(mine, its) for mine, its in pairs), "another seed gives other weights")
        other.load_state_dict(model.state_dict(), strict=True)
        with torch.no_grad():
            expect(torch.equal(model.eval()(x), other.eval()(x)), "the state dict is the whole network")

    def test_every_parameter_gets_a_gradient(self) -> None:
        """Check that each parameter gets a gradient; in a flexible model from all sub-models together."""
        model, x = _model(self.name, 0), self.images(4)
        torch.manual_seed(0)  # for dropout
        twin = model.train()
        every = twin.forward_all(x) if isinstance(twin, FlexibleModel) else [twin(x)]
        loss = torch.stack([nn.functional.cross_entropy(logits, torch.arange(4)) for logits in every]).sum()
        torch.autograd.backward(loss)
        without = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
        model.zero_grad(set_to_none=True)
        expect(not without, f"without a gradient: {', '.join(without)}")
