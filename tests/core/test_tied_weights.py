"""Tied parameters are one weight: trained as one, shared as one, stored once, and decoded under all their names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import qacomp
from qacomp.checkpoints import Checkpoint
from qacomp.datasets import Dataset, dataset_from_arrays
from qacomp.errors import ConfigError
from qacomp.evaluation.accuracy import onnx_logits
from qacomp.exporting.decode import decode
from qacomp.exporting.part import Part
from qacomp.formats import open_file
from qacomp.models.weight_places import parametrizations, places, put_on, take_off, tied_names
from qacomp.options.config import CompressConfig
from qacomp.pipeline import compress as run
from qacomp.progress import SilentProgress
from qacomp.result import Result
from qacomp.sharing.selection import Rules, select
from qacomp.sources.module_network import network_of
from qacomp.sources.network import Network
from qacomp.sources.opening import checkpoint_of
from qacomp.sources.torch_source import TorchSource
from qacomp.sources.torch_weights import select_layers, tensor_weights
from qacomp.stages.run import Run


class Pair(nn.Module):
    """Three dense layers of one matrix, two of them with one bias."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(64, 64) for _ in range(3))
        self.b.weight = self.c.weight = self.a.weight
        self.c.bias = self.b.bias
        self.out = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.a, self.b, self.c):
            x = torch.relu(layer(x.flatten(1)))
        logits: Tensor = self.out(x)
        return logits


class Words(nn.Module):
    """An embedding whose matrix is that of the last layer too, as in language models."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(16, 24)
        self.hidden = nn.Linear(24, 24)
        self.head = nn.Linear(24, 16, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        ids = (x.flatten(1) * 15).long()
        logits: Tensor = self.head(torch.relu(self.hidden(self.table(ids).mean(1))))
        return logits


class Twice(nn.Module):
    """One convolution and its batch norm, in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.again = self.block
        self.out = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.again(self.block(self.first(x)))
        logits: Tensor = self.out(x.mean((2, 3)))
        return logits


