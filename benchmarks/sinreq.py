"""SinReQ's experiment (Elthakeb et al., table 1): quantized training with and without the sinusoidal regularizer.

DoReFa, DoReFa + SinReQ, WRPN, WRPN + SinReQ at 3, 4 and 5 bits on simplenet and ResNet-20, CIFAR-10J: test accuracy of
the network with its quantized weights, every layer quantized, levels in each layer's own units. Each fine-tuning sees a
part of the training images and starts from a trained network; both of a pair have the same seed and the same batches.
SinReQ's strength (`pull`) is chosen on the validation split of seed 0 at 3 bits. ResNet-20 has all seeds at 3 bits, one
elsewhere. `--size paper`: all images, 75 epochs.
Every trial is kept in benchmarks/work. Wants the shared folder.
"""

from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from _trials import Trials, data_spec, share_and_tune, some_of, trained_checkpoint
from result import Headline, Row, shared_folder, spread

from qacomp.datasets import load_dataset
from qacomp.options.config import CompressConfig

BITS = (3, 4, 5)
QUANTIZERS = ("dorefa", "wrpn")
PULLS = (0.25, 1.0, 4.0)


@dataclass(frozen=True)
class Experiment:
    """One network and how long it is trained."""

    arch: str
    pretrain_epochs: int
    images: int
    epochs: int
    checkpoint: str | None = None
    all_seeds: bool = True

    def seeds(self, bits: int, wanted: int) -> range:
        """All of them, or those of the fewest bits only."""
        return range(wanted if self.all_seeds or bits == min(BITS) else 1)


SMALL = (
    Experiment("simplenet", 8, 10_000, 4),
    Experiment("resnet20", 0, 5_000, 3, checkpoint="resnet20_cifar10j.pth", all_seeds=False),
)
PAPER = (
    Experiment("simplenet", 60, 45_000, 75),
    Experiment("resnet20", 0, 45_000, 75, checkpoint="resnet20_cifar10j.pth"),
)


def run(size: str, seeds: int) -> tuple[list[Row], dict[str, Headline]]:
    """Rows: one a network and number of bits. Headlines: the gain at 3 bits, mean over networks and seeds."""
    if shared_folder() is None:
        nothing = Headline(None, "points", "> 0", "skipped: wants CIFAR-10J in the shared folder")
        return [], {f"sinreq_gain_{q}_3bit": nothing for q in QUANTIZERS}
    rows, gains = [], {}
    for e in SMALL if size == "small" else PAPER:
        trials = Trials(f"sinreq-{e.arch}-{e.images}x{e.epochs}")
        pulls = {q: _best_pull(e, trials, q) for q in QUANTIZERS}
        for bits in BITS:
            results: dict[str, Any] = {}
            chosen = e.seeds(bits, seeds)
            for q in QUANTIZERS:
                plain = [_trial(e, trials, s, q, bits, None)["shared"] for s in chosen]
                drawn = [_trial(e, trials, s, q, bits, pulls[q])["shared"] for s in chosen]
                for label, values in ((q, plain), (f"{q} + sinreq", drawn)):
                    results[label], results[f"{label} sd"] = round(mean(values), 2), spread(values)
                gains[q, e.arch, bits] = [b - a for a, b in zip(plain, drawn, strict=True)]
                results[f"{q} gain"], results[f"{q} gain sd"] = (
                    mean(gains[q, e.arch, bits]),
                    spread(gains[q, e.arch, bits]),
                )
            results["full precision"] = mean(_trial(e, trials, s, "dorefa", bits, None)["original"] for s in chosen)
            settings = {
                "arch": e.arch,
                "bits": bits,
                "seeds": len(chosen),
                "images": e.images,
                "epochs": e.epochs,
                "pull": pulls,
            }
            rows.append(Row(f"{e.arch} {bits} bits", "test accuracy in percent, CIFAR-10J", settings, results))
    headlines = {}
    for q in QUANTIZERS:
        by_arch = {arch: values for (name, arch, bits), values in gains.items() if name == q and bits == min(BITS)}
        pooled = [value for values in by_arch.values() for value in values]
        note = "points of test accuracy that SinReQ adds at 3 bits, mean over networks and seeds: "
        note += ", ".join(f"{arch} {mean(v):+.2f} (sd {spread(v) or 0:.2f})" for arch, v in by_arch.items())
        headlines[f"sinreq_gain_{q}_3bit"] = Headline(mean(pooled), "points", "> 0", note, spread(pooled))
    return rows, headlines


def _best_pull(e: Experiment, trials: Trials, quantizer: str) -> float:
    validation = {p: _trial(e, trials, 0, quantizer, min(BITS), p)["val_shared"] for p in PULLS}
    return max(PULLS, key=lambda p: validation[p])


def _trial(e: Experiment, trials: Trials, seed: int, quantizer: str, bits: int, pull: float | None) -> dict[str, float]:
    def measure() -> dict[str, float]:
        spec, shared = data_spec("cifar10j"), shared_folder()
        assert spec is not None and shared is not None
        checkpoint = trained_checkpoint(e.arch, spec, seed, e.pretrain_epochs) if e.checkpoint is None else None
        config = CompressConfig(arch=e.arch, quantizer=quantizer, bits=bits, epochs=e.epochs, seed=seed)
        config = replace(config, distill="none", batch_size=64, augment="crop-flip", data=spec)
        if pull is not None:
            config = replace(config, reg="sinreq", pull=pull, schedule="tanh")
        dataset = some_of(load_dataset(spec), e.images, 2_000)
        return share_and_tune(checkpoint or shared / "ckpt" / str(e.checkpoint), config, dataset)

    own = "" if pull is None else f" + sinreq pull {pull:g}"
    return trials.get(f"{quantizer}{own} {bits} bits seed {seed}", measure)
