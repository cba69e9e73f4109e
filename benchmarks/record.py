"""The smallest file at a quality, with its peers in the same run: rows of networks and settings, a bar for each.

Whole files, the graph counted and shown apart; drops against the same network's own accuracy on the same test split,
which our compression never reads. Rows are kept as they are made, so a run that is broken off goes on.
RECORD_ROWS=name,name runs some of them, and the others stay in the document as they were. NNCodec runs where
QACOMP_NNCODEC_PYTHON names a Python that has it.
"""

import os
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _kept import kept
from _record_every import every_rows
from _record_nncodec import folded, nncodec_points, smallest, unfolded
from _record_onnx import speech_rows
from _record_text import text_rows
from _record_vision import vision_rows
from _trials import WORK, data_spec, trained_checkpoint
from numpy.typing import NDArray
from result import Headline, Results, Row, shared_folder, spread

from qacomp.api import compress
from qacomp.checkpoints import read_checkpoint
from qacomp.datasets import load_dataset
from qacomp.evaluation.accuracy import onnx_logits, topk_accuracy, torch_logits
from qacomp.exporting.onnx_model import onnx_model
from qacomp.formats import open_file
from qacomp.options.config import CompressConfig
from qacomp.sources.network import Network, build_network


@dataclass(frozen=True)
class Entry:
    """A row: a network, how it is compressed, and its bar. checkpoint: makes or finds the file for a seed.

    allowed: points of accuracy that may be lost; bar, aim: bytes. labels: the network is trained on the data's labels;
    graph_apart: the bytes of the graph don't count.
    """

    network: str
    setting: str
    checkpoint: Callable[[int], Path | None]
    data: str
    settings: Mapping[str, Any]
    allowed: float
    bar: int
    aim: int
    labels: bool = False
    graph_apart: bool = False

    @property
    def name(self) -> str:
        """The row's name, which its headlines carry too."""
        return f"record_{self.network}_{self.setting}"


def entries() -> list[Entry]:
    """All rows."""

    def shared(name: str, seed: int) -> Path | None:
        folder = shared_folder()
        return None if folder is None else folder / "ckpt" / name

    def trained(arch: str, epochs: int, seed: int) -> Path | None:
        spec = data_spec("mnist")
        return None if spec is None else trained_checkpoint(arch, spec, seed, epochs)

    adapted = partial(shared, "resnet20_cifar10j.pth")
    first = partial(shared, "akamaster_resnet20-12fca82f.th")
    rate = {"sharing": "rate", "arch": "resnet20"}
    given = rate | {"calibration": data_spec("cifar10j")}
    made = rate | {"epochs": 60, "batch_size": 64}  # trained on images that the network makes for itself
    labels = {"sharing": "rate", "distill": "kd", "epochs": 15, "tune_epochs": 1}
    long = labels | {"epochs": 14, "arch": "resnet20"}  # about half an hour on two idle cores
    # better after three epochs, on 5,000 images held out of the training set
    softer = long | {"distill": "kd:weight=0.7,temperature=4"}
    c10 = "cifar10j"
    return [
        Entry("resnet20", "no_data", adapted, c10, rate | {"target_size": "78000"}, 0.5, 78_000, 68_000),
        Entry("resnet20", "no_data_small", adapted, c10, rate | {"target_size": "66000"}, 1.0, 66_000, 56_000),
        Entry("resnet20", "calibrated", adapted, c10, given | {"target_size": "76000"}, 0.5, 76_000, 66_000),
        Entry("resnet20", "calibrated_small", adapted, c10, given | {"target_size": "62000"}, 1.0, 62_000, 55_000),
        Entry("resnet20", "synthetic", adapted, c10, made | {"target_size": "66000"}, 0.5, 66_000, 58_000),
        Entry("resnet20_first", "no_data", first, c10, rate | {"target_size": "80000"}, 0.5, 80_000, 80_000),
        Entry("resnet20", "finetuned", adapted, c10, long | {"target_size": "46000"}, 0.5, 46_000, 40_000, labels=True),
        Entry(
            *("resnet20", "finetuned_small", adapted, c10, softer | {"target_size": "40000"}),
            *(1.0, 40_000, 34_000),
            labels=True,
        ),
        Entry(
            *("resnet20", "finetuned_no_loss", adapted, c10, long | {"target_size": "54000"}),
            *(0.0, 54_000, 48_000),
            labels=True,
        ),
        Entry(
            *("lenet5", "finetuned", partial(trained, "lenet5", 20), "mnist"),
            *(labels | {"epochs": 40, "target_size": "3130"}, 0.3, 2_826, 1_553),
            labels=True,
            graph_apart=True,
        ),
        Entry(
            *("lenet300", "finetuned", partial(trained, "lenet300", 20), "mnist"),
            *(labels | {"target_size": "8530"}, 0.4, 8_531, 5_332),
            labels=True,
        ),
    ]


