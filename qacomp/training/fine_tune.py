"""The two trainings of a compression: with the regularizer before sharing, and of the shared values after it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from qacomp.datasets import Dataset
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.options.config import CompressConfig
from qacomp.options.method import MethodChoice
from qacomp.options.needs import regularizer_options
from qacomp.progress import Progress
from qacomp.sharing.selection import Selection, value_for
from qacomp.training.batches import batch_count
from qacomp.training.distillation import teaching
from qacomp.training.history import EpochRecord
from qacomp.training.loop import Cosine, Stage, parameter_groups, train
from qacomp.training.objective import Objective
from qacomp.training.parametrizations.straight_through import install
from qacomp.training.parametrizations.zeros import NO_ZEROS, Zeros
from qacomp.training.quantizers import LearnedBits, quantize_network, quantizer_named
from qacomp.training.regularizers import QuantizedLayer, Regularizer, StrengthSchedule, build_regularizers
from qacomp.training.resume import ResumeStore
from qacomp.training.strength import balance


@dataclass(frozen=True)
class Session:
    """What both trainings need beside the network: settings without None, data, teacher, where progress goes, pruned
    weights that stay zero.
    """

    config: CompressConfig
    dataset: Dataset
    preprocessing: Preprocessing
    original: nn.Module
    device: torch.device
    progress: Progress
    store: ResumeStore | None = None
    zeros: Zeros = NO_ZEROS
    watch: Callable[[int, nn.Module], None] | None = None

    def stage(self, name: str, epochs: int, *, keep_best: bool) -> Stage:
        """A stage with this session's batch size, seed, augmentation, device and precision."""
        c = self.config
        augment = c.augment == "crop-flip"
        return Stage(name, epochs, c.batch_size, c.seed, augment, self.device, c.precision, keep_best)

    def objective(self, penalties: Mapping[str, Regularizer]) -> Objective:
        """Task loss, the teacher's where --distill asks for it, and the penalties with their λ."""
        c = self.config
        teacher = self.original if c.distill.chosen else None
        epochs = c.epochs or 1
        schedule = StrengthSchedule(c.schedule, c.warmup, epochs, width=min(20.0, max(1.0, epochs / 10)))
        strategy = "none" if c.distill.name == "kd" else c.distill.name
        weight, temperature = teaching(self.original, c.distill)
        return Objective(penalties, schedule, teacher, weight, temperature, strategy, self.zeros.masks)


def fine_tune(
    model: nn.Module, selection: Selection, session: Session, bits: Mapping[str, int] | None = None
) -> tuple[dict[str, Regularizer], list[EpochRecord]]:
    """Train all weights and the representatives, in place, on task loss + λ(t)·R (Malchiodi et al., eq. 2).

    With straight-through sharing the forward pass uses the shared weights already, with or without a regularizer; with
    a quantizer the weights that `bits` names go through it.

    Returns each selected layer's trained regularizer, by weight name, and the epochs' records. The last epoch stays:
    an earlier one, before λ has done its work, would have the better accuracy and the worse clusters.
    """
    c = session.config
    assert c.epochs is not None
    learns_bits = regularizer_options(c).bits_learned
    penalties = build_penalties(model, selection, session, _quantized(model, bits or {}, session))
    rates = set_strengths(model, penalties, selection, session)
    if bits:
        scaled = quantizer_named(c.quantizer).options.scaled
        learned = {n: p for n, p in penalties.items() if isinstance(p, LearnedBits)} if learns_bits else {}
        quantize_network(model, bits, c.quantizer, scaled=scaled, learned=learned, living=session.zeros.masks)
    elif c.sharing == "straight-through":
        if not c.reg.chosen:
            rates = dict.fromkeys(penalties, c.lr)
        for key, penalty in penalties.items():
            gain = c.lr / rates[key] if rates[key] > 0 else 1.0  # the task moves a level at the weights' own rate
            install(model, key, penalty, c.entropy, gain, session.zeros.masks.get(key))
    groups = parameter_groups(model, c.lr, c.weight_decay)
    for name, penalty in penalties.items():
        rate = rates[name] if c.lr_levels is None else c.lr_levels
        rate = c.lr if learns_bits else rate
        groups.append({"params": list(penalty.parameters()), "lr": rate, "weight_decay": 0.0})
    optimizer = torch.optim.SGD([g for g in groups if g["params"]], lr=c.lr, momentum=c.momentum)
    session.zeros.hold(model, optimizer)
    stage = session.stage("fine-tune", c.epochs, keep_best=False)
    records = train(
        model,
        session.dataset,
        session.preprocessing,
        stage,
        session.objective(penalties),
        optimizer,
        progress=session.progress,
        store=session.store,
        watch=session.watch,
    )
    for penalty in penalties.values():
        penalty.settle()
    return penalties, records


