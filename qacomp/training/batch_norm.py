"""Re-estimate the statistics of batch norms after sharing, since shared weights shift the outputs of each layer."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from qacomp.batches.examples import Batches, epoch_seed
from qacomp.batches.feed import called
from qacomp.evaluation.on_batches import Mover
from qacomp.models.flexible import FlexibleModel
from qacomp.progress import Progress
from qacomp.training.loop import Stage

_MAX_BATCHES = 100


def reestimate_batch_norm(model: nn.Module, train: Batches, stage: Stage, progress: Progress) -> bool:
    """Replace each batch norm's mean and variance, in place, by the average over up to 100 training batches.

    No gradient, no augmentation; dropout stays off. A flexible model runs all its sub-models. Returns False, without
    any change, if the model has no batch norm with running statistics.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return False
    momenta = [m.momentum for m in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    batches = train.training(stage.batch_size, augment="none", entropy=epoch_seed(stage.seed, stage.name, 0))
    move = Mover(model, stage.device)
    total = min(_MAX_BATCHES, train.steps(stage.batch_size))
    with torch.no_grad(), progress.task(stage.name, total) as task:
        for _, batch in zip(range(total), batches, strict=False):
            x = move(batch.x)
            model.forward_all(x) if isinstance(model, FlexibleModel) else called(model, x)
            task.advance()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
    return True
