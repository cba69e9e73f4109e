"""Several networks in one container: each decodes alone, equals its sub-model, and needs the bytes that it says."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from qacomp.api import compress
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.errors import ConfigError
from qacomp.evaluation.accuracy import onnx_accuracy
from qacomp.evaluation.parity import max_abs_error
from qacomp.evaluation.submodels import describe_submodels
from qacomp.exporting.decode import decode as unpack
from qacomp.exporting.decode import decode_file
from qacomp.exporting.onnx_model import onnx_model
from qacomp.exporting.operating_points import operating_points
from qacomp.exporting.part import Part
from qacomp.formats import Writer, open_file, save_file
from qacomp.models._msdnet import MultiScaleDenseNetwork
from qacomp.models._slimmable import SlimmableConv2d, SlimmableNetwork, SlimmableUnit
from qacomp.models.flexible import FlexibleModel
from qacomp.options.config import CompressConfig
from qacomp.options.method import MethodChoice
from qacomp.sources.network import Network
from qacomp.sources.torch_weights import select_layers
from qacomp.stages.pack_ladder import pack_ladder
from qacomp.stages.pack_network import Package, pack_network
from qacomp.training.ladder import build_ladder
from qacomp.training.share_network import share_network

LEVELS = [2, 4, 16]


class Small(nn.Module):
    """A convolution with batch norm and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16)
        self.linear = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(torch.relu(self.norm(self.conv(x))).mean(dim=(2, 3)))
        return logits


def images(size: int, count: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def network(model: nn.Module, size: int) -> Network:
    preprocessing = Preprocessing(size=(size, size), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    return Network(model.eval(), "small", 10, (3, size, size), preprocessing)


def write(path: Path, package: Package, size: int) -> dict[str, nn.Module]:
    meta = {
        "levels": LEVELS,
        "input_shape": [3, size, size],
        "submodels": describe_submodels(package.submodels, (3, size, size), None),
    }
    if package.cuts:
        del meta["levels"]
    with Writer(path, graph=package.graph, meta=meta) as writer:
        for name, tensor in package.tensors.items():
            if name in package.cuts:
                writer.cut()
            writer.add(name, tensor, "fp16")
    return package.submodels


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, nn.Module]]:
    """A container of three levels, each with batch norms of its own, and the networks that it should hold."""
    torch.manual_seed(0)
    model = Small()
    selection = select_layers(model, "all", LEVELS[-1], {})
    made = build_ladder(model, selection, LEVELS).train()
    optimizer = torch.optim.SGD([p for p in made.parameters() if p.requires_grad], lr=0.1)
    for step in range(5):
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack([z.square().mean() for z in made.forward_all(images(8, seed=step))]).sum())
        optimizer.step()
    made.eval().freeze()
    path = tmp_path_factory.mktemp("ladder") / "ladder.qac"
    package = pack_ladder(network(model, 8), made, selection, LEVELS, "fp16")
    return path, write(path, package, 8)


