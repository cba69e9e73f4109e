"""What the regularizers cost: against the textbook's broadcast form, and as a share of a VGG16 training step."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import torch
import torch.nn.functional as F
from result import Headline, Row, in_turns, median, spread
from torch import Tensor, nn

from qacomp.api import compress
from qacomp.checkpoints import read_checkpoint
from qacomp.datasets import load_dataset
from qacomp.models import create_model
from qacomp.options.config import CompressConfig
from qacomp.options.from_scratch import scratch_config
from qacomp.progress import SilentProgress
from qacomp.stages.from_scratch import train_network
from qacomp.training.device import choose_precision
from qacomp.training.regularizers import (
    Regularizer,
    accumulate_penalties,
    build_regularizers,
    list_regularizers,
    regularizer_class,
)

WEIGHTS = 2_359_296  # a 512 x 512 x 3 x 3 convolution
BATCH, K = 128, 64
SLICES = 8


def broadcast(name: str, weight: Tensor, u: Tensor) -> Tensor:
    """R_M or R_E as it is printed: every weight against every representative."""
    distance = (weight[:, None] - u).abs().amin(dim=1)  # (n,) from (n, K)
    return distance.square().mean() if name == "min" else (1 - torch.exp(-distance)).mean()


def in_float64(name: str, weight: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value and gradients of the broadcast form in float64, some weights at a time."""
    levels = u.detach().double().requires_grad_()
    value, slopes = torch.zeros((), dtype=torch.float64), []
    for part in torch.split(weight.detach().double(), 1 << 18):
        part = part.requires_grad_()
        term = broadcast(name, part, levels) * (part.numel() / weight.numel())
        term.backward()  # type: ignore[no-untyped-call]
        assert part.grad is not None
        value += term.detach()
        slopes.append(part.grad)
    assert levels.grad is not None
    return value, torch.cat(slopes), levels.grad


def away_from_midpoints(weight: Tensor, u: Tensor) -> Tensor:
    """Which weights (n,) aren't within rounding of a midpoint: there the nearest level, and so the slope, is a toss."""
    levels = u.double().sort().values
    midpoints = (levels[1:] + levels[:-1]) / 2  # (K − 1,)
    right = torch.searchsorted(midpoints, weight.double()).clamp(max=midpoints.numel() - 1)  # (n,)
    nearest = torch.stack([(weight - midpoints[right]).abs(), (weight - midpoints[(right - 1).clamp(min=0)]).abs()])
    return nearest.amin(0) > 1e-6 * weight.abs().max()


def against_broadcast(name: str, k: int, repeats: int) -> tuple[Row, float, float | None]:
    """One layer, value and gradients to the weights and to u."""
    weight = (torch.randn(WEIGHTS, generator=torch.Generator().manual_seed(0)) * 0.05).requires_grad_()
    penalty = regularizer_class(name).for_weights(weight, k)
    u = next(penalty.parameters())
    with torch.no_grad():
        u.add_(torch.randn(k, generator=torch.Generator().manual_seed(1)) * 0.001)  # its gradient isn't zero

    def ours(weight: Tensor = weight) -> tuple[Tensor, ...]:
        value = penalty(weight)
        return value.detach(), *torch.autograd.grad(value, (weight, u))

    def textbook() -> tuple[Tensor, ...]:
        value = broadcast(name, weight, u)
        return value.detach(), *torch.autograd.grad(value, (weight, u))

    away = away_from_midpoints(weight.detach(), u.detach())
    compared = weight.detach()[away].requires_grad_()
    got, want = ours(compared), in_float64(name, compared, u)
    value_error = float((got[0] - want[0]).abs() / want[0].abs())
    weight_error = float((got[1] - want[1]).abs().max() / want[1].abs().max())
    level_error = float((got[2] - want[2]).abs().max() / want[2].abs().max())
    times = in_turns({"qacomp": ours, "broadcast": textbook}, repeats)
    ratios = [slow / fast for slow, fast in zip(times["broadcast"], times["qacomp"], strict=True)]
    results = {
        "qacomp_ms": round(1e3 * median(times["qacomp"]), 2),
        "broadcast_ms": round(1e3 * median(times["broadcast"]), 1),
        "speedup": round(median(ratios), 1),
        "weights_left_out_of_the_errors": int((~away).sum()),
        "value_relative_error": value_error,
        "weight_gradient_relative_error": weight_error,
        "level_gradient_relative_error": level_error,
    }
    description = "value and gradients of one layer, forward and backward, against the broadcast form"
    return Row(f"{name} K={k}", description, {"weights": WEIGHTS, "k": k}, results), median(ratios), spread(ratios)


