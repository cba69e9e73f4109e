"""A network of a few weights and 40 images, and a digest of all that settings make of them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from qacomp import pipeline
from qacomp.batches.images import ImageExamples
from qacomp.checkpoints import Checkpoint
from qacomp.datasets import Dataset, dataset_from_arrays
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.options.config import CompressConfig
from qacomp.progress import SilentProgress
from qacomp.sources.network import Network
from qacomp.sources.torch_source import TorchSource
from qacomp.stages.job import Job
from qacomp.stages.run import Run

INPUT = (1, 6, 6)


class Written(Exception):
    """What would be written: raised in its place, so that nothing is exported and run."""

    def __init__(self, job: Job, tuned: nn.Module) -> None:
        self.job, self.tuned = job, tuned


def network() -> tuple[Checkpoint, Network]:
    torch.manual_seed(0)
    head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()
    model = nn.Sequential(*head, nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    checkpoint = Checkpoint(Path("tiny"), "state_dict", state, None, None, None, None, "", 0, ())
    return checkpoint, Network(model, "tiny", 3, INPUT, Preprocessing(INPUT[1:], 1, (0.0,), (1.0,)))


def images() -> Dataset:
    rng = np.random.default_rng(0)
    y = np.arange(40) % 3
    x = (rng.integers(0, 80, (40, 6, 6)) + 80 * y[:, None, None]).astype(np.uint8)
    return dataset_from_arrays({"x_train": x, "y_train": y, "x_test": x[:4], "y_test": y[:4]})


def outcome(settings: Mapping[str, Any], dataset: Dataset | None) -> tuple[str, Job]:
    """A digest of the network that would be written, of what it puts out and of its training."""
    checkpoint, own = network()
    config = CompressConfig(**settings)
    examples = None if dataset is None or own.preprocessing is None else ImageExamples(dataset, own.preprocessing)
    with pytest.raises(Written) as caught:
        pipeline.compress(TorchSource(checkpoint, own), config, examples, Run(SilentProgress(), Path("never.qac")))
    job, tuned = caught.value.job, caught.value.tuned
    digest = hashlib.sha256()
    for name, value in tuned.state_dict().items():
        digest.update(name.encode() + value.detach().numpy().tobytes())
    history = [{k: v for k, v in asdict(record).items() if k != "seconds"} for record in job.training.history]
    pruning = None if job.training.pruning is None else asdict(job.training.pruning)
    names = [[layer.name for layer in job.selection.layers], job.selection.skipped]
    digest.update(json.dumps([history, pruning, names]).encode())
    with torch.no_grad():
        x = np.random.default_rng(0).normal(size=(4, *INPUT)).astype(np.float32)
        digest.update(tuned(torch.from_numpy(x)).numpy().tobytes())
    return digest.hexdigest(), job
