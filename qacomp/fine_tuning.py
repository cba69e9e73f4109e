"""The two trainings of a compression: with the regularizer before sharing, and of the shared values after it."""

from dataclasses import dataclass

import torch
from torch import nn

from qacomp.config import CompressConfig
from qacomp.datasets import Dataset
from qacomp.layers import Selection
from qacomp.objective import Objective
from qacomp.preprocessing import Preprocessing
from qacomp.progress import Progress
from qacomp.regularizers import Regularizer, regularizer_class
from qacomp.resume import ResumeStore
from qacomp.training import EpochRecord, Stage, level_group, parameter_groups, train


@dataclass(frozen=True)
class Session:
    """What both trainings need beside the network: settings without None, data, teacher, and where progress goes."""

    config: CompressConfig
    dataset: Dataset
    preprocessing: Preprocessing
    original: nn.Module
    device: torch.device
    progress: Progress
    store: ResumeStore | None = None

    def stage(self, name: str, epochs: int, *, keep_best: bool) -> Stage:
        """A stage with this session's batch size, seed, augmentation, device and precision."""
        c = self.config
        augment = c.augment == "crop-flip"
        return Stage(name, epochs, c.batch_size, c.seed, augment, self.device, c.precision, keep_best)

    def objective(self, penalties: dict[str, Regularizer]) -> Objective:
        """Task loss, the teacher's where --distill asks for it, and the penalties."""
        c = self.config
        teacher = self.original if c.distill == "kd" else None
        strength = c.strength if penalties and c.strength is not None else 0.0
        return Objective(penalties, strength, c.warmup, teacher, c.distill_weight, c.temperature)


def fine_tune(
    model: nn.Module, selection: Selection, session: Session
) -> tuple[dict[str, Regularizer], list[EpochRecord]]:
    """Train all weights and the representatives, in place, on task loss + λ(t)·R (Malchiodi et al., eq. 2).

    Returns each selected layer's trained regularizer, by weight name, and the epochs' records. The last epoch stays:
    an earlier one, before λ has done its work, would have the better accuracy and the worse clusters.
    """
    c = session.config
    assert c.epochs is not None
    cls = regularizer_class(c.reg)
    penalties = {
        layer.name: cls.for_weights(model.get_parameter(layer.name), layer.k).to(session.device)
        for layer in selection.layers
    }
    groups = parameter_groups(model, c.lr, c.weight_decay)
    levels = level_group(penalties.values(), c.lr_levels)
    optimizer = torch.optim.SGD(groups + ([levels] if levels["params"] else []), lr=c.lr, momentum=c.momentum)
    records = train(
        model,
        session.dataset,
        session.preprocessing,
        session.stage("fine-tune", c.epochs, keep_best=False),
        session.objective(penalties),
        optimizer,
        progress=session.progress,
        store=session.store,
    )
    return penalties, records


def tune_shared(model: nn.Module, session: Session) -> list[EpochRecord]:
    """Cumulative tuning, in place: the clusters stay, the shared values and the unshared vectors move.

    The gradient of a shared value is the sum of its weights' gradients, thousands of times one weight's: Adam's step
    doesn't depend on that scale. The epoch with the best validation accuracy is kept.
    """
    c = session.config
    assert c.tune_epochs is not None
    optimizer = torch.optim.Adam(parameter_groups(model, c.lr_tune, 0.0), lr=c.lr_tune)
    return train(
        model,
        session.dataset,
        session.preprocessing,
        session.stage("tune", c.tune_epochs, keep_best=True),
        session.objective({}),
        optimizer,
        progress=session.progress,
        store=session.store,
    )