def build_penalties(
    model: nn.Module, selection: Selection, session: Session, quantized: Mapping[str, QuantizedLayer]
) -> dict[str, Regularizer]:
    """Each selected layer's regularizer; without --reg only its levels are used, with a quantizer not even those."""
    c = session.config
    if not c.reg.chosen and quantized:
        return {}
    names = [layer.name for layer in selection.layers if not session.zeros.emptied(layer.name)]
    weights = {name: session.zeros.living(name, model.get_parameter(name).detach()) for name in names}
    ks = {layer.name: layer.k for layer in selection.layers}
    method = c.reg if c.reg.chosen else MethodChoice("min")
    return build_regularizers(method, weights, ks, slices=c.slices, quantized=quantized)


def _quantized(model: nn.Module, bits: Mapping[str, int], session: Session) -> dict[str, QuantizedLayer]:
    """Return what --quantizer does to each layer that `bits` names: with which bits, and in which units."""
    if not bits:
        return {}
    method = quantizer_named(session.config.quantizer)
    if not method.options.scaled:
        return {name: QuantizedLayer(method.name, count) for name, count in bits.items()}
    found = {}
    for name, count in bits.items():
        weight = session.zeros.living(name, model.get_parameter(name).detach())
        found[name] = QuantizedLayer(method.name, count, method.fit_scale(weight, count).divisor)
    return found


def set_strengths(
    model: nn.Module, penalties: Mapping[str, Regularizer], selection: Selection, session: Session
) -> dict[str, float]:
    """Give every penalty its λ; returns the learning rates that suit their parameters."""
    c = session.config
    balanced = balance(model, penalties, c.pull, _travel(session), session.zeros.masks)
    names = [layer.names for layer in selection.layers if layer.name in penalties]
    own = value_for(names, c.strength_layers, "--strength") if penalties else {}
    for key, penalty in penalties.items():
        strength = balanced[key].strength if c.strength is None else c.strength
        penalty.set_strength(own.get(key, strength) if c.reg.chosen else 0.0)
    return {name: b.lr_levels for name, b in balanced.items()}


def _travel(session: Session) -> float:
    """Σ_t lr_t·r(t)/(1 − momentum) over the fine-tuning: see `balance`."""
    c = session.config
    steps = (c.epochs or 0) * batch_count(session.dataset.train, c.batch_size)
    cosine, objective = Cosine(steps), session.objective({})
    total = sum(cosine(t) * objective.schedule(t / steps) for t in range(steps))
    return c.lr * total / max(1e-3, 1 - c.momentum)


def tune_shared(model: nn.Module, session: Session) -> list[EpochRecord]:
    """Cumulative tuning, in place: the clusters stay, the shared values and the unshared vectors move.

    Of a precision ladder whose clusters are fixed, all levels' values and batch norms; its full-precision network
    stays among the sub-models as a teacher, and doesn't move.

    The gradient of a shared value is the sum of its weights' gradients, thousands of times one weight's: Adam's step
    doesn't depend on that scale. The epoch with the best validation accuracy is kept.
    """
    c = session.config
    assert c.tune_epochs is not None
    optimizer = torch.optim.Adam(parameter_groups(model, c.lr_tune, 0.0), lr=c.lr_tune)
    session.zeros.hold(model, optimizer)
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
