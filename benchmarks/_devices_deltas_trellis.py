"""Deltas of ResNet-20 after an epoch of training, where both versions are on uniform grids, or both on a trellis."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import networks
import numpy as np
import torch
from _trials import data_spec, some_of
from result import Headline, Results, Row, shared_folder

import qacomp
from qacomp.checkpoints import read_checkpoint
from qacomp.datasets import load_dataset
from qacomp.formats import open_file
from qacomp.options.config import CompressConfig
from qacomp.sources.network import build_network

_TRAINED, _CALIBRATED, _MEASURED = 5000, 1000, 2000  # images: of the epoch, of the calibration, of the distance
_SIZE, _ROOM = 75_000, 1.05  # bytes of the first version, and how much larger the second one may be
_RATE, _BATCH = 0.01, 128  # of the epoch: the learning rate with which fine-tuning begins
_BAR = "<= 0.10"
_ARCH = "resnet20"


def deltas_on_trellis(size: str) -> Results:
    """Sizes of the deltas over those of the new files, untuned, and how far outputs are from the new network's."""
    shared, spec = shared_folder(), data_spec("cifar10j")
    if shared is None or spec is None:
        return [], {"delta_trellis": Headline(None, "", _BAR, "skipped: no shared checkpoints")}
    read = read_checkpoint(shared / "ckpt" / networks.CHECKPOINTS["resnet20_cifar10j"])
    network = build_network(read, CompressConfig(arch=_ARCH))
    assert network is not None and network.preprocessing is not None
    model, everything = network.model, load_dataset(spec)
    images, labels = (
        torch.from_numpy(part) for part in (network.preprocessing.apply(everything.train.x), everything.train.y)
    )
    images = images.float()
    chosen = torch.from_numpy(np.random.default_rng(1).permutation(len(images))[: _TRAINED + _MEASURED])
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        torch.save(model.state_dict(), place / "old.pth")
        _train(model, images[chosen[:_TRAINED]], labels[chosen[:_TRAINED]])
        torch.save(model.state_dict(), place / "new.pth")
        data = some_of(everything, _CALIBRATED, 200)
        data = replace(data, test=data.test.take(list(range(500))))
        results = {way: _measured(place, model, data, images[chosen[_TRAINED:]], way) for way in ("uniform", "trellis")}
    uniform, trellis = results["uniform"], results["trellis"]
    note = (
        f"ResNet-20 by rate, untuned, trained one more epoch on {_TRAINED:,} images: {trellis['delta']:,} of "
        f"{trellis['bytes']:,} bytes where both versions are on a trellis, on uniform grids {uniform['share']:.3f}; "
        f"without --base {trellis['share_alone']:.2f} and {uniform['share_alone']:.2f}. At equal bytes outputs are "
        f"{trellis['kl_ratio']:.2f}x as far from the network's with --base as without, on uniform grids "
        f"{uniform['kl_ratio']:.2f}x"
    )
    settings = {"bytes": _SIZE, "images": _TRAINED, "learning_rate": _RATE}
    row = Row("deltas_trellis", "deltas of ResNet-20 on a trellis", settings, results)
    return [row], {"delta_trellis": Headline(trellis["share"], "", _BAR, note)}


def _train(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Train a network for one epoch, plainly."""
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=_RATE, momentum=0.9, weight_decay=1e-4)
    model.train()
    for batch in torch.randperm(len(images)).split(_BATCH):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()
    model.eval()


def _measured(place: Path, model: torch.nn.Module, data: Any, images: torch.Tensor, way: str) -> dict[str, Any]:
    """Compress both versions in one way, the second one near the first and alone, at equal bytes."""
    sharing = f"rate:tuned=false,trellis={'true' if way == 'trellis' else 'false'}"

    def made(name: str, source: str, most: int, **settings: Any) -> Path:
        path = place / f"{way}_{name}.qac"
        common: dict[str, Any] = {"arch": _ARCH, "epochs": 0, "sharing": sharing, "progress": False}
        qacomp.compress(place / f"{source}.pth", data, target_size=str(most), output=path, **common, **settings)
        return path

    old = made("old", "old", _SIZE)
    near = made("near", "new", int(_SIZE * _ROOM), base=old)
    alone = made("alone", "new", near.stat().st_size)
    found: dict[str, Any] = {"bytes": near.stat().st_size, "bytes_alone": alone.stat().st_size}
    for file, end in ((near, ""), (alone, "_alone")):
        delta = qacomp.delta(old, file, place / "update.qacd")
        qacomp.apply(old, place / "update.qacd", place / "applied.qac")
        assert (place / "applied.qac").read_bytes() == file.read_bytes()
        found |= {
            f"delta{end}": delta.bytes,
            f"share{end}": delta.to_json()["share"],
            f"kl{end}": _distance(model, file, images),
        }
    return found | {"kl_ratio": found["kl"] / found["kl_alone"]}


def _distance(model: torch.nn.Module, file: Path, images: torch.Tensor) -> float:
    """The mean KL divergence of the outputs of a file from the network's, in nats."""
    with open_file(file) as container:
        changed = {name: torch.from_numpy(container.tensor(name)) for name in container.names}

    def outputs(values: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch.no_grad():
            parts = [torch.func.functional_call(model, values, (part,)) for part in images.split(500)]
        return torch.cat(parts).log_softmax(1)

    wanted = outputs({})
    return float((wanted.exp() * (wanted - outputs(changed))).sum(1).mean())