@pytest.fixture(scope="module", params=["exits", "widths"])
def flexible(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A container of a narrow MSDNet or slimmable network, with k-means at K = 4, and what it should hold."""
    torch.manual_seed(0)
    model: nn.Module
    if request.param == "exits":
        model = MultiScaleDenseNetwork((1, 1, 1), channels=4, growth=2, reduction=0.5, num_classes=10)
    else:
        units = [
            SlimmableUnit(SlimmableConv2d((3, 3), (8, 16), 3, 2)),
            SlimmableUnit(SlimmableConv2d((8, 16), (8, 16), 3, 1, depthwise=True)),
            SlimmableUnit(SlimmableConv2d((8, 16), (16, 32), 1, 1)),
        ]
        model = SlimmableNetwork((0.5, 1.0), units, 10)
    assert isinstance(model, FlexibleModel)
    model.train()
    model.forward_all(images(32))
    selection = select_layers(model, "all", 4, {})
    share_network(model.eval(), selection, {}, lambda text: None)
    path = tmp_path_factory.mktemp(request.param) / "flexible.qac"
    write(path, pack_network(network(model, 32), selection, "fp16"), 32)
    return path, model


def test_each_level_equals_its_sub_model(ladder: tuple[Path, dict[str, nn.Module]]) -> None:
    path, submodels = ladder
    assert list(submodels) == ["level2", "level4", "level16"]
    x = images(8, seed=9).numpy()
    with open_file(path) as container:
        points = operating_points(container)
        decoded = {point.name: onnx_model(container, submodel=point.name) for point in points}
        default = onnx_model(container)
    assert [point.name for point in points] == list(submodels)
    for name, plain in submodels.items():
        assert max_abs_error(plain, decoded[name], x) <= 1e-4
    assert max_abs_error(submodels["level16"], default, x) <= 1e-4
    assert max_abs_error(submodels["level2"], decoded["level16"], x) > 1e-2
    scales = [plain.get_parameter("norm.weight") for plain in submodels.values()]
    assert not torch.equal(scales[0], scales[1])  # batch norm, too, is the level's own
    assert [point.bytes for point in points][-1] == path.stat().st_size
    assert all(point.macs == 6 * 6 * 16 * 27 + 160 for point in points)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_file_cut_behind_a_level_is_that_level(
    ladder: tuple[Path, dict[str, nn.Module]], tmp_path: Path, place: int
) -> None:
    path, submodels = ladder
    with open_file(path) as container:
        point = operating_points(container)[place]
    cut = tmp_path / "cut.qac"
    cut.write_bytes(path.read_bytes()[: point.bytes])
    done = decode_file(cut, tmp_path / "cut.onnx", part=Part(allow_truncated=True))
    assert done.max_abs_error == 0.0
    x = images(8, seed=9).numpy()
    assert max_abs_error(submodels[point.name], onnx.load(tmp_path / "cut.onnx"), x) <= 1e-4
    if place == 0:
        cut.write_bytes(path.read_bytes()[: point.bytes - 1])
        with pytest.raises(Exception, match="cut off before the end of its coarsest level"):
            decode_file(cut, tmp_path / "none.onnx", part=Part(allow_truncated=True))


def test_each_exit_or_width_equals_its_sub_model(flexible: tuple[Path, nn.Module], tmp_path: Path) -> None:
    path, model = flexible
    assert isinstance(model, FlexibleModel)
    x = images(32, seed=9).numpy()
    sizes = []
    for name in model.submodel_names:
        target = tmp_path / f"{name}.onnx"
        done = decode_file(path, target, part=Part(submodel=name))
        proto, plain = onnx.load(target), model.submodel(name)
        assert max_abs_error(plain, proto, x) <= 1e-4 and done.max_abs_error == 0.0
        weights = {re.sub(r"norms\.\d", "norm", t.name): list(t.dims) for t in proto.graph.initializer if "." in t.name}
        own = {key: list(tensor.shape) for key, tensor in plain.state_dict().items()}
        assert weights.items() <= own.items() and [o.name for o in proto.graph.output] == ["logits"]
        sizes.append(done.output_bytes)
    whole = decode_file(path, tmp_path / "whole.onnx")
    assert whole.output_bytes == sizes[-1]
    with pytest.raises(ConfigError, match=", ".join(model.submodel_names)):
        decode_file(path, tmp_path / "none.onnx", part=Part(submodel="level4"))
    first = model.submodel_names[0]
    assert max_abs_error(model.submodel(first), unpack(path, to="onnx", part=Part(submodel=first)), x) <= 1e-4
    with pytest.raises(ConfigError, match="to='onnx'"):
        unpack(path, to="numpy", part=Part(submodel=first))


def test_the_bytes_that_a_sub_model_asks_for_are_enough(flexible: tuple[Path, nn.Module]) -> None:
    """With all other sections overwritten it decodes to the same network."""
    path, model = flexible
    assert isinstance(model, FlexibleModel)
    data = bytearray(path.read_bytes())
    with open_file(path) as container:
        point = operating_points(container)[0]
        whole = onnx_model(container, submodel=point.name)
        used = {t.name for t in whole.graph.initializer} & set(container.names)
        needed = {container.info(name).same_as or name for name in used}
        spared = 0
        for section in container.sections:
            if section.tensors and not needed & set(section.tensors):
                data[section.offset : section.offset + section.bytes] = bytes(section.bytes)
                spared += section.bytes
    assert spared > 0 and point.bytes == len(data) - spared
    with open_file(bytes(data)) as container:
        assert onnx_model(container, submodel=point.name) == whole


def test_widths_go_through_the_whole_pipeline(tmp_path: Path) -> None:
    """Straight-through sharing of all widths, each other's teachers; every accuracy is that of its ONNX file."""
    torch.manual_seed(0)
    units = [
        SlimmableUnit(SlimmableConv2d((3, 3), (8, 16), 3, 2)),
        SlimmableUnit(SlimmableConv2d((8, 16), (8, 16), 3, 1)),
    ]
    model = SlimmableNetwork((0.5, 1.0), units, 2)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 160)
    x = np.clip(rng.normal(100 + 40 * y[:, None, None, None], 20, (160, 8, 8, 3)), 0, 255).astype(np.uint8)
    data = {"x_train": x[:120], "y_train": y[:120], "x_test": x[120:], "y_test": y[120:]}
    config = CompressConfig(
        reg=MethodChoice("min"),
        k=4,
        distill=MethodChoice("ta-m"),
        epochs=3,
        tune_epochs=1,
        batch_size=20,
        precision="fp32",
    )
    result = compress(model, data, config, output=tmp_path / "m.qac")
    assert [point.name for point in result.operating_points] == ["width0.5", "width1.0"]
    assert result.max_abs_error is not None and result.max_abs_error <= 1e-4
    assert (
        result.settings["distill"] == "ta-m:temperature=1,weight=0.8"
        and result.operating_points[1].accuracy == result.accuracy.decoded
    )
    test = (x[120:] / np.float32(255)).transpose(0, 3, 1, 2).astype(np.float32)
    with open_file(tmp_path / "m.qac") as container:
        for point in result.operating_points:
            decoded = onnx_model(container, submodel=point.name)
            assert onnx_accuracy(decoded, test, y[120:]) == point.accuracy


def test_one_network_has_no_operating_points(tmp_path: Path) -> None:
    save_file(tmp_path / "one.qac", {"w": np.zeros((2, 2), np.float32)}, meta={})
    with open_file(tmp_path / "one.qac") as container:
        assert operating_points(container) == ()
