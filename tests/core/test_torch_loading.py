"""A container is loaded into a module: names, shapes and types are compared first, and tied parameters stay tied."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from model_folders import write_folder
from torch import nn

import qacomp
from qacomp.errors import ArchitectureMismatchError, ConfigError
from qacomp.tensors.torch_format import save_file
from qacomp.torch import from_pretrained, load_into
from qacomp.torch.contents import NetworkContents


class Tied(nn.Module):
    """A language model whose output layer is its embedding, with a buffer that no state dict holds."""

    def __init__(self, vocabulary: int = 50, width: int = 8, model_type: str = "") -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("scale", torch.tensor(2.0), persistent=False)
        self.register_buffer("steps", torch.tensor(3))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.norm(self.embed(ids))) * self.scale
        return out


IDS = torch.arange(9)


@pytest.fixture
def model() -> Tied:
    torch.manual_seed(1)
    made = Tied()
    nn.init.normal_(made.norm.weight)
    return made


@pytest.fixture
def folder(model: Tied, tmp_path: Path) -> Path:
    """A container of a folder, of which the tied name is left out, as transformers does."""
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "head.weight"}
    config = json.dumps({"vocabulary": 50, "width": 8, "model_type": "tied"}).encode()
    write_folder(tmp_path / "m", {"model.safetensors": state}, {"config.json": config})
    qacomp.compress(tmp_path / "m", output=tmp_path / "m.qac", min_size=10**6, stored_precision="exact")
    return tmp_path / "m.qac"


def test_a_module_gets_the_tensors_and_stays_tied(model: Tied, folder: Path) -> None:
    other = Tied()
    place = other.embed.weight.data_ptr()
    done = load_into(other, folder)
    assert done.tensors == 4 and not (done.missing or done.unexpected or done.empty)
    assert other.head.weight is other.embed.weight and other.embed.weight.data_ptr() == place
    assert torch.equal(other(IDS), model(IDS))
    assert qacomp.torch.load_into is load_into


def test_both_names_of_a_tied_parameter_may_be_in_the_file(model: Tied, tmp_path: Path) -> None:
    save_file(tmp_path / "a.qac", model.state_dict())
    assert load_into(other := Tied(), tmp_path / "a.qac").tensors == 5
    assert other.head.weight is other.embed.weight and torch.equal(other(IDS), model(IDS))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_module_on_the_meta_device_gets_tensors_of_the_files_type(folder: Path, frozen: bool) -> None:
    with torch.device("meta"):
        other = Tied().half().requires_grad_(not frozen)
    with pytest.raises(ArchitectureMismatchError, match=r"1 without values \(scale\)"):
        load_into(other, folder)
    assert all(tensor.is_meta for tensor in other.state_dict().values())
    done = load_into(other, folder, strict=False)
    assert done.empty == ("scale",)
    assert other.embed.weight.dtype == torch.float32 and other.embed.weight.device.type == "cpu"
    assert other.head.weight is other.embed.weight and isinstance(other.embed.weight, nn.Parameter)
    assert other.norm.weight.requires_grad == (not frozen)


def test_assign_takes_the_files_types(tmp_path: Path, model: Tied) -> None:
    save_file(tmp_path / "a.qac", model.half().state_dict())
    other = Tied()
    with pytest.raises(ArchitectureMismatchError, match=r"embed.weight is float32, in the file float16.*assign=True"):
        load_into(other, tmp_path / "a.qac")
    load_into(other, tmp_path / "a.qac", assign=True)
    assert other.norm.bias.dtype == torch.float16 and other.head.weight is other.embed.weight
    load_into(Tied().half(), tmp_path / "a.qac")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"norm.weight": None}, r"1 missing \(norm\.weight\)"),
        ({"more": torch.zeros(2)}, r"1 unexpected \(more\)"),
        ({"norm.weight": None, "more": torch.zeros(2)}, r"1 missing .*; 1 unexpected"),
        ({"norm.weight": torch.zeros(9)}, r"norm\.weight is \[8\], in the file \[9\]"),
        ({"steps": torch.tensor(3.0)}, r"steps is int64, in the file float32"),
        ({"embed.weight": torch.zeros(8, 50), "head.weight": None}, r"\[50, 8\], in the file \[8, 50\]"),
    ],
)
def test_what_does_not_fit_is_one_error_and_changes_nothing(
    tmp_path: Path, model: Tied, change: dict[str, Any], said: str
) -> None:
    state = {name: tensor for name, tensor in (model.state_dict() | change).items() if tensor is not None}
    save_file(tmp_path / "a.qac", state)
    other = Tied()
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(ArchitectureMismatchError, match=said) as caught:
        load_into(other, tmp_path / "a.qac")
    assert str(tmp_path / "a.qac") in str(caught.value) and "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())


def test_not_strict_loads_what_fits(tmp_path: Path, model: Tied) -> None:
    state = model.state_dict() | {"more": torch.zeros(2)}
    del state["norm.bias"]
    save_file(tmp_path / "a.qac", state)
    done = load_into(other := Tied(), tmp_path / "a.qac", strict=False)
    assert (done.missing, done.unexpected) == (("norm.bias",), ("more",))
    assert torch.equal(other.norm.weight, model.norm.weight)


def test_one_tensor_is_decoded_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import weakref

    alive: list[weakref.ref[torch.Tensor]] = []
    read = NetworkContents.read

    def counted(contents: NetworkContents, name: str) -> torch.Tensor:
        assert sum(ref() is not None for ref in alive) <= 1
        tensor = read(contents, name)
        alive.append(weakref.ref(tensor))
        return tensor

    monkeypatch.setattr(NetworkContents, "read", counted)
    load_into(Tied(), folder)
    assert len(alive) == 4


def test_a_level_of_a_progressive_file(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 3))
    qacomp.compress(net.state_dict(), output=tmp_path / "l.qac", levels=(2, 16))
    other = nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 3))
    load_into(other, tmp_path / "l.qac", part=qacomp.Part(level=2))
    assert torch.unique(other[0].weight).numel() == 2
    load_into(other, tmp_path / "l.qac")
    assert 2 < torch.unique(other[0].weight).numel() <= 16


def test_a_network_with_folded_batch_norms(tmp_path: Path) -> None:
    """A container of a network holds scale and shift alone; the statistics that a module has become neutral."""
    scale, shift = torch.rand(4), torch.rand(4)
    save_file(tmp_path / "b.qac", {"bn.weight": scale, "bn.bias": shift}, meta={"batch_norms": {"bn": 1e-5}})
    net = nn.ModuleDict({"bn": nn.BatchNorm1d(4)}).eval()
    assert load_into(net, tmp_path / "b.qac").tensors == 5
    x = torch.randn(3, 4)
    assert torch.allclose(net["bn"](x), x * scale + shift, atol=1e-6)


def test_a_module_is_built_from_the_carried_configuration(model: Tied, folder: Path) -> None:
    made = from_pretrained(Tied, folder)
    assert not made.training and made.head.weight is made.embed.weight
    assert made.scale == 2 and torch.equal(made(IDS), model(IDS))
    assert not any(tensor.is_meta for tensor in [*made.parameters(), *made.buffers()])


def test_no_parameter_has_values_before_it_is_loaded(folder: Path) -> None:
    seen = []

    def build(**config: Any) -> Tied:
        made = Tied(**config)
        seen.extend([made.embed.weight.is_meta, made.head.weight is made.embed.weight, made.scale.is_meta])
        return made

    from_pretrained(build, folder)
    assert seen == [True, True, False]
    assert not nn.Linear(2, 2).weight.is_meta


class Configuration:
    """As that of a class of transformers: made from a dict."""

    def __init__(self, width: int) -> None:
        self.width = width

    @classmethod
    def from_dict(cls, entries: dict[str, Any]) -> "Configuration":
        return cls(entries["width"])


class OfConfiguration(Tied):
    config_class = Configuration

    def __init__(self, config: Configuration) -> None:
        super().__init__(50, config.width)


class OfDictionary(Tied):
    """As a class of diffusers."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "OfDictionary":
        return cls(config["vocabulary"], config["width"])


