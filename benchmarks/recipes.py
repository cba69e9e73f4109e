"""The best recipes on a real network: ResNet-20 on CIFAR-10J at K = 4 and K = 3.

Straight-through sharing, the original network as teacher, an entropy weight. Each run keeps its finished epochs in
benchmarks/work, so a suite that is broken off goes on there; a row of the last results with the same settings is kept,
with the commit that measured it (delete benchmarks/results/recipes.json to measure all anew). Wants the real checkpoint
and data (QACOMP_SHARED, or ../shared beside the checkout).
"""

import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from result import RESULTS, ROOT, Headline, Row, commit

from qacomp.api import compress
from qacomp.checkpoints import read_checkpoint
from qacomp.datasets import load_dataset
from qacomp.exporting.decode import decode_file
from qacomp.exporting.decoded_measuring import measure_decoded
from qacomp.formats import open_file
from qacomp.options.config import CompressConfig
from qacomp.options.older import translated

SHARED = Path(os.environ.get("QACOMP_SHARED", ROOT.parent / "shared"))
WORK = ROOT / "benchmarks" / "work"
FP32_BYTES = 1_084_392  # the checkpoint's state in fp32, batch norm included
COMMON = {
    "reg": "none",
    "sharing": "straight-through:entropy=0.05",
    "k": 4,
    "epochs": 8,
    "tune_epochs": 2,
    "distill": "kd:temperature=2,weight=0.9",
    "lr": 0.02,
}
RECIPES = {
    "resnet20_k4": (COMMON, "<= 66,000", ">= 87.3"),
    "resnet20_small": (COMMON | {"k": 3}, "<= 54,000", ">= 87.01"),
}


def run(size: str, seeds: int) -> tuple[list[Row], dict[str, Headline]]:
    """One seed a recipe; the test split is read once, after the last epoch."""
    WORK.mkdir(exist_ok=True)
    data = WORK / "c10j.npz"
    if not data.exists():
        subprocess.run([sys.executable, str(SHARED / "data" / "unpack_cifar10.py"), str(data)], check=True)
    rows, headlines = [], {}
    for name, (settings, bar_bytes, bar_accuracy) in RECIPES.items():
        row = _measured_before(name, settings) or _recipe(name, settings, data)
        rows.append(row)
        note = f"ResNet-20 on CIFAR-10J, {settings}; one seed, whole file with its graph"
        headlines[f"{name}_bytes"] = Headline(row.results["container_bytes"], "bytes", bar_bytes, note)
        headlines[f"{name}_accuracy"] = Headline(
            row.results["decoded"], "%", bar_accuracy, "top-1 of the decoded ONNX on the test split; original 87.81 %"
        )
    return rows, headlines


def _measured_before(name: str, settings: dict[str, object]) -> Row | None:
    """The row of the last results that these settings made."""
    path = RESULTS / "recipes.json"
    last = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    for row in last["rows"]:
        made = translated(row["settings"], str(path))
        if row["name"] == name and all(made.get(key) == value for key, value in settings.items()):
            row["results"].setdefault("commit", last["commit"])
            return Row(**row)
    return None


def _recipe(name: str, settings: dict[str, object], data: Path) -> Row:
    """Train, share, write and measure; a container that these settings made already is only measured again."""
    config = CompressConfig(arch="resnet20", data=f"npz:{data}").with_settings(settings, name)
    container = WORK / f"{name}.qac"
    seconds = None
    if not _made_with(container, settings):
        start = time.perf_counter()
        checkpoint = read_checkpoint(SHARED / "ckpt" / "resnet20_cifar10j.pth")
        compress(checkpoint, load_dataset(config.data or ""), config, container)
        seconds = round(time.perf_counter() - start)
    decoded = measure_decoded(decode_file(container, container.with_suffix(".onnx")), config.data)
    with open_file(container) as opened:
        meta = opened.meta
        graph = sum(section.bytes for section in opened.sections if section.kind == "graph")
    size = container.stat().st_size
    results = {
        "checkpoint_bytes": FP32_BYTES,
        "container_bytes": size,
        "graph_bytes": graph,
        "ratio": FP32_BYTES / size,
        **meta["accuracy"],
        "decoded": decoded.accuracy,
        "seconds": seconds,
        "commit": commit(),
    }
    made = {key: value for key, value in tomllib.loads(meta["settings"]).items() if key != "data"}
    description = f"ResNet-20, CIFAR-10J, K = {config.k}, entropy weight {config.sharing.given['entropy']}"
    return Row(name, description, made, results)


def _made_with(container: Path, settings: dict[str, object]) -> bool:
    if not container.exists():
        return False
    with open_file(container) as opened:
        made = translated(tomllib.loads(opened.meta["settings"]), str(container))
    return all(made.get(key) == value for key, value in settings.items())