def wanted_rows() -> list[str]:
    """The rows that RECORD_ROWS names; none for all."""
    return [name for name in os.environ.get("RECORD_ROWS", "").split(",") if name]


def some_rows() -> bool:
    """Return whether this run makes only some of the rows."""
    return bool(wanted_rows())


def run(size: str, seeds: int) -> Results:
    """All rows, or those that RECORD_ROWS names."""
    if shared_folder() is None:
        return [], {}
    rows: list[Row] = []
    headlines: dict[str, Headline] = {}
    makers = {entry.name.removeprefix("record_"): partial(_entry, entry, seeds) for entry in entries()}
    makers = makers | speech_rows() | text_rows() | vision_rows() | every_rows()
    unknown = [name for name in wanted_rows() if name not in makers]
    if unknown:
        raise SystemExit(f"RECORD_ROWS: there is no row {unknown[0]}; rows: {', '.join(makers)}")
    for name in wanted_rows() or makers:
        made, found = kept(WORK / "record", f"record_{name}-{seeds}", makers[name])
        rows += made
        headlines |= found
        print(f"  record_{name}: {made[0].results}", flush=True)
    return rows, headlines


def _entry(entry: Entry, seeds: int) -> Results:
    """One row, over the seeds."""
    spec = data_spec(entry.data)
    assert spec is not None
    found = [_compressed(entry, spec, seed) for seed in range(seeds)]
    sizes, drops = [f["bytes"] for f in found], [f["drop"] for f in found]
    counted = [f["bytes"] - (f["graph_bytes"] if entry.graph_apart else 0) for f in found]
    peer = found[0]["nncodec"]
    best = smallest(peer, found[0]["original"] - entry.allowed)
    results = {
        "bytes": sizes,
        "graph_bytes": [f["graph_bytes"] for f in found],
        "drop": drops,
        "original": [f["original"] for f in found],
        "seconds": [f["seconds"] for f in found],
        "nncodec": peer,
        "nncodec_bytes": best,
    }
    beside = "NNCodec wasn't run" if peer is None else f"NNCodec at the same drop {best or 0:,} bytes"
    note = f"{len(found)} seeds: bytes {sizes}, drops {[round(d, 2) for d in drops]}; {beside}; aim {entry.aim:,}"
    settings = {k: v for k, v in entry.settings.items() if k != "calibration"} | {"data": entry.data}
    return [Row(entry.name, f"{entry.network}, {entry.setting}", settings, results)], {
        f"{entry.name}_bytes": Headline(max(counted), "bytes", f"<= {entry.bar:,}", note),
        f"{entry.name}_drop": Headline(statistics.mean(drops), "pt", f"<= {entry.allowed}", note, spread(drops)),
    }


def _compressed(entry: Entry, spec: str, seed: int) -> dict[str, Any]:
    """Compress with a seed. Our one file is measured on the test split, and all of NNCodec's: its best one counts."""
    path = entry.checkpoint(seed)
    assert path is not None
    checkpoint = read_checkpoint(path)
    network = build_network(checkpoint, CompressConfig(arch=entry.settings.get("arch")))
    assert network is not None
    test = load_dataset(spec).test
    x = network.preprocessing.apply(test.x)
    original = topk_accuracy(torch_logits(network.model, x), test.y, 1)
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "model.qac"
        given = spec if entry.labels else None
        done = compress(path, given, output=output, **{**entry.settings, "seed": seed})
        with open_file(output) as container:
            decoded = onnx_model(container).SerializeToString()
        accuracy = topk_accuracy(onnx_logits(decoded, x), test.y, 1)
    peer = None if seed else nncodec_points(*_for_peer(network, x, test.y))
    return {
        "bytes": done.container_bytes,
        "graph_bytes": done.graph_bytes,
        "original": original,
        "drop": original - accuracy,
        "seconds": round(sum(done.seconds.values())),
        "nncodec": peer,
    }


def _for_peer(
    network: Network, x: NDArray[Any], y: NDArray[Any]
) -> tuple[dict[str, NDArray[np.float32]], Callable[[Mapping[str, NDArray[Any]]], float]]:
    """The network's float tensors, batch norms folded, and a function that measures it with others."""
    model = network.model
    state = {name: value.clone() for name, value in model.state_dict().items()}

    def score(decoded: Mapping[str, NDArray[Any]]) -> float:
        model.load_state_dict(unfolded(model, decoded))
        accuracy = topk_accuracy(torch_logits(model, x), y, 1)
        model.load_state_dict(state)
        return accuracy

    return folded(model), score
