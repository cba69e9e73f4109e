"""Claim (a): teacher assistants help the smallest sub-model of a precision ladder, from a trained network."""

import copy
from functools import partial
from typing import Any

from _papers_assistants import less, submodel_cells
from _papers_claims import Claim, Question
from _papers_pieces import Trial
from _papers_sinreq import BUDGET
from _papers_training import CPU, parts, prepared, pretrained

from qacomp.evaluation.metric import ACCURACY
from qacomp.evaluation.submodels import submodel_values
from qacomp.models import model_info
from qacomp.options.config import CompressConfig
from qacomp.progress import SilentProgress
from qacomp.sources.network import Network
from qacomp.sources.torch_weights import select_layers
from qacomp.stages.resolve import resolve_network
from qacomp.training.fine_tune_ladder import fine_tune_ladder
from qacomp.training.setup import TrainingSetup

NAME = "assistants_ladder"
SEEDS = 10
SMALLEST = "level2"
LEVELS = (2, 4, 16)
SETTINGS: dict[str, Any] = {
    **{name: BUDGET[name] for name in ("arch", "data", "images", "validation", "pretraining")},
    "levels": list(LEVELS),
    "epochs": 1,
    "batch": 64,
    "strategies": ["none", "ipkd", "ta-m"],
}


def claim() -> Claim:
    """Return the claim with ten paired seeds."""
    return Claim(
        NAME,
        "IPKD-TA",
        "assistants help the smallest sub-model of a precision ladder",
        "simplenet on 6,000 images of CIFAR-10J: levels of 2, 4 and 16 shared values and full precision, 1 epoch from "
        "a trained network, which teaches too; the paper has no ladders",
        tuple(Trial(NAME, "", seed, SETTINGS, measure, 2 if seed < 5 else 3) for seed in range(SEEDS)),
        (Question("level 2, IPKD-TA-M less IPKD", less("ta-m", "ipkd", SMALLEST), SEEDS),),
        cells=partial(submodel_cells, names=[*(f"level{n}" for n in LEVELS), "full"], part="sub-model"),
    )


def measure(s: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return, by strategy, the test accuracy of each level and of full precision, in percent."""
    examples = parts(s["data"], seed, (s["images"], s["validation"]), prepared(s["arch"]))
    model, info = pretrained(s["arch"], seed, s, examples), model_info(s["arch"])
    found = {}
    for strategy in s["strategies"]:
        settings = {"arch": s["arch"], "levels": s["levels"], "distill": strategy, "tune_epochs": 0, "seed": seed}
        settings |= {"epochs": s["epochs"], "batch_size": s["batch"], "augment": "none", "device": "cpu"}
        settings |= {"sharing": "straight-through"} if strategy == "none" else {}
        network = Network(copy.deepcopy(model), s["arch"], 10, info.input_shape, info.preprocessing)
        config = resolve_network(CompressConfig().with_settings(settings, NAME), network, examples, lambda text: None)
        setup = TrainingSetup(config, examples, model, CPU, SilentProgress())
        selection = select_layers(network.model, "all", config.k, {})
        ladder, _ = fine_tune_ladder(network.model, selection, setup)
        values = submodel_values(ladder, examples.test, ACCURACY, batch_size=500)
        found[strategy] = {name: round(value, 3) for name, value in values.items()}
    return found