class Norms(nn.Module):
    """Two batch norms of one scale and shift, whose statistics differ."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 10)
        self.norm_a, self.norm_b = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.norm_b.weight, self.norm_b.bias = self.norm_a.weight, self.norm_a.bias

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm_b(self.b(torch.relu(self.norm_a(self.a(x))))))
        logits: Tensor = self.out(x.mean((2, 3)))
        return logits


NETWORKS = {
    Pair: {"b.weight": "a.weight", "c.weight": "a.weight", "c.bias": "b.bias"},
    Words: {"head.weight": "table.weight"},
    Twice: {
        f"again.{leaf}": f"block.{leaf}"
        for leaf in ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var")
    }
    | {"again.1.num_batches_tracked": "block.1.num_batches_tracked"},
    Norms: {"norm_b.weight": "norm_a.weight", "norm_b.bias": "norm_a.bias"},
}
METHODS: dict[str, dict[str, Any]] = {
    "k-means": {"k": 8, "tune_epochs": 1},
    "after": {"k": 8, "reg": "exp", "sharing": "after"},
    "none": {"k": 8, "sharing": "straight-through"},
    **{reg: {"k": 8, "reg": reg} for reg in ("sin", "cos", "min", "exp", "sinreq")},
    "entropy": {"k": 8, "reg": "exp", "sharing": "straight-through:entropy=0.05"},
    "dorefa": {"quantizer": "dorefa", "bits": 3},
    "wrpn": {"quantizer": "wrpn", "reg": "sinreq:learn_bits=true"},
    "affine": {"codebook": "affine4", "tune_epochs": 1},
    "channel": {"codebook": "channel", "k": 4, "tune_epochs": 1},
    "group": {"codebook": "group:64", "k": 4},
    "levels": {"levels": (3, 8)},
    "levels exp": {"levels": (3, 8), "reg": "exp"},
    "ladder": {"levels": (3, 8), "distill": "ta-m"},
    "kd": {"k": 8, "reg": "min", "distill": "kd"},
}


@pytest.fixture(scope="module")
def few() -> Dataset:
    """Sixty images of noise: enough for two steps."""
    drawn = np.random.default_rng(0)
    x, y = drawn.random((60, 8, 8)).astype(np.float32), np.arange(60) % 10
    return dataset_from_arrays({"x_train": x, "y_train": y, "x_test": x[:20], "y_test": y[:20], "num_classes": 10})


def compressed(kind: type[nn.Module], data: Dataset, tmp_path: Path, **settings: Any) -> tuple[Network, Result]:
    """The network that was compressed, in place, and what came out."""
    torch.manual_seed(0)
    module = kind()
    defaults = {"epochs": 1} if {"reg", "quantizer", "levels", "sharing"} & set(settings) else {}
    defaults |= {"tune_epochs": 0, "seed": 1} | ({"batch_size": 32} if defaults or "tune_epochs" in settings else {})
    config = CompressConfig().with_settings(defaults | settings, "test").check()
    network, examples = network_of(module, config, data, None)
    checkpoint = checkpoint_of(module)
    assert network is not None and isinstance(checkpoint, Checkpoint)
    result = run(TorchSource(checkpoint, network), config, examples, Run(SilentProgress(), tmp_path / "m.qac"))
    return network, result


@pytest.mark.parametrize(
    ("kind", "method"),
    [(kind, method) for kind in NETWORKS for method in METHODS if kind is Pair or method in ("exp", "levels")],
)
def test_ties_hold_from_training_to_decoding(kind: type[nn.Module], method: str, few: Dataset, tmp_path: Path) -> None:
    before = kind()
    network, result = compressed(kind, few, tmp_path, **METHODS[method])
    assert tied_names(network.model) == NETWORKS[kind]
    state = decode(result)
    assert before.load_state_dict(state) is not None and set(state) == set(before.state_dict())
    levels = [None] if "levels" not in METHODS[method] else [3, 8]
    for level in levels:
        state = decode(result, part=Part(level=level))
        for name, first in NETWORKS[kind].items():
            assert torch.equal(state[name], state[first]), (level, name)
        before.load_state_dict(state)
        wanted = before.eval()(torch.from_numpy(few.test.x[:, None])).detach().numpy()
        found = onnx_logits(decode(result, to="onnx", part=Part(level=level)), few.test.x[:, None])
        np.testing.assert_allclose(found, wanted, atol=2e-5)
    with open_file(result.output) as container:
        for name, first in NETWORKS[kind].items():
            if name in container.names:
                assert container.info(name).same_as == first
    rows = {row.name: row for row in result.layers}
    for name in NETWORKS[kind].keys() & rows.keys():
        assert f"tied to {NETWORKS[kind][name]}" in str(rows[name].chosen or rows[name].skipped)


def sized(module: nn.Module, **settings: Any) -> Result:
    return qacomp.compress(module, k=8, input_shape=(1, 8, 8), **settings)


def test_a_tied_weight_is_stored_and_counted_once() -> None:
    torch.manual_seed(0)
    tied, half, untied = Pair(), nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 10)), Pair()
    for layer in (untied.b, untied.c):
        layer.weight = nn.Parameter(0.1 * torch.randn(64, 64))
    one, smallest, three = sized(tied), sized(half), sized(untied)
    assert one.container_bytes - one.graph_bytes < smallest.container_bytes - smallest.graph_bytes + 400
    assert three.container_bytes > one.container_bytes + 2000
    assert one.checkpoint_bytes == 4 * (64 * 64 + 2 * 64 + 64 * 10 + 10)


def test_settings_speak_of_a_tied_weight_by_any_of_its_names() -> None:
    model = Pair()

    def ks(**settings: Any) -> dict[str, int]:
        overrides = settings.pop("overrides", {})
        return {layer.name: layer.k for layer in select_layers(model, "all", 8, overrides, **settings).layers}

    assert ks() == {"a.weight": 8, "out.weight": 8}
    assert ks(overrides={"b": 4}) == ks(overrides={"a": 4, "c.weight": 4}) == {"a.weight": 4, "out.weight": 8}
    assert ks(include=("c",)) == {"a.weight": 8}
    assert ks(exclude=("c.weight",)) == ks(exclude=("a",)) == {"out.weight": 8}
    with pytest.raises(ConfigError, match=r"--k: a and b\.weight are names of one tied weight"):
        ks(overrides={"a": 4, "b.weight": 5})
    with pytest.raises(ConfigError, match="no compressed layer has that name"):
        ks(overrides={"d": 4})


def test_a_table_that_a_dense_layer_reads_too_is_a_weight() -> None:
    selection = select_layers(Words(), "all", 8, {})
    assert [layer.names for layer in selection.layers] == [("table.weight", "head.weight"), ("hidden.weight",)]


def test_tensors_of_one_storage_are_one_weight(tmp_path: Path) -> None:
    weight = torch.randn(40, 50)
    state = {"a.weight": weight, "b.weight": weight, "part.weight": weight[:20], "other.weight": torch.randn(40, 50)}
    assert [layer.names for layer in select(tensor_weights(state), Rules(k=8)).layers] == [
        ("a.weight", "b.weight"),
        ("part.weight",),
        ("other.weight",),
    ]
    result = qacomp.compress(state, k=8, config={"k_layers": {"b": 4}}, output=tmp_path / "m.qac")
    back = decode(result)
    assert torch.equal(back["a.weight"], back["b.weight"]) and len(back["a.weight"].unique()) == 4
    assert len(back["part.weight"].unique()) == len(back["other.weight"].unique()) == 8
    assert result.checkpoint_bytes == 4 * (40 * 50 * 2 + 20 * 50)


def test_agreement_is_that_of_the_shared_weight_at_all_its_places() -> None:
    """Were one place left as it was, no deviation would be seen, and K would stay 4."""
    torch.manual_seed(0)
    asked = qacomp.compress(Pair(), k=4, input_shape=(1, 8, 8), min_agreement=0.9999)
    ks = {row.name: row.k for row in asked.layers}
    assert ks["a.weight"] == ks["b.weight"] == ks["c.weight"] == 64


def test_a_search_says_that_it_cannot_follow_ties(few: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"--prune: .*tied.*--prune none"):
        qacomp.compress(Pair(), few, prune="energy:rate=0.5,epochs=1")


def test_magnitude_leaves_tied_weights_and_says_so(few: Dataset) -> None:
    done = qacomp.compress(Pair(), few, prune="magnitude:rate=0.5,epochs=1")
    notes = [note for note in done.notes if note.startswith("--prune magnitude")]
    assert any("a.weight is tied" in n or "tied to a.weight" in n for n in notes), notes
    assert any("not pruned" in n and "a.weight" in n for n in notes), notes
    decoded = qacomp.decode(done, to="numpy")
    assert 0.4 < (decoded["out.weight"] == 0).mean() < 0.6


def test_a_parametrization_stands_at_every_place_and_goes_again() -> None:
    class Doubled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

        def right_inverse(self, weight: Tensor) -> Tensor:
            return weight / 2

    model = Pair()
    weight, value = model.a.weight, model.a.weight.detach().clone()
    put_on(model, "b.weight", Doubled())
    assert len(places(model, "b.weight")) == 3
    assert sum(p.numel() for p in model.parameters()) == 64 * 64 + 64 + 64 + 64 * 10 + 10
    with torch.no_grad():
        parametrizations(model, "a.weight").original.add_(1)
    for layer in (model.a, model.b, model.c):
        assert torch.allclose(layer.weight, value + 2)
    take_off(model, "c.weight")
    assert model.a.weight is model.b.weight is model.c.weight is weight
    assert torch.allclose(weight, value + 2) and type(model.a) is nn.Linear


def test_a_network_that_looks_pixels_up_is_compressed_without_data() -> None:
    """Normal inputs have no place in its table, pixels between 0 and 1 do."""
    result = sized(Words(), min_agreement=0.5)
    assert result.max_abs_error is not None and result.max_abs_error < 1e-5


def test_a_network_with_a_parameter_that_nothing_reads_keeps_it() -> None:
    class Unread(Pair):
        def __init__(self) -> None:
            super().__init__()
            self.unread = nn.Linear(20, 30)

    result, model = sized(Unread()), Unread()
    model.load_state_dict(decode(result))
    assert len(decode(result)["unread.weight"].unique()) == 8
    assert "unread.weight" not in {t.name for t in decode(result, to="onnx").graph.initializer}
