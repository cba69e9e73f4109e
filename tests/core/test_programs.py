"""A user's own program as an ONNX model: modules, TorchScript, what is refused, and that nothing runs without trust."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import qacomp
from qacomp.errors import ConfigError, ExportError, UnsafePickleError
from qacomp.runtime.session import open_session
from qacomp.sources.example_inputs import parse_inputs


class Recurrent(nn.Module):
    """A state goes in and comes out beside what isn't class scores."""

    def __init__(self) -> None:
        super().__init__()
        self.old = nn.Linear(40, 40)
        self.new = nn.Linear(24, 40)
        self.head = nn.Linear(40, 30)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """(N, T, 24), (1, N, 40) -> (N, T, 30), (1, N, 40)."""
        state = torch.tanh(self.old(h) + self.new(x.mean(dim=1)))
        return self.head(state[0].unsqueeze(1) + self.new(x)), state


class Wrapped(nn.Module):
    """Keeps the state to itself, as streaming modules do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Recurrent()
        self.h = torch.zeros(1, 2, 40)

    def forward(self, x: Tensor) -> Tensor:
        """(2, T, 24) -> (2, T, 30)."""
        y, self.h = self.inner(x, self.h)
        return y  # type: ignore[no-any-return]


SHAPES = ("batch,time=5,24", "1,batch,40")


@pytest.fixture(scope="module")
def recurrent() -> Recurrent:
    torch.manual_seed(0)
    return Recurrent().eval()


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("jit") / "m.pt"
    torch.manual_seed(0)  # the same weights as those of `recurrent`
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Wrapped()).save(str(path))  # type: ignore[no-untyped-call]
    return path


def test_shapes_of_inputs() -> None:
    first, second, third = parse_inputs(["1, 576", "batch,3,batch,frames=50:float16", ":int64"])
    assert first.sizes == (1, 576) and not first.names and first.dtype == torch.float32
    assert second.sizes == (2, 3, 2, 50) and second.names == {0: "batch", 2: "batch", 3: "frames"}
    rng = np.random.default_rng(0)
    assert second.drawn(rng, longer=1).shape == (3, 3, 3, 51) and second.drawn(rng).dtype == torch.float16
    scalar = third.drawn(rng)
    assert scalar.shape == () and scalar.dtype == torch.int64 and scalar == 0


@pytest.mark.parametrize("spec", ["1,,2", "1;2", "-1,2", "1,2:float7", "a=,2", "1,2,", "999999999,999999999"])
def test_shapes_that_are_none_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="--input"):
        parse_inputs([spec])
    with pytest.raises(ConfigError, match="two sizes"):
        parse_inputs(["n=3,2", "n=4,2"])


@pytest.mark.parametrize("kind", ["module", "torchscript"])
def test_a_program_is_compressed_with_its_graph(
    kind: str, recurrent: Recurrent, scripted: Path, tmp_path: Path
) -> None:
    model = recurrent if kind == "module" else scripted
    settings: dict[str, Any] = {} if kind == "module" else {"submodule": "inner"}
    made = qacomp.compress(
        model, k=256, input=SHAPES, output=tmp_path / "m.qac", trust_pickle=True, min_size=100, **settings
    )
    assert sum(layer.k is not None for layer in made.layers) >= 3
    assert (
        made.agreement is not None and (made.agreement.cosine or 0) > 0.9999 and "carried on" in made.agreement.inputs
    )
    assert made.settings["input"] == list(SHAPES) or made.settings["input"] == SHAPES
    session = open_session(qacomp.decode(made, to="onnx"))
    x, h = torch.randn(3, 7, 24), torch.randn(1, 3, 40)  # other sizes of the free axes
    names = [entry.name for entry in session.get_inputs()]
    found = session.run(None, dict(zip(names, (x.numpy(), h.numpy()), strict=True)))
    with torch.no_grad():
        for a, b in zip(found, recurrent(x, h), strict=True):
            assert np.abs(a - b.numpy()).max() < 0.02
    again = qacomp.compress(
        model, k=256, input=SHAPES, output=tmp_path / "n.qac", trust_pickle=True, min_size=100, **settings
    )
    assert again.output.read_bytes() == made.output.read_bytes()


def test_no_path_of_a_source_file_is_kept(recurrent: Recurrent) -> None:
    model = qacomp.decode(qacomp.compress(recurrent, k=4, input=SHAPES), to="onnx")
    assert b".py" not in model.SerializeToString()


def test_a_module_that_keeps_a_state_is_refused(scripted: Path) -> None:
    with pytest.raises(ExportError, match=r"keeps state.*--submodule"):
        qacomp.compress(scripted, k=4, input=("2,5,24",), trust_pickle=True)


def test_what_cannot_be_called_is_refused(recurrent: Recurrent, scripted: Path) -> None:
    with pytest.raises(ConfigError, match="fails on inputs of shapes"):
        qacomp.compress(recurrent, k=4, input=("2,5,23", "1,2,40"))
    with pytest.raises(ConfigError, match=r"--submodule nosuch: .*inner"):
        qacomp.compress(scripted, k=4, input=SHAPES, submodule="nosuch", trust_pickle=True)
    with pytest.raises(ConfigError, match="--submodule"):
        qacomp.compress(scripted, k=4, submodule="inner", trust_pickle=True)


def test_outputs_may_be_nested() -> None:
    torch.manual_seed(0)
    made = qacomp.compress(nn.LSTM(24, 20), k=256, input=("6,1,24",), min_size=100)  # gives (y, (h, c))
    assert made.agreement is not None and len(made.agreement.outputs) == 3
    assert (made.agreement.cosine or 0) > 0.9999


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_a_module_of_another_type(dtype: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(24, 20), nn.ReLU(), nn.Linear(20, 10)).to(getattr(torch, dtype))
    made = qacomp.compress(network, k=16, input=(f"2,24:{dtype}",), min_size=10)
    assert made.agreement is not None and (made.agreement.cosine or 0) > 0.99
    assert {str(t.dtype) for t in qacomp.decode(made, to="numpy").values()} == {dtype}
    with pytest.raises(ConfigError, match="fails on inputs of shapes"):
        qacomp.compress(network, k=16, input=("2,24",))  # float32


def test_nothing_runs_without_trust(scripted: Path) -> None:
    with pytest.raises(UnsafePickleError, match="--trust-pickle"):
        qacomp.compress(scripted, k=4, input=SHAPES)
    notes = qacomp.compress(scripted, k=4, trust_pickle=True).notes
    assert any("--input" in note for note in notes)


def test_a_pickled_module_is_a_network_of_its_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path, digits = tmp_path / "whole.pt", qacomp.load_dataset("digits").train
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        scores = network(torch.tensor(digits.x).float() / (255 if digits.x.dtype == np.uint8 else 1))
        loss = nn.functional.cross_entropy(scores, torch.tensor(digits.y))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.save(network, path)
    with pytest.raises(UnsafePickleError):
        qacomp.compress(path, k=4)
    trained = qacomp.compress(path, "digits", reg="exp", k=4, epochs=3, tune_epochs=1, trust_pickle=True)
    assert trained.accuracy.original is not None and trained.accuracy.decoded is not None
    assert trained.accuracy.original > 90 and trained.accuracy.decoded > 85
    assert trained.graph_bytes > 0 and trained.history
    plain = qacomp.compress(path, k=4, trust_pickle=True)
    assert plain.graph_bytes == 0 and any("--input" in note for note in plain.notes)
    exported = qacomp.compress(path, k=4, input=("batch,1,8,8",), trust_pickle=True)
    assert exported.graph_bytes > 0 and exported.agreement is not None


def test_other_files_have_no_use_for_the_shapes(tmp_path: Path) -> None:
    weights = {"fc.weight": torch.randn(40, 30)}
    notes = qacomp.compress(weights, k=4, input=("1,30",)).notes
    assert any("--input" in note for note in notes)
