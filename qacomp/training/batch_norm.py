"""Re-estimate the statistics of batch norms after sharing, since shared weights shift the outputs of each layer."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from qacomp.datasets import Dataset
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.models.flexible import FlexibleModel
from qacomp.progress import Progress
from qacomp.training.batches import batch_count, epoch_seed, training_batches
from qacomp.training.loop import Stage, to_device

_MAX_BATCHES = 100


def reestimate_batch_norm(
    model: nn.Module, dataset: Dataset, preprocessing: Preprocessing, stage: Stage, progress: Progress
) -> bool:
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
    run = model.forward_all if isinstance(model, FlexibleModel) else model
    batches = training_batches(
        dataset.train, preprocessing, stage.batch_size, augment=False, entropy=epoch_seed(stage.seed, stage.name, 0)
    )
    total = min(_MAX_BATCHES, batch_count(dataset.train, stage.batch_size))
    with torch.no_grad(), progress.task(stage.name, total) as task:
        for _, (x, _) in zip(range(total), batches, strict=False):
            run(to_device(x, stage.device))
            task.advance()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
    return True