def training_step(precision: str) -> tuple[nn.Module, Callable[[], None]]:
    """VGG16 and one step of SGD on a batch, as qacomp trains."""
    torch.manual_seed(0)
    model = create_model("vgg16").train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    x = torch.randn(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)
    y = torch.randint(10, (BATCH,))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = model(x)
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(logits.float(), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return model, step


def step_overhead(precision: str, repeats: int) -> tuple[Row, dict[str, list[float]]]:
    """Every regularizer on all 33 M weights, K = 64, in turns with the step that it would be part of."""
    model, step = training_step(precision)
    weights = {name: p for name, p in model.named_parameters() if p.ndim >= 2}
    ks = dict.fromkeys(weights, K)
    tasks: dict[str, Callable[[], object]] = {"step": step}

    def add(label: str, penalties: dict[str, Regularizer]) -> None:
        tasks[label] = lambda: accumulate_penalties(model, penalties, 1e-3)

    for name in list_regularizers():
        add(name, build_regularizers(name, weights, ks))
    add(f"exp, {SLICES} slices", build_regularizers(f"exp:slices={SLICES}", weights, ks))
    times = in_turns(tasks, repeats)
    shares = {
        label: [100 * t / s for t, s in zip(times[label], times["step"], strict=True)]
        for label in tasks
        if label != "step"
    }
    results = {"step_seconds": round(median(times["step"]), 3)}
    for label in shares:
        results[f"{label} ms"] = round(1e3 * median(times[label]), 1)
        results[f"{label} %"] = round(median(shares[label]), 2)
    settings = {"precision": precision, "batch": BATCH, "k": K, "weights": sum(w.numel() for w in weights.values())}
    description = "a regularizer's value and gradients added to a VGG16 training step (forward, backward, SGD)"
    return Row(f"vgg16 step {precision}", description, settings, results), shares


def slices_accuracy(seeds: int) -> Row:
    """What looking at a slice of each layer a step costs: LeNet-5 on digits, two shared values a layer."""
    accuracy: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lenet5.pt")
        train_network(scratch_config({"arch": "lenet5", "data": "digits"}), path, SilentProgress())
        data = load_dataset("digits")
        for slices in (1, SLICES, 4 * SLICES):
            found: dict[str, list[float]] = {"shared": [], "tuned": []}
            for seed in range(seeds):
                config = CompressConfig(reg=f"exp:slices={slices}", k=2, data="digits", seed=seed)
                result = compress(read_checkpoint(path), data, config, Path(folder, "out.qac"))
                for stage, values in found.items():
                    values.append(getattr(result.accuracy, stage))
            accuracy[f"{slices} slices"] = found
    results = {
        label: {stage: {"mean": mean(v), "sd": spread(v)} for stage, v in found.items()}
        for label, found in accuracy.items()
    }
    description = "test accuracy after sharing and after tuning, by the number of slices"
    return Row("slices accuracy", description, {"model": "lenet5", "reg": "exp", "k": 2, "seeds": seeds}, results)


def run(size: str, seeds: int) -> tuple[list[Row], dict[str, Headline]]:
    """The suite: rows and headlines. Timings are CPU seconds, so `seeds` are repeats."""
    repeats = max(3, seeds)
    rows: list[Row] = []
    headlines: dict[str, Headline] = {}
    for k, bar in ((64, ">= 50"), (8, ">= 6")):
        measured = {name: against_broadcast(name, k, repeats) for name in ("exp", "min")}
        rows += [row for row, _, _ in measured.values()]
        worst = min(measured, key=lambda name: measured[name][1])
        note = (
            f"forward and backward of one layer of {WEIGHTS:,} weights, CPU seconds in turns, median; the smaller of "
            f"exp and min ({worst}); largest errors in the rows"
        )
        headlines[f"regularizer_speedup_k{k}"] = Headline(measured[worst][1], "x", bar, note, measured[worst][2])
    shares = {}
    for precision in ("bf16", "fp32"):
        row, shares[precision] = step_overhead(precision, repeats)
        rows.append(row)
    rows.append(slices_accuracy(seeds))
    # Training takes bf16 where the processor has matrix units for it, and that is the shorter step.
    default = choose_precision("auto", torch.device("cpu"))
    exact = {label: s for label, s in shares[default].items() if "slices" not in label}
    dearest = max(exact, key=lambda label: median(exact[label]))
    note = (
        f"all 33 M weights of VGG16, batch {BATCH}, K = {K}, exact (no slices), {default}, CPU seconds in turns, "
        f"median; the dearest is {dearest}"
    )
    headlines["regularizer_step_overhead_pct"] = Headline(
        median(exact[dearest]), "%", "<= 20", note, spread(exact[dearest])
    )
    return rows, headlines
