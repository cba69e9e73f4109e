"""Sharing without data, by rounding: each weight to its nearest value, or so that errors cancel within a channel.

Two ResNet-20s as they were trained, shared by k-means alone, and their accuracy on the whole test split of CIFAR-10J:
nothing is tuned, and for one of them also after an epoch of tuning the shared values. Without the shared folder there
are no rows.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from _trials import data_spec, some_of
from result import Headline, Row, shared_folder

from qacomp.api import compress
from qacomp.checkpoints import Checkpoint, read_checkpoint
from qacomp.datasets import Dataset, Split, load_dataset
from qacomp.evaluation.accuracy import onnx_logits, topk_accuracy, torch_logits
from qacomp.exporting.onnx_model import onnx_model
from qacomp.formats import open_file
from qacomp.options.config import CompressConfig
from qacomp.sources.network import build_network

NETWORKS = {"resnet20_c10j": "resnet20_cifar10j.pth", "resnet20_cifar10": "akamaster_resnet20-12fca82f.th"}
KS = (4, 6, 8, 12, 16, 32, 256)
TUNED_KS, IMAGES = (4, 8), 10_000
ROUNDINGS = ("nearest", "balanced")


def run(size: str, seeds: int) -> tuple[list[Row], dict[str, Headline]]:
    """All networks and K; `size` and `seeds` change nothing: nothing is drawn."""
    folder, spec = shared_folder(), data_spec("cifar10j")
    if folder is None or spec is None:
        return [], {}
    test = load_dataset(spec).test
    rows = [_row(name, folder / "ckpt" / file, test) for name, file in NETWORKS.items()]
    first = next(iter(NETWORKS))
    tuned = _tuned(first, folder / "ckpt" / NETWORKS[first], some_of(load_dataset(spec), IMAGES, 1000))
    after = [b - a for a, b in zip(tuned.results["nearest"], tuned.results["balanced"], strict=True)]
    gains = {row.name: row.results["balanced"][KS.index(8)] - row.results["nearest"][KS.index(8)] for row in rows}
    worst = min(b - a for row in rows for a, b in zip(row.results["nearest"], row.results["balanced"], strict=True))
    sizes = [b / a for row in rows for a, b in zip(*(row.results[f"{r}_bytes"] for r in ROUNDINGS), strict=True)]
    each = ", ".join(f"{name} {gain:+.1f}" for name, gain in gains.items())
    note = f"top-1 after k-means alone, K = 8, balanced less nearest: {each}; the least gain of any K {worst:+.2f}"
    tuning = f"{first}, top-1 after an epoch of tuning on {IMAGES:,} images, K = {TUNED_KS[0]} and {TUNED_KS[1]}: "
    return [*rows, tuned], {
        "balanced_gain_tuned": Headline(
            min(after), "pt", "> 0", tuning + ", ".join(f"{gain:+.2f}" for gain in after) + "; one seed"
        ),
        "balanced_gain_k8": Headline(min(gains.values()), "pt", "> 0", note),
        "balanced_size_ratio": Headline(max(sizes), "x", "reported", "whole files, balanced over nearest; the worst K"),
    }


def _row(name: str, path: Path, test: Split) -> Row:
    checkpoint = read_checkpoint(path)
    network = build_network(checkpoint, CompressConfig(arch="resnet20"))
    assert network is not None
    x = network.preprocessing.apply(test.x)  # (N, 3, 32, 32)
    results: dict[str, Any] = {"k": list(KS), "original": topk_accuracy(torch_logits(network.model, x), test.y, 1)}
    for rounding in ROUNDINGS:
        measured = [_shared(checkpoint, k, rounding, x, test.y) for k in KS]
        results[rounding], results[f"{rounding}_bytes"] = (list(part) for part in zip(*measured, strict=True))
    return Row(name, path.name, {"data": "cifar10j", "arch": "resnet20", "min_agreement": 0.0}, results)


def _tuned(name: str, path: Path, dataset: Dataset) -> Row:
    """The same after cumulative tuning: (top-1 of the decoded model, bytes) by rounding and K."""
    results: dict[str, Any] = {"k": list(TUNED_KS)}
    for rounding in ROUNDINGS:
        found = []
        for k in TUNED_KS:
            config = CompressConfig(arch="resnet20", k=k, rounding=rounding, tune_epochs=1)
            with tempfile.TemporaryDirectory() as scratch:
                done = compress(read_checkpoint(path), dataset, config, Path(scratch) / "model.qac")
            found.append((done.accuracy.decoded, done.container_bytes, done.accuracy.original))
        results[rounding], results[f"{rounding}_bytes"], originals = (list(part) for part in zip(*found, strict=True))
        results["original"] = originals[0]
    settings = {"data": "cifar10j", "arch": "resnet20", "images": IMAGES, "tune_epochs": 1}
    return Row(f"{name}_tuned", f"{path.name}, tuned", settings, results)


def _shared(checkpoint: Checkpoint, k: int, rounding: str, x: Any, y: Any) -> tuple[float, int]:
    """Top-1 of the decoded ONNX model, and bytes of the container."""
    config = CompressConfig(arch="resnet20", k=k, rounding=rounding, min_agreement=0.0)
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "model.qac"
        compress(replace(checkpoint, data=None), None, config, output)
        with open_file(output) as container:
            decoded = onnx_model(container).SerializeToString()
        return topk_accuracy(onnx_logits(decoded, x), y, 1), output.stat().st_size
