"""Traces that tests keep: equal networks have one, whatever their weights, and it is what the exporter would give."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from kept_traces import TRACES, Unlike, form, keep_traces
from torch import Tensor, nn

from qacomp.graphs import network
from qacomp.graphs.export_inputs import ExportInputs
from qacomp.graphs.network import export_dense


class Scaled(nn.Module):
    def __init__(self, factor: Any = 2.0) -> None:
        super().__init__()
        self.dense, self.factor = nn.Linear(4, 3), factor
        self.register_buffer("shift", torch.ones(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.dense(x) * self.factor + self.get_buffer("shift"))


class Squared(Scaled):
    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.dense(x) ** self.factor + self.get_buffer("shift"))


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[nn.Module]]:
    """The networks that were traced; nothing is known from before."""
    seen: list[nn.Module] = []
    plain = network._traced
    found = dict(TRACES)
    TRACES.clear()

    def counted(*given: Any) -> Any:
        seen.append(given[0])
        return plain(*given)

    monkeypatch.setattr(network, "_traced", counted)
    keep_traces(True)
    yield seen
    TRACES.clear()
    TRACES.update(found)


def exported(model: nn.Module, shape: tuple[int, ...] = (4,)) -> bytes:
    return bytes(export_dense(model.eval(), ExportInputs.of_shape(shape)).SerializeToString(deterministic=True))


def test_a_kept_trace_gives_the_graph_of_the_exporter(traced: list[nn.Module]) -> None:
    first, second = Scaled(), Scaled()
    before = exported(first)
    kept = exported(second)
    assert len(traced) == 1 and kept != before, "weights are its own"
    keep_traces(False)
    assert exported(second) == kept and len(traced) == 2


def test_what_a_graph_depends_on_is_traced_anew(traced: list[nn.Module]) -> None:
    shifted, hooked = Scaled(), Scaled()
    shifted.shift = torch.zeros(3)
    hooked.dense.register_forward_hook(lambda module, given, out: out + 1)
    forms = [Scaled(), Squared(), shifted, hooked]
    graphs = {exported(model) for model in forms}
    assert len(traced) == len(graphs) == 4
    exported(hooked)
    assert len(traced) == 5, "nothing tells whether two hooks are the same"


def test_attributes_and_inputs_are_compared() -> None:
    def told(model: nn.Module, shape: tuple[int, ...] = (4,)) -> object:
        state = {name: value.detach() for name, value in model.state_dict(keep_vars=True).items()}
        return form(model, ExportInputs.of_shape(shape), state)

    forms = [told(Scaled()), told(Scaled(3.0)), told(Scaled(3)), told(Scaled(), (5, 4)), told(Scaled().eval())]
    assert len(set(forms)) == 5 and told(Scaled()) == forms[0]
    with pytest.raises(Unlike):
        told(Scaled(torch.ones(3)))
