import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from qacomp.checkpoints import load_into, read_checkpoint
from qacomp.errors import ConfigError, UnknownArchitectureError
from qacomp.evaluation.macs import count_parameters
from qacomp.models import create_model, list_models, model_info, register_model

PARAMETERS = {
    "alexnet": 21_589_898,
    "alexnet224": 57_044_810,
    "lenet300": 266_610,
    "lenet5": 431_080,
    "msdnet": 2_986_690,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet18": 11_173_962,
    "resnet34": 21_282_122,
    "resnet50": 23_520_842,
    "resnet101": 42_512_970,
    "simplenet": 62_006,
    "slimmable_mobilenet": 3_250_058,
    "squeezenet": 727_626,
    "svhnnet": 584_746,
    "vgg11": 9_225_610,
    "vgg16": 33_638_218,
}


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_parameter_counts_are_the_published_ones(name: str, count: int) -> None:
    with torch.device("meta"):
        model = create_model(name)
    assert count_parameters(model) == count
    assert f"{count:,} parameters" in model_info(name).description or name == "slimmable_mobilenet"


def test_lenet5_has_caffes_430500_weights_and_one_relu() -> None:
    model = create_model("lenet5")
    state = model.state_dict()
    assert [name for name in state if name.endswith("weight")] == [
        f"{layer}.weight" for layer in ("conv1", "conv2", "fc1", "fc2")
    ]
    assert sum(tensor.numel() for name, tensor in state.items() if name.endswith("weight")) == 430_500
    assert [type(layer).__name__ for layer in model.children()].count("ReLU") == 1


def test_models_are_listed_and_unknown_names_get_a_hint() -> None:
    assert list_models() == list(PARAMETERS)
    with pytest.raises(UnknownArchitectureError, match=r"did you mean resnet20\?.*lenet300, lenet5, .*resnet20"):
        create_model("resnet-20")
    with pytest.raises(UnknownArchitectureError, match="known are alexnet, alexnet224, lenet300"):
        model_info("mixer")


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="lenet5"):

        @register_model(input_shape=(1, 2, 2), mean=(0.0,), std=(1.0,))
        def lenet5(num_classes: int) -> torch.nn.Module:
            return torch.nn.Identity()


def test_one_class_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 classes"):
        create_model("lenet5", 1)


def test_option_a_shortcut_is_strided_and_zero_padded() -> None:
    model = create_model("resnet20")
    shortcut = model.get_submodule("layer2.0.shortcut")
    x = torch.randn(2, 16, 8, 8)
    out = shortcut(x)
    assert out.shape == (2, 32, 4, 4)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any() and not out[:, 24:].any()


@pytest.mark.parametrize(
    ("file", "known"), [("resnet20_cifar10j.pth", 0.8781), ("akamaster_resnet20-12fca82f.th", 0.8103)]
)
def test_published_resnet20_files_reach_their_accuracy(shared_dir: Path, file: str, known: float) -> None:
    stored = np.load(shared_dir / "data" / "cifar10_jpeg_test.npz")
    images, labels = _decode(stored, 1000), torch.from_numpy(stored["y"][:1000].astype(np.int64))
    model = create_model("resnet20").eval()
    load_into(model, read_checkpoint(shared_dir / "ckpt" / file))
    inputs = torch.from_numpy(model_info("resnet20").preprocessing.apply(images))
    with torch.inference_mode():
        predicted = torch.cat([model(batch).argmax(1) for batch in torch.split(inputs, 250)])
    accuracy = float((predicted == labels).float().mean())
    assert abs(accuracy - known) < 0.03  # three standard deviations of a thousand images


def _decode(stored: "np.lib.npyio.NpzFile", count: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """(count, 32, 32, 3): the archive keeps one JPEG header for all images."""
    header, scan, offset = stored["header"].tobytes(), stored["scan"].tobytes(), stored["offset"]
    ends = itertools.pairwise(offset[: count + 1])
    return np.stack([np.asarray(Image.open(io.BytesIO(header + scan[a:b] + b"\xff\xd9"))) for a, b in ends])


@pytest.mark.parametrize("name", ["alexnet", "squeezenet", "svhnnet", "vgg11", "vgg16"])
def test_without_batch_norm_the_initial_features_keep_the_inputs_scale(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name).train()
    channels, *size = model_info(name).input_shape
    coarse = torch.randn(8, channels, 8, 8) * 0.25 / torch.tensor(model_info(name).preprocessing.std).view(-1, 1, 1)
    x = torch.nn.functional.interpolate(coarse, size, mode="bilinear")  # smooth and as varied as photographs
    with torch.no_grad():
        ratio = model.get_submodule("features")(x).square().mean().sqrt() / x.square().mean().sqrt()
        logits = model(x)
    assert 0.3 < float(ratio) < 3
    assert float(torch.nn.functional.cross_entropy(logits, torch.arange(8))) < 4
