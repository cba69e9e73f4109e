"""Tune the small parameters of a network on grids, and keep what tuning changed, so that no scale is tuned twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from qacomp.batches.feed import Feed, moved
from qacomp.calibration.tuning import STEPS as TUNING_STEPS
from qacomp.calibration.tuning import tune_small
from qacomp.evaluation.on_batches import device_of
from qacomp.options.needs import sharing_way
from qacomp.options.sharing_ways.rate_aware import RateAwareWay
from qacomp.stages.job import Job
from qacomp.training.fine_tune import tune_shared
from qacomp.training.history import EpochRecord


@dataclass(frozen=True)
class Tuned:
    """What tuning changed: entries of the network's state by name, and a record for each epoch on labels."""

    values: Mapping[str, Tensor]
    records: Sequence[EpochRecord] = ()

    def put(self, model: nn.Module) -> None:
        """Change a network, which is shared in the same way and isn't tuned, into the tuned one, in place."""
        model.load_state_dict(dict(self.values), strict=False)


def tunes(job: Job) -> bool:
    """Return whether `tune` changes a network of this job."""
    return _on_labels(job) or _towards_outputs(job)


def tune(job: Job, model: nn.Module, inputs: Sequence[Feed]) -> Tuned:
    """Train shared values, norms and biases in place: on labels if there is data, else towards the original's outputs.

    inputs: unlabelled ones.
    """
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    records: Sequence[EpochRecord] = ()
    if _on_labels(job):
        assert job.session is not None
        with job.run.stage("tune"):
            records = tune_shared(model, replace(job.session, store=None))  # no resuming: several sizes may be tuned
    elif _towards_outputs(job):
        with job.run.stage("tune"), job.run.progress.task("tune on the same inputs", TUNING_STEPS) as task:
            feeds = [moved(feed, device_of(model)) for feed in inputs]
            tune_small(model, job.original, feeds, job.config.seed, task.advance, job.zeros.keep_zero)
    return Tuned(changed(before, model), records)


def changed(before: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the entries of a network's state that differ from those of `before`, bit for bit."""
    after = model.state_dict()
    return {name: value.detach().clone() for name, value in after.items() if not _equal(value, before[name])}


def _equal(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one, other) and torch.equal(torch.signbit(one), torch.signbit(other))


def _on_labels(job: Job) -> bool:
    return job.session is not None and bool(job.config.tune_epochs)


def _towards_outputs(job: Job) -> bool:
    way = sharing_way(job.config)
    return isinstance(way, RateAwareWay) and way.tuned