@pytest.mark.parametrize("kind", [OfConfiguration, OfDictionary])
def test_classes_with_a_configuration_of_their_own(kind: Any, model: Tied, folder: Path) -> None:
    assert torch.equal(from_pretrained(kind, folder)(IDS), model(IDS))


def test_a_configuration_may_be_given(model: Tied, tmp_path: Path) -> None:
    save_file(tmp_path / "a.qac", model.state_dict())
    with pytest.raises(ConfigError, match=r"carries no config\.json"):
        from_pretrained(Tied, tmp_path / "a.qac")
    made = from_pretrained(Tied, tmp_path / "a.qac", config={"vocabulary": 50})
    assert torch.equal(made(IDS), model(IDS))
    with pytest.raises(ConfigError, match=r"Tied doesn't take the configuration .*nonsense"):
        from_pretrained(Tied, tmp_path / "a.qac", config={"nonsense": 1})
    with pytest.raises(ConfigError, match="returned a int, not a module"):
        from_pretrained(lambda: 5, tmp_path / "a.qac", config={})  # type: ignore[type-var]


def test_a_subfolder_of_a_pipeline(model: Tied, tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "head.weight"}
    source = write_folder(tmp_path / "p", {"unet/model.safetensors": state}, {"model_index.json": b"{}"})
    write_folder(source, {"vae/model.safetensors": {"w": torch.ones(3)}}, {"unet/config.json": b'{"width": 8}'})
    qacomp.compress(source, output=tmp_path / "p.qac", min_size=10**6, stored_precision="exact")
    assert torch.equal(from_pretrained(Tied, tmp_path / "p.qac", subfolder="unet")(IDS), model(IDS))
    with pytest.raises(ConfigError, match="'unet', 'vae'"):
        load_into(Tied(), tmp_path / "p.qac")


def test_a_configuration_that_is_no_json_is_refused(model: Tied, tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "head.weight"}
    source = write_folder(tmp_path / "m", {"model.safetensors": state}, {"config.json": b"[" * 100_000})
    qacomp.compress(source, output=tmp_path / "m.qac")
    with pytest.raises(ConfigError, match=r"config\.json isn't a JSON object"):
        from_pretrained(Tied, tmp_path / "m.qac")
