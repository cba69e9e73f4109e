"""Train a precision ladder while its clusters still move; once they are fixed, `tune_shared` tunes it."""

from dataclasses import replace

from torch import nn

from qacomp.sharing.selection import Selection
from qacomp.training.descent import Descent
from qacomp.training.history import EpochRecord
from qacomp.training.ladder import PrecisionLadder, build_ladder
from qacomp.training.loop import parameter_groups
from qacomp.training.optimizers import make_optimizer, weight_decay_of
from qacomp.training.penalty_rates import set_strengths
from qacomp.training.regularizers import Regularizer, build_regularizers
from qacomp.training.setup import TrainingSetup


def fine_tune_ladder(
    model: nn.Module, selection: Selection, setup: TrainingSetup
) -> tuple[PrecisionLadder, list[EpochRecord]]:
    """Build a ladder over `model` and train it in place: all levels and the full-precision network, as --distill says.

    With a regularizer the full-precision weights are pulled to its representatives, which are also the shared values of
    the finest level. The epoch with the best mean validation accuracy over all sub-models is kept. The network's own
    parameters get the sum of all sub-models' gradients, so their learning rate is --lr divided by the number of
    sub-models. Returns the ladder and a record for each epoch. Raises DivergedError.
    """
    c = setup.config
    assert c.epochs is not None and c.levels is not None
    penalties: dict[str, Regularizer] = {}
    rates: dict[str, float] = {}
    if c.reg.chosen:
        names = [layer.name for layer in selection.layers if not setup.zeros.is_all_zero(layer.name)]
        weights = {name: setup.zeros.kept(name, model.get_parameter(name).detach()) for name in names}
        ks = {layer.name: layer.k for layer in selection.layers}
        penalties = build_regularizers(c.reg, weights, ks)
        rates = set_strengths(model, penalties, selection, setup)
    gains = {name: c.lr / rate for name, rate in rates.items()}
    ladder = build_ladder(model, selection, c.levels, penalties, gains, setup.zeros.masks)
    owned = {id(p) for penalty in penalties.values() for p in penalty.parameters()}
    shared = c.lr / len(ladder.submodel_names)  # the gradients of all sub-models add up in the weights
    groups = parameter_groups(ladder.network, shared, weight_decay_of(c.optimizer))
    levels = [*ladder.codebooks.parameters(), *ladder.norms.parameters()]
    groups.append({"params": [p for p in levels if id(p) not in owned], "lr": c.lr, "weight_decay": 0.0})
    for name, penalty in penalties.items():
        groups.append({"params": list(penalty.parameters()), "lr": rates[name], "weight_decay": 0.0})
    optimizer = make_optimizer(c.optimizer, groups, c.lr)
    setup.zeros.keep_zero(model, optimizer)
    whole = replace(setup, zeros=setup.zeros.under("network."))
    objective = whole.objective({f"network.{name}": penalty for name, penalty in penalties.items()})
    stage = setup.stage("fine-tune", c.epochs, keep_best=True, descent=Descent.of(c.optimizer))
    records = setup.train(ladder, stage, objective, optimizer)
    return ladder, records
