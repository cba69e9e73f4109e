"""The precision ladder: ResNet-20 at 2, 4 and 16 shared values and at full precision, and one container of levels."""

import copy
from pathlib import Path
from typing import Any

from _ipkd_tables import STRATEGIES
from _trials import WORK, Trials, data_spec, some_of
from result import Row, shared_folder

from qacomp.api import compress
from qacomp.batches.images import ImageExamples
from qacomp.checkpoints import Checkpoint, read_checkpoint
from qacomp.datasets import Dataset, load_dataset
from qacomp.evaluation.submodels import submodel_accuracies
from qacomp.exporting.decode import decode_file
from qacomp.exporting.decoded_measuring import measure_decoded
from qacomp.exporting.operating_points import names_at, operating_points
from qacomp.exporting.part import Part
from qacomp.formats import open_file, save_file
from qacomp.options.config import CompressConfig
from qacomp.progress import SilentProgress
from qacomp.sources.network import build_network
from qacomp.sources.torch_weights import select_layers
from qacomp.stages.resolve import resolve
from qacomp.training.device import choose_device
from qacomp.training.fine_tune_ladder import fine_tune_ladder
from qacomp.training.setup import TrainingSetup

LEVELS, FILE_LEVELS = (2, 4, 16), (4, 16, 64)
IMAGES, EPOCHS = 10_000, 2
SETTINGS: dict[str, Any] = {"epochs": EPOCHS, "precision": "bf16"}  # the library's own otherwise, for all strategies
PAIR = ("none", "ta-m")  # what the headline compares comes first


def table(seeds: int) -> list[Row]:
    """Test accuracies of each level and of the full-precision network by training: one a seed."""
    trials = Trials(f"ipkd-ladder-{IMAGES}x{EPOCHS}")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in STRATEGIES}
    others = [name for name in STRATEGIES if name not in PAIR]
    for names in (PAIR, others):
        for seed in range(seeds):  # seed by seed, so that what is finished can be compared
            for name in names:
                found[name].append(trials.get(f"{name} seed {seed}", lambda n=name, s=seed: _trial(n, s)))
    rows = []
    for name, results in found.items():
        each = {part: [one[part] for one in results] for part in results[0]}
        each["mean"] = [sum(one.values()) / len(one) for one in results]
        text = f"ResNet-20, CIFAR-10J, levels 2, 4 and 16 and full precision, --distill {name}"
        rows.append(Row(f"ladder_{name}", text, {"images": IMAGES, "levels": list(LEVELS)} | SETTINGS, each))
    return rows


def _trial(strategy: str, seed: int) -> dict[str, float]:
    checkpoint, dataset = _subject()
    config = CompressConfig(arch="resnet20", levels=LEVELS, distill=strategy, tune_epochs=0, seed=seed, **SETTINGS)
    network, device = build_network(checkpoint, config), choose_device("auto")
    assert network is not None
    model = network.model.to(device)
    settings = resolve(config, network, dataset, device, lambda text: None)
    session = TrainingSetup(
        settings, ImageExamples(dataset, network.preprocessing), copy.deepcopy(model), device, SilentProgress()
    )
    ladder, _ = fine_tune_ladder(model, select_layers(model, "all", settings.k, {}), session)
    x = network.preprocessing.apply(dataset.test.x)  # (N, C, H, W)
    found = submodel_accuracies(ladder, x, dataset.test.y, device=device)
    return {name: round(value, 3) for name, value in found.items()}


def one_file() -> Row:
    """A container of levels 4, 16 and 64 against the same networks in files of their own, and cut behind level 4."""
    checkpoint, dataset = _subject()
    config = CompressConfig(
        arch="resnet20", data=data_spec("cifar10j"), levels=FILE_LEVELS, distill="ta-m", tune_epochs=1, **SETTINGS
    )
    path, error = WORK / f"ipkd-ladder-file-{IMAGES}x{EPOCHS}.qac", Trials("ipkd-ladder-file")
    made = error.get(path.stem, lambda: _made(checkpoint, config, dataset, path))
    with open_file(path) as container:
        points = {point.name: point for point in operating_points(container)}
        separate = []
        for level in range(container.levels):
            tensors: dict[str, Any] = {}
            for name, stored in names_at(container, level).items():
                dense = container.info(name).k is None
                tensors[name] = container.tensor(stored) if dense else container.shared(name, level=level)
            alone = path.with_suffix(f".{level}.qac")
            meta = {key: value for key, value in container.meta.items() if key not in ("levels", "submodels")}
            save_file(alone, tensors, graph=container.graph(), meta=meta, precision="fp16")
            separate.append(alone.stat().st_size)
    cut = path.with_suffix(".cut.qac")
    cut.write_bytes(path.read_bytes()[: points["level4"].bytes])
    decoded = measure_decoded(decode_file(cut, cut.with_suffix(".onnx"), part=Part(allow_truncated=True)))
    results = {
        "bytes": path.stat().st_size,
        "separate_bytes": separate,
        "prefix_bytes": points["level4"].bytes,
        "prefix_accuracy": decoded.accuracy,
        "max_abs_error": made["max_abs_error"],
        **{name: point.accuracy for name, point in points.items()},
    }
    settings = {"images": IMAGES, "tune_epochs": 1, "levels": list(FILE_LEVELS), "distill": "ta-m"} | SETTINGS
    return Row("ladder_file", "ResNet-20, CIFAR-10J, one progressive container", settings, results)


def _made(checkpoint: Checkpoint, config: CompressConfig, dataset: Dataset, path: Path) -> dict[str, Any]:
    result = compress(checkpoint, dataset, config, path)
    return {"max_abs_error": result.max_abs_error}


def _subject() -> tuple[Checkpoint, Dataset]:
    """The trained checkpoint, and part of its data with the whole test split."""
    shared, spec = shared_folder(), data_spec("cifar10j")
    assert shared is not None and spec is not None
    return read_checkpoint(shared / "ckpt" / "resnet20_cifar10j.pth"), some_of(load_dataset(spec), IMAGES, 1000)
