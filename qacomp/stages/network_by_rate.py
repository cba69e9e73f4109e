"""Share a PyTorch network on grids: the smallest file at a quality, or the best network of a size."""

from dataclasses import replace

from qacomp.options.needs import limited, sized_levels
from qacomp.sources.torch_source import TorchSource
from qacomp.stages.job import Job
from qacomp.stages.limit_search import made_within_limits
from qacomp.stages.made import Made
from qacomp.stages.network_calibration import calibrate
from qacomp.stages.network_levels_by_rate import network_levels_by_rate
from qacomp.stages.network_on_grids import NetworkOnGrids
from qacomp.stages.rate_biases import with_biases
from qacomp.stages.rounding_choice import with_chosen_rounding
from qacomp.stages.scale_search import made_for_quality, made_for_size
from qacomp.stages.train_by_rate import trained_by_rate
from qacomp.stages.train_unlabelled import trained_unlabelled
from qacomp.stages.trial_log import with_sensitivities
from qacomp.training.history import WeightHistory


def network_by_rate(job: Job, source: TorchSource, weights: WeightHistory) -> Made:
    """Share the job's network on grids, and measure it; with epochs it is trained on them first.

    Raises TargetNotReachedError for a target out of reach, DivergedError.
    """
    if sized_levels(job.config):
        return network_levels_by_rate(job, source, calibrate(job), weights)
    job = replace(job, selection=with_biases(job.selection, source.weights(), job.config))
    task = with_chosen_rounding(NetworkOnGrids(job, source, calibrate(job), weights))
    given = job.config.calibration is not None or job.session is not None
    return with_sensitivities(_made(task), task.found.sharing, task.found.model, inputs_given=given)


def _made(task: NetworkOnGrids) -> Made:
    """Return the network trained on its grids if --epochs asks for it, else at a size or a quality."""
    job = task.job
    if job.config.epochs:
        return trained_unlabelled(task) if job.session is None else trained_by_rate(task)
    if limited(job.config):
        return made_within_limits(task.scaled(), job.config, job.run)
    if job.config.target_size is None:
        return made_for_quality(task.scaled(), job.config, job.run)
    return made_for_size(task.scaled(), task.rest(), task.asked(), job.run)
