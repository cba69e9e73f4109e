"""Prepare a network for its training: prune it, and plan its quantizer."""

from dataclasses import replace

from qacomp.sources.torch_weights import layer_weights
from qacomp.stages.job import Job
from qacomp.training.parametrizations.zeros import Zeros, own_zeros
from qacomp.training.pruning.stage import prune
from qacomp.training.quantizers import (
    QuantizedActivation,
    plan_quantization,
    quantize_activations,
    quantizer_named,
)


def pruned(job: Job, *, remove: bool = True) -> Job:
    """Prune and retrain if asked; if anything trains the network, the zeros that it came with are held at zero.

    remove: take dead channels out of the network, else they stay as zeros.
    """
    c = job.config
    if job.session is None and not (c.quantizer.chosen or c.prune.chosen or c.epochs):
        return job  # sharing keeps zeros without a mask
    own = own_zeros(job.model, job.selection)
    if not c.prune.chosen:
        return job.pruned(own) if own.masks else job
    session = job.session and replace(job.session, zeros=own)
    with job.run.stage("prune"):
        found = prune(job.model, job.network.inputs, c, session, job.run.note, remove=remove)
    job = job.told(found.records)
    job = replace(job, training=replace(job.training, pruning=found.report))
    left = own_zeros(job.model, job.selection)
    return job.pruned(found.zeros.beside(Zeros(left.masks)))


def with_quantizer(job: Job) -> tuple[Job, dict[str, int]]:
    """Return the job with the quantizer's number of shared values, and the bits of each layer that is quantized."""
    c = job.config
    if not c.quantizer.chosen:
        return job, {}
    every = [weight.name for weight in layer_weights(job.model) if weight.never is None]
    plan = plan_quantization(job.selection, c.quantizer, c.bits, c.bits_layers, every)
    bits = quantizer_named(c.quantizer).options.activations
    if bits is not None and not any(isinstance(part, QuantizedActivation) for part in job.model.modules()):
        places = quantize_activations(job.model, bits)
        job.run.note(f"activations: {bits} bits at {len(places)} ReLUs")
    return replace(job, selection=plan.selection), {n: b for n, b in plan.bits.items() if not job.zeros.is_all_zero(n)}
