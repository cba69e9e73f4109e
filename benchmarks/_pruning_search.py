"""EPruning's search by itself: scoring a population together against serially, and evolution against brute force."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from result import Headline, Results, Row, in_turns, median, spread
from torch import nn

from qacomp.models import create_model, model_info
from qacomp.training.pruning.channels import trace_channels
from qacomp.training.pruning.evolution import EvolutionOptions, search
from qacomp.training.pruning.gates import Gates
from qacomp.training.pruning.objectives import energy_loss
from qacomp.training.pruning.scoring import score_population, score_serially, score_small, score_stacked
from qacomp.training.pruning.units import Units, find_units

POPULATION = 8
BATCH = 128


def scoring(size: str) -> Results:
    """S = 8 states on one batch: together (as this device does it) against one forward pass after the other."""
    repeats = 5 if size == "small" else 25
    rows = [_scored(arch, repeats) for arch in ("lenet5", "resnet20")]
    errors = [error for row in rows for error in row.results["largest_error"].values()]
    text = "largest difference of a state's energy, stacked or small against serial; LeNet-5 and ResNet-20"
    last = rows[-1].results
    how = "one pass over stacked copies of the batch, wall time"
    if last["chosen"] == "small":
        how = "each state runs as the smaller network that it is, CPU seconds of one thread"
    note = f"ResNet-20, S = {POPULATION}, batch {BATCH}: {how}; against {POPULATION} passes of the gated network, "
    note += f"in turns, medians (all states stacked in one pass: {last['stacked_ratio']:.2f}x)"
    time_ratio = Headline(last["ratio"], "x", "<= 1.0 (GPU <= 0.4)", note, last["spread"])
    return rows, {
        "parallel_energy_error": Headline(max(errors), "", "<= 1e-5", text),
        "parallel_vs_serial_time": time_ratio,
    }


def _scored(arch: str, repeats: int) -> Row:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    model = create_model(arch).to(device)
    _randomize_norms(model)
    shape = model_info(arch).input_shape
    units = find_units(trace_channels(model, shape))
    gates = Gates(model, units)
    images = torch.randn(BATCH, *shape, device=device)
    x, y = images.contiguous(memory_format=torch.channels_last), torch.randint(0, 10, (BATCH,), device=device)
    states = _states(units)
    tasks: dict[str, Callable[[], Any]] = {
        "serial": lambda: score_serially(model, gates, states, x, y, energy_loss),
        "stacked": lambda: score_stacked(model, gates, states, x, y, energy_loss),
        "small": lambda: score_small(model, gates, states, x, y, energy_loss),
    }
    scores = {name: task() for name, task in tasks.items()}
    worst = {name: float(np.abs(s - scores["serial"]).max()) for name, s in scores.items() if name != "serial"}
    times = in_turns(tasks, repeats) if device.type == "cpu" else _wall(tasks, repeats)
    ratios = {n: [a / b for a, b in zip(times[n], times["serial"], strict=True)] for n in worst}
    chosen = "small" if device.type == "cpu" else "stacked"
    results: dict[str, Any] = {f"{name}_seconds": median(t) for name, t in times.items()}
    results |= {f"{name}_ratio": median(r) for name, r in ratios.items()}
    results |= {"largest_error": worst, "energies": scores["serial"].tolist(), "chosen": chosen}
    results |= {"ratio": median(ratios[chosen]), "spread": spread(ratios[chosen])}
    settings = {"batch": BATCH, "population": POPULATION, "device": device.type}
    return Row(f"scoring_{arch}", "energies of 8 states: stacked, as small networks, and serially", settings, results)


def _states(units: Units) -> Any:
    return (np.random.default_rng(0).random((POPULATION, units.count)) < 0.5) | ~units.free


def _randomize_norms(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)


def _wall(tasks: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Like `in_turns`, wall time: on a GPU the work isn't the processor's. Scores come back to numpy, so it is done."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(repeats + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if number:
                times[name].append(time.perf_counter() - start)
    return times


def brute_force(seeds: int = 100, generations: int = 300) -> Results:
    """A network of 12 units: every state's energy is known, so is the least; how many seeds find it."""
    torch.manual_seed(1)
    features = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*features, nn.Linear(4, 4), nn.Linear(4, 3))
    units = find_units(trace_channels(model, (1, 6, 6)))
    d = units.count
    x, y = torch.randn(40, 1, 6, 6), torch.randint(0, 3, (40,))
    every = (np.arange(2**d)[:, None] >> np.arange(d) & 1).astype(bool)  # (4096, 12)
    gates = Gates(model, units)
    table = np.concatenate([score_population(model, gates, p, x, y, energy_loss) for p in np.split(every, 16)])
    rows, rates = [], {}
    for restart in (True, False):
        found = []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            done = search(
                lambda s: np.asarray(table[(s << np.arange(d)).sum(1)]),
                units.free,
                EvolutionOptions(POPULATION, restart=restart),
                generations,
                rng,
            )
            found.append(bool(done.scores.min() == table.min()))
        rates[restart] = sum(found) / seeds
        name = "brute_force" if restart else "brute_force_without_restart"
        text = "least energy of all 4,096 states found within 300 generations"
        settings = {"units": d, "generations": generations, "population": POPULATION, "restart": restart}
        rows.append(Row(name, text, settings, {"found": sum(found), "seeds": seeds}))
    note = (
        f"{seeds} seeds, 12 units, S = 8, F = C_r = 0.9, {generations} generations; a population that has converged is "
    )
    note += f"drawn anew around its best (without that, as in the paper, {100 * rates[False]:.0f} of 100)"
    return rows, {"bde_optimum_rate": Headline(100 * rates[True], "of 100", ">= 80", note)}
