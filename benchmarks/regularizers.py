"""The regularizers paper's experiment (Malchiodi et al., section III): accuracy after sharing, against plain k-means.

Networks: LeNet-300-100 and LeNet-5 on MNIST, ResNet-20 on CIFAR-10J; K = 2, 3, 4, 8 shared values a layer (ResNet-20:
2 and 3); scopes conv, dense, all. Methods: k-means of the network as it is; the four regularizers, then sharing, as in
the paper; straight-through sharing; the exponential regularizer with straight-through sharing. Pre-tuning and
post-tuning test accuracy, and the ratio to k-means. The static regularizers' ranges are fitted to the layer, and then
sine and cosine are one function, shifted by half a step: their trials agree to the digit. Each fine-tuning sees a part
of the training images, for two cores' sake. A regularizer's strength (`pull`) is chosen on the validation split of
seed 0 at K = 2. Scope all has every seed (ResNet-20: at K = 2), the others have one. `--size paper`: AlexNet and VGG16
with all images, K = 8 and 64.

Every trial is kept in benchmarks/work, so that a suite that was broken off goes on. Without the shared folder: LeNets
on embedded digits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from _trials import Trials, data_spec, share_and_tune, some_of, trained_checkpoint
from result import Headline, Row, shared_folder, spread

from qacomp.datasets import load_dataset
from qacomp.options.config import CompressConfig

REGULARIZERS = ("sin", "cos", "min", "exp")
PULLS = (16.0, 64.0)
RESNET20 = "resnet20_cifar10j.pth"
AFTER = {name: {"reg": name, "sharing": "after"} for name in REGULARIZERS}
METHODS: dict[str, dict[str, Any]] = {
    "kmeans": {"reg": "none", "sharing": "after", "epochs": 0},
    "fine-tuned kmeans": {"reg": "none", "sharing": "after"},
    **AFTER,
    "straight-through": {"reg": "none", "sharing": "straight-through"},
    "exp + straight-through": {"reg": "exp", "sharing": "straight-through", "pull": 4.0},
}


@dataclass(frozen=True)
class Experiment:
    """One network: its data, where its checkpoint comes from, and how much of everything."""

    arch: str
    data: str
    pretrain_epochs: int
    images: int
    epochs: int
    tune_epochs: int
    ks: tuple[int, ...] = (2, 3, 4, 8)
    scopes: tuple[str, ...] = ("all", "conv", "dense")
    all_seeds: bool = True
    checkpoint: str | None = None

    def settings(self, seed: int, k: int, scope: str, method: str, pull: float | None) -> CompressConfig:
        """A trial's: the paper's training, without a teacher."""
        own = {"pull": pull} if pull is not None and method in REGULARIZERS else {}
        common = {"distill": "none", "batch_size": 64, "epochs": self.epochs, "tune_epochs": self.tune_epochs}
        return CompressConfig(arch=self.arch, seed=seed, k=k, scope=scope, **(common | METHODS[method] | own))


SMALL = (
    Experiment("lenet300", "mnist", 8, 10_000, 4, 1, scopes=("all",)),
    Experiment("lenet5", "mnist", 4, 5_000, 5, 1),
    Experiment(
        "resnet20", "cifar10j", 0, 5_000, 3, 1, ks=(2, 3), scopes=("all",), all_seeds=False, checkpoint=RESNET20
    ),
)
PAPER = (
    Experiment("alexnet", "cifar10j", 60, 45_000, 20, 5, ks=(8, 64)),
    Experiment("vgg16", "cifar10j", 60, 45_000, 20, 5, ks=(8, 64)),
)
OFFLINE = (
    Experiment("lenet300", "digits", 30, 10_000, 20, 5, scopes=("all",)),
    Experiment("lenet5", "digits", 15, 10_000, 20, 5),
)


def run(size: str, seeds: int) -> tuple[list[Row], dict[str, Headline]]:
    """Rows: one a network, scope and K, with every method's mean, sd and ratio. Headlines: K = 2, scope all."""
    experiments = SMALL if size == "small" else PAPER
    if shared_folder() is None:
        experiments = OFFLINE
    rows, ratios = [], {}
    for experiment in experiments:
        for row, found in _rows(
            experiment,
            Trials(f"regularizers-{experiment.arch}-{experiment.data}-{experiment.images}x{experiment.epochs}"),
            seeds,
        ):
            rows.append(row)
            if row.settings["scope"] == "all" and row.settings["k"] == min(experiment.ks):
                ratios[experiment.arch] = found
    headlines = {}
    for name in REGULARIZERS:
        means = {arch: mean(found[name]) for arch, found in ratios.items()}
        pooled = [value for found in ratios.values() for value in found[name]]
        note = "pre-tuning accuracy over k-means', scope all, hardest K, mean over networks and seeds: "
        note += ", ".join(f"{arch} {value:.2f}" for arch, value in means.items())
        bar = "> 1; exp or min >= 2 somewhere" if name in ("exp", "min") else "> 1"
        headlines[f"pretuning_ratio_{name}"] = Headline(mean(means.values()), "x", bar, note, spread(pooled))
    return rows, headlines


