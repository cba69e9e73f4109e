"""Deltas of ResNet-20: after one more epoch of tuning, and of a full fine-tuning that stays near the old file."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import networks
from _trials import data_spec, some_of
from result import Headline, Results, Row, shared_folder

import qacomp
from qacomp.datasets import load_dataset

_TRAIN, _VALIDATION, _TEST = 1000, 200, 500  # images of size small; other sizes take all of them
_BARS = {"delta_tuned": "<= 0.10", "delta_base": "<= 0.35"}
_K = 16
_ARCH = "resnet20"


def deltas(size: str) -> Results:
    """Sizes of the deltas over those of the new files, and what staying near the base costs in accuracy."""
    shared, spec = shared_folder(), data_spec("cifar10j")
    if shared is None or spec is None:
        return [], {name: Headline(None, "", bar, "skipped: no shared checkpoints") for name, bar in _BARS.items()}
    data = load_dataset(spec)
    if size == "small":
        data = some_of(data, _TRAIN, _VALIDATION)
        data = replace(data, test=data.test.take(list(range(_TEST))))
    tuned, original = (shared / "ckpt" / networks.CHECKPOINTS[n] for n in ("resnet20_cifar10j", "akamaster_resnet20"))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)

        def made(name: str, model: Path, **settings: Any) -> dict[str, Any]:
            """The file of a checkpoint at K = 16, and its accuracy."""
            done = qacomp.compress(
                model, data, arch=_ARCH, k=_K, epochs=0, output=place / f"{name}.qac", progress=False, **settings
            )
            return {"bytes": (place / f"{name}.qac").stat().st_size, "top1": done.to_json()["accuracy"]}

        def share(old: str, new: str) -> dict[str, Any]:
            """The delta between two files, which is applied to check it."""
            found = qacomp.delta(place / f"{old}.qac", place / f"{new}.qac", place / "update.qacd")
            qacomp.apply(place / f"{old}.qac", place / "update.qacd", place / "applied.qac")
            assert (place / "applied.qac").read_bytes() == (place / f"{new}.qac").read_bytes()
            return found.to_json() | {"output": f"{old} -> {new}"}

        files = {
            "one_epoch": made("one_epoch", tuned, tune_epochs=1),
            "two_epochs": made("two_epochs", tuned, tune_epochs=2),
            "original": made("original", original, tune_epochs=0),
            "near": made("near", tuned, tune_epochs=1, base=place / "original.qac"),
        }
        found = {
            "delta_tuned": share("one_epoch", "two_epochs"),
            "delta_base": share("original", "near"),
            "without_base": share("original", "one_epoch"),
        }
    images = f"{len(data.train):,} images" if size == "small" else "all images"
    settings = {"k": _K, "images": len(data.train), "test_images": len(data.test)}
    tops = {name: file["top1"].get("tuned") for name, file in files.items()}
    notes = {
        "delta_tuned": f"ResNet-20, K = {_K}: tuned one epoch and two, {images} of CIFAR-10J; "
        f"{found['delta_tuned']['bytes']:,} of {found['delta_tuned']['new_bytes']:,} bytes",
        "delta_base": f"ResNet-20, K = {_K}: trained on CIFAR-10, and adapted to CIFAR-10J by a full fine-tuning; "
        f"without --base {found['without_base']['share']:.3f}; top-1 of {len(data.test):,} images {tops['near']} % "
        f"with --base, {tops['one_epoch']} % without",
    }
    headlines = {name: Headline(found[name]["share"], "", bar, notes[name]) for name, bar in _BARS.items()}
    return [Row("deltas", "deltas of ResNet-20", settings, {"files": files, "deltas": found})], headlines
