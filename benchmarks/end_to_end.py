"""The whole chain: checkpoint -> .qac -> ONNX, sizes and accuracy at each step.

LeNet-5 on scikit-learn's embedded digits runs anywhere; ResNet-20 on CIFAR-10J where the real checkpoint and data lie
beside the checkout (QACOMP_SHARED, or ../shared), and is left out otherwise.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from result import ROOT, Headline, Row

from qacomp.api import compress
from qacomp.checkpoints import read_checkpoint
from qacomp.datasets import load_dataset
from qacomp.exporting.decode import decode_file
from qacomp.exporting.decoded_measuring import measure_decoded
from qacomp.options.config import CompressConfig
from qacomp.options.from_scratch import scratch_config
from qacomp.progress import SilentProgress
from qacomp.stages.from_scratch import train_network

SHARED = Path(os.environ.get("QACOMP_SHARED", ROOT.parent / "shared"))


def run(size: str, seeds: int) -> tuple[list[Row], dict[str, Headline]]:
    """One seed: the command lines of README and of the ResNet-20 example, as they stand there."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        rows = [_digits(here)]
        if (SHARED / "ckpt").is_dir():
            rows.append(_resnet20(here))
    headlines = {}
    for row in rows:
        r, key = row.results, row.name
        headlines[f"{key}_bytes"] = Headline(
            r["container_bytes"], "bytes", r["bar_bytes"], "whole file, graph included"
        )
        headlines[f"{key}_accuracy"] = Headline(
            r["decoded"], "%", r["bar_accuracy"], "test accuracy of the decoded ONNX"
        )
    return rows, headlines


def _digits(here: Path) -> Row:
    checkpoint = here / "lenet5.pt"
    train_network(scratch_config({"arch": "lenet5", "data": "digits"}), checkpoint, SilentProgress())
    config = CompressConfig(reg="exp", k=8, data="digits")
    bars = {"bar_bytes": "<= checkpoint / 10", "bar_accuracy": ">= original - 1.0"}
    return _chain("lenet5_digits", "LeNet-5, scikit-learn's digits, --reg exp --k 8", checkpoint, config, bars)


def _resnet20(here: Path) -> Row:
    data = here / "c10j.npz"
    subprocess.run([sys.executable, str(SHARED / "data" / "unpack_cifar10.py"), str(data)], check=True)
    config = CompressConfig(arch="resnet20", data=f"npz:{data}", reg="exp", k=8)
    bars = {"bar_bytes": "<= 108,000", "bar_accuracy": ">= 86.8"}
    checkpoint = SHARED / "ckpt" / "resnet20_cifar10j.pth"
    text = "ResNet-20, CIFAR-10J, --arch resnet20 --reg exp --k 8"
    return _chain("resnet20_k8", text, checkpoint, config, bars, here)


def _chain(
    name: str, text: str, checkpoint: Path, config: CompressConfig, bars: dict[str, str], here: Path | None = None
) -> Row:
    """Compress and decode as the command line does."""
    container = (here or checkpoint.parent) / f"{name}.qac"
    dataset = load_dataset(config.data or "")
    result = compress(read_checkpoint(checkpoint), dataset, config, container)
    decoded = measure_decoded(decode_file(container, container.with_suffix(".onnx")), config.data)
    assert decoded.latency is not None
    accuracy = result.accuracy
    results = {
        "checkpoint_bytes": result.checkpoint_bytes,
        "container_bytes": result.container_bytes,
        "graph_bytes": result.graph_bytes,
        "onnx_bytes": decoded.output_bytes,
        "ratio": result.fp32_ratio,
        "bits_per_weight": result.bits_per_weight,
        "original": accuracy.original,
        "shared": accuracy.shared,
        "tuned": accuracy.tuned,
        "decoded": decoded.accuracy,
        "latency_ms": decoded.latency.p50_ms,
        "max_abs_error": result.max_abs_error,
        "seconds": result.seconds,
    }
    settings = {key: value for key, value in result.settings.items() if key != "data"}
    return Row(name, text, settings, results | bars)