def _rows(e: Experiment, trials: Trials, seeds: int) -> Iterator[tuple[Row, dict[str, list[float]]]]:
    pulls = {name: _best_pull(e, trials, name) for name in REGULARIZERS}
    for scope in e.scopes:
        for k in e.ks:
            count = seeds if scope == "all" and (e.all_seeds or k == min(e.ks)) else 1
            found = {m: [_trial(e, trials, s, k, scope, m, pulls.get(m)) for s in range(count)] for m in METHODS}
            ratio = {
                m: [t["shared"] / b["shared"] for t, b in zip(found[m], found["kmeans"], strict=True)] for m in METHODS
            }
            results: dict[str, Any] = {"original": mean(t["original"] for t in found["kmeans"])}
            for method, results_of in found.items():
                for stage, title in (("shared", "pre-tuning"), ("tuned", "post-tuning")):
                    values = [t[stage] for t in results_of]
                    results[f"{method} {title}"] = round(mean(values), 2)
                    results[f"{method} {title} sd"] = spread(values)
                results[f"{method} ratio"] = round(mean(ratio[method]), 3)
            settings = {"arch": e.arch, "data": e.data, "scope": scope, "k": k, "seeds": count, "pull": pulls}
            settings |= {"images": e.images, "epochs": e.epochs, "tune_epochs": e.tune_epochs}
            yield (
                Row(f"{e.arch} {scope} K={k}", "test accuracy before and after tuning, percent", settings, results),
                ratio,
            )


def _best_pull(e: Experiment, trials: Trials, name: str) -> float:
    """The strength whose network has the best validation accuracy before tuning, at the hardest K."""
    validation = {p: _trial(e, trials, 0, min(e.ks), "all", name, p)["val_shared"] for p in PULLS}
    return max(PULLS, key=lambda p: validation[p])


def _trial(
    e: Experiment, trials: Trials, seed: int, k: int, scope: str, method: str, pull: float | None
) -> dict[str, float]:
    def measure() -> dict[str, float]:
        spec = data_spec(e.data) if e.data != "digits" else "digits"
        shared = shared_folder()
        assert spec is not None
        if e.checkpoint is not None and shared is not None:
            checkpoint = shared / "ckpt" / e.checkpoint
        else:
            checkpoint = trained_checkpoint(e.arch, spec, seed, e.pretrain_epochs)
        config = e.settings(seed, k, scope, method, pull)
        dataset = some_of(load_dataset(spec), e.images, e.images // 5)
        return share_and_tune(checkpoint, replace(config, data=spec), dataset)

    own = f" pull {pull:g}" if pull is not None and method in REGULARIZERS else ""
    return trials.get(f"{scope} K={k} {method}{own} seed {seed}", measure)
