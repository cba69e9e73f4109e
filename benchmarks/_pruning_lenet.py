"""Prune, share and code LeNet-5 on MNIST with one command; the test split is read once, after the last epoch."""

import tomllib
from pathlib import Path
from typing import Any

from _pruning_networks import CASES, WORK, checkpoint_of, data_spec
from result import Row

from qacomp.api import compress
from qacomp.checkpoints import read_checkpoint
from qacomp.datasets import load_dataset
from qacomp.exporting.decode import decode_file
from qacomp.exporting.decoded_measuring import measure_decoded
from qacomp.formats import open_file
from qacomp.options.config import CompressConfig
from qacomp.options.older import translated

RECIPE: dict[str, Any] = {
    "prune": "magnitude:epochs=6,rate=0.98,scope=global",
    "tune_epochs": 3,
    "k": 6,
}


def command(settings: dict[str, Any]) -> str:
    """The command line that these settings are."""
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in settings.items())
    return f"qacomp compress lenet5.pt {flags}"


def rows(seeds: int) -> list[Row]:
    """One row a seed: bytes of the whole file, and the error before and after in percent."""
    WORK.mkdir(parents=True, exist_ok=True)
    case = next(case for case in CASES["small"] if case.arch == "lenet5")
    checkpoint, data = checkpoint_of(case), data_spec(case.data)
    return [_run(f"lenet5_2pct_{seed}", RECIPE | {"seed": seed}, checkpoint, data) for seed in range(seeds)]


def _run(name: str, settings: dict[str, Any], checkpoint: Path, data: str) -> Row:
    container = WORK / f"{name}.qac"
    source = read_checkpoint(checkpoint)
    if not _made_with(container, settings, source.digest):
        config = CompressConfig(data=data).with_settings(settings, name)
        compress(source, load_dataset(data), config, container)
    decoded = measure_decoded(decode_file(container, container.with_suffix(".onnx")), data)
    with open_file(container) as opened:
        meta = opened.meta
        graph = sum(section.bytes for section in opened.sections if section.kind == "graph")
    assert decoded.accuracy is not None
    before = sum(4 * t.numel() for t in source.state.values())
    size = container.stat().st_size
    results = {
        "checkpoint_bytes": before,
        "container_bytes": size,
        "graph_bytes": graph,
        "onnx_bytes": decoded.output_bytes,
        "ratio": before / size,
        "ratio_without_graph": before / (size - graph),
        "error_before": 100 - meta["accuracy"]["original"],
        "error_after": 100 - decoded.accuracy,
        "pruning": meta["pruning"],
    }
    return Row(name.rpartition("_")[0], command(settings), settings, results)


def _made_with(container: Path, settings: dict[str, Any], digest: str) -> bool:
    if not container.exists():
        return False
    with open_file(container) as opened:
        told, source = tomllib.loads(opened.meta["settings"]), opened.meta["source"]["sha256"]
    made = translated(told, str(container))
    return source == digest and all(made.get(key) == value for key, value in settings.items())
