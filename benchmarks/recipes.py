"""The best recipe on a real network: ResNet-20 on CIFAR-10J at K = 4, and smaller still with dearer bits.

Straight-through sharing, the original network as teacher, an entropy weight. Each run keeps its finished epochs in
benchmarks/work, so a suite that is broken off goes on there. Wants the real checkpoint and data (QACOMP_SHARED, or
../shared beside the checkout).
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from result import ROOT, Headline, Row

from qacomp.checkpoints import read_checkpoint
from qacomp.config import CompressConfig
from qacomp.datasets import load_dataset
from qacomp.decoding import decode
from qacomp.pipeline import compress
from qacomp.progress import SilentProgress

SHARED = Path(os.environ.get("QACOMP_SHARED", ROOT.parent / "shared"))
WORK = ROOT / "benchmarks" / "work"
COMMON = {"reg": "none", "sharing": "straight-through", "k": 4, "distill": "kd", "distill_weight": 0.9, "lr": 0.02}
RECIPES = {
    "resnet20_k4": (COMMON | {"epochs": 8, "tune_epochs": 2, "entropy": 0.05}, "<= 66,000", ">= 87.3"),
    "resnet20_small": (COMMON | {"epochs": 10, "tune_epochs": 2, "entropy": 0.3}, "<= 54,000", ">= 87.0"),
}


def run(size: str, seeds: int) -> tuple[list[Row], dict[str, Headline]]:
    """One seed a recipe; the test split is read once, after the last epoch."""
    WORK.mkdir(exist_ok=True)
    data = WORK / "c10j.npz"
    if not data.exists():
        subprocess.run([sys.executable, str(SHARED / "data" / "unpack_cifar10.py"), str(data)], check=True)
    rows, headlines = [], {}
    for name, (settings, bar_bytes, bar_accuracy) in RECIPES.items():
        row = _recipe(name, settings, data)
        rows.append(row)
        note = f"ResNet-20 on CIFAR-10J, {settings}; one seed, whole file with its graph"
        headlines[f"{name}_bytes"] = Headline(row.results["container_bytes"], "bytes", bar_bytes, note)
        headlines[f"{name}_accuracy"] = Headline(
            row.results["decoded"], "%", bar_accuracy, "top-1 of the decoded ONNX on the test split; original 87.81 %"
        )
    return rows, headlines


def _recipe(name: str, settings: dict[str, object], data: Path) -> Row:
    config = CompressConfig(arch="resnet20", data=f"npz:{data}").with_settings(settings, name)
    container = WORK / f"{name}.qac"
    start = time.perf_counter()
    checkpoint = read_checkpoint(SHARED / "ckpt" / "resnet20_cifar10j.pth")
    result = compress(checkpoint, config, load_dataset(config.data or ""), container, SilentProgress())
    decoded = decode(container, container.with_suffix(".onnx"))
    accuracy = result.accuracy
    results = {
        "checkpoint_bytes": result.checkpoint_bytes,
        "container_bytes": result.container_bytes,
        "graph_bytes": result.graph_bytes,
        "ratio": result.ratio,
        "original": accuracy.original,
        "shared": accuracy.shared,
        "tuned": accuracy.tuned,
        "decoded": decoded.accuracy,
        "validation": [record.validation_accuracy for record in result.history],
        "seconds": round(time.perf_counter() - start),
    }
    kept = {key: value for key, value in result.settings.items() if key != "data"}
    return Row(name, f"ResNet-20, CIFAR-10J, K = {config.k}, entropy weight {config.entropy}", kept, results)
