"""A network is exported once for all values of its weights, and again where its graph may differ."""

import pytest
import torch
from torch import nn

from qacomp.graphs import known_graphs
from qacomp.graphs.export_inputs import ExportInputs
from qacomp.graphs.known_graphs import KnownGraphs
from qacomp.graphs.network import export_dense

INPUTS = ExportInputs.of_shape((6,))
TENSORS = ("0.weight", "0.bias", "2.weight", "2.bias")


def network(hidden: int = 5, seed: int = 0, end: type[nn.Module] = nn.Identity) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, hidden), nn.ReLU(), nn.Linear(hidden, 3), end()).eval()


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The networks that were exported."""
    seen: list[nn.Module] = []

    def counted(model: nn.Module, inputs: ExportInputs, *, all_submodels: bool = False) -> object:
        seen.append(model)
        return export_dense(model, inputs, all_submodels=all_submodels)

    monkeypatch.setattr(known_graphs, "export_dense", counted)
    return seen


def test_other_values_have_the_graph_that_is_known(exports: list[nn.Module]) -> None:
    graphs = KnownGraphs()
    first = graphs.weightless(network(), INPUTS, TENSORS)
    other = network(seed=1)
    with torch.no_grad():
        other[2].bias.zero_()  # type: ignore[index]
    assert graphs.weightless(other, INPUTS, TENSORS) == first and len(exports) == 1
    assert KnownGraphs().weightless(other, INPUTS, TENSORS) == first and len(exports) == 2


def test_another_form_is_exported_anew(exports: list[nn.Module]) -> None:
    graphs = KnownGraphs()
    forms = [
        graphs.weightless(network(), INPUTS, TENSORS),
        graphs.weightless(network(hidden=4), INPUTS, TENSORS),
        graphs.weightless(network(end=nn.Tanh), INPUTS, TENSORS),
        graphs.weightless(network(), INPUTS, TENSORS[:-1]),
        graphs.weightless(network(seed=1), INPUTS, TENSORS[:-1]),  # the graph holds the values of the last bias
    ]
    assert len(set(forms)) == 5 and len(exports) == 5
