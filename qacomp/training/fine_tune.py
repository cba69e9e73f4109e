"""The two trainings of a compression: fine-tuning all weights before sharing, and tuning the shared values after it."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from qacomp.options.method import MethodChoice
from qacomp.options.needs import regularizer_options, sharing_way
from qacomp.options.sharing_ways.straight_through import StraightThroughWay
from qacomp.sharing.selection import Selection
from qacomp.training.descent import Descent
from qacomp.training.history import EpochRecord
from qacomp.training.learned_bits import advance_bits, rate_of_bits, tell_bits
from qacomp.training.loop import parameter_groups
from qacomp.training.optimizers import make_optimizer, weight_decay_of
from qacomp.training.parametrizations.straight_through import install
from qacomp.training.penalty_rates import set_strengths, steps_of
from qacomp.training.quantizers import FINEST, LearnedBits, quantize_network, quantizer_named, refit_scales
from qacomp.training.regularizers import QuantizedLayer, Regularizer, build_regularizers
from qacomp.training.setup import TrainingSetup


def fine_tune(
    model: nn.Module, selection: Selection, setup: TrainingSetup, bits: Mapping[str, int] | None = None
) -> tuple[dict[str, Regularizer], list[EpochRecord]]:
    """Train all weights and the representatives, in place, on task loss + λ(t)·R (Malchiodi et al., eq. 2).

    With straight-through sharing the forward pass already uses shared weights, with or without a regularizer. With a
    quantizer it uses quantized values of the weights that `bits` names. With neither and without a regularizer the
    loss is the task's alone. bits: weight name -> its bits.

    Returns the trained regularizer of each selected layer, by weight name, and a record for each epoch. The weights of
    the last epoch are kept, not those with the best accuracy: in early epochs λ is small, accuracy is better, and the
    clusters are worse. Raises DivergedError, and ConfigError (see `set_strengths`).
    """
    c = setup.config
    assert c.epochs is not None
    learns_bits = regularizer_options(c).bits_learned
    if learns_bits and bits:
        bits = dict.fromkeys(bits, FINEST)
    penalties = build_penalties(model, selection, setup, _quantized(model, bits or {}, setup))
    rates = set_strengths(model, penalties, selection, setup)
    learned: dict[str, LearnedBits] = {}
    if learns_bits:
        learned = {name: penalty for name, penalty in penalties.items() if isinstance(penalty, LearnedBits)}
        rates |= dict.fromkeys(learned, rate_of_bits(setup, regularizer_options(c).bits_price))
    if bits:
        scaled = quantizer_named(c.quantizer).options.scaled
        quantize_network(model, bits, c.quantizer, scaled=scaled, learned=learned, masks=setup.zeros.masks)
    elif isinstance(way := sharing_way(c), StraightThroughWay):
        if not c.reg.chosen:
            rates = dict.fromkeys(penalties, c.lr if c.lr_levels is None else c.lr_levels)
        for key, penalty in penalties.items():
            gain = c.lr / rates[key] if c.reg.chosen else 1.0  # so that the task moves a shared value at rate c.lr
            install(model, key, penalty, way.entropy, gain, setup.zeros.masks.get(key))
    groups = parameter_groups(model, c.lr, weight_decay_of(c.optimizer))
    for name, penalty in penalties.items():
        groups.append({"params": list(penalty.parameters()), "lr": rates[name], "weight_decay": 0.0})
    optimizer = make_optimizer(c.optimizer, groups, c.lr)
    advance_bits(learned, optimizer, steps_of(setup))
    setup.zeros.keep_zero(model, optimizer)
    stage = setup.stage("fine-tune", c.epochs, keep_best=False, descent=Descent.of(c.optimizer))
    watch = _following(setup, penalties) if bits and setup.untaught else setup.watch
    records = setup.train(model, stage, setup.objective(penalties), optimizer, watch=watch)
    for penalty in penalties.values():
        penalty.finalize()
    tell_bits(model, learned, setup.note)
    return penalties, records


def _following(setup: TrainingSetup, penalties: Mapping[str, Regularizer]) -> Callable[[int, nn.Module], None]:
    """Return what to call after each epoch of a network that began with random weights: scales follow the weights.

    Weights grow while they are learned, and a scale of the first ones would hold them back. In the last half of the
    epochs the scales are fixed, so that the weights settle.
    """
    c = setup.config
    scaled = quantizer_named(c.quantizer).options.scaled

    def watch(epoch: int, model: nn.Module) -> None:
        if scaled and 2 * epoch <= (c.epochs or 0):
            for name, scale in refit_scales(model).items():
                if isinstance(penalty := penalties.get(name), LearnedBits):
                    penalty.fit(scale.divisor)
        if setup.watch is not None:
            setup.watch(epoch, model)

    return watch


def build_penalties(
    model: nn.Module, selection: Selection, setup: TrainingSetup, quantized: Mapping[str, QuantizedLayer]
) -> dict[str, Regularizer]:
    """Build each selected layer's regularizer, by weight name; empty without --reg, except in straight-through sharing.

    There, without --reg, the regularizers only hold the representatives.
    """
    c = setup.config
    if not c.reg.chosen and (quantized or not isinstance(sharing_way(c), StraightThroughWay)):
        return {}
    names = [layer.name for layer in selection.layers if not setup.zeros.is_all_zero(layer.name)]
    weights = {name: setup.zeros.kept(name, model.get_parameter(name).detach()) for name in names}
    ks = {layer.name: layer.k for layer in selection.layers}
    method = c.reg if c.reg.chosen else MethodChoice("min")
    return build_regularizers(method, weights, ks, quantized)


def _quantized(model: nn.Module, bits: Mapping[str, int], setup: TrainingSetup) -> dict[str, QuantizedLayer]:
    """Return the --quantizer, the bits and the scale of each layer that `bits` names."""
    if not bits:
        return {}
    method = quantizer_named(setup.config.quantizer)
    if not method.options.scaled:
        return {name: QuantizedLayer(method.name, count) for name, count in bits.items()}
    found = {}
    for name, count in bits.items():
        weight = setup.zeros.kept(name, model.get_parameter(name).detach())
        found[name] = QuantizedLayer(method.name, count, method.fit_scale(weight, count).divisor)
    return found


def tune_shared(model: nn.Module, setup: TrainingSetup) -> list[EpochRecord]:
    """Tune the shared values and all unshared parameters, in place; the clusters stay fixed (cumulative tuning).

    In a precision ladder the values and batch norms of all levels are tuned; the full-precision network stays among the
    sub-models as a teacher, and its selected weights are not trained.

    The gradient of a shared value is the sum over its weights, often thousands. Adam is used since the size of its
    steps doesn't depend on that scale. The epoch with the best validation accuracy is kept. Returns a record for each
    epoch. Raises DivergedError.
    """
    c = setup.config
    assert c.tune_epochs is not None
    optimizer = torch.optim.Adam(parameter_groups(model, c.lr_tune, 0.0), lr=c.lr_tune)
    setup.zeros.keep_zero(model, optimizer)
    return setup.train(model, setup.stage("tune", c.tune_epochs, keep_best=True), setup.objective({}), optimizer)
