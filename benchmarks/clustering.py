"""One-dimensional k-means against scikit-learn's, on one layer's worth of weights: speed and inertia."""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from result import Headline, Row, in_turns, median, spread
from sklearn.cluster import KMeans

from qacomp.sharing.kmeans import assign, kmeans

WEIGHTS = 2_359_296  # a 512 x 512 x 3 x 3 convolution
BARS = {16: ">= 20", 256: ">= 200"}


def run(size: str, seeds: int) -> tuple[list[Row], dict[str, Headline]]:
    """The suite: rows and headlines. scikit-learn's clustering depends on a seed: one is drawn per repeat."""
    values = np.random.default_rng(0).laplace(scale=0.02, size=WEIGHTS).astype(np.float32)
    rows, headlines, worst = [], {}, 0.0
    for k, bar in BARS.items():
        repeats = max(1, seeds)
        ours = kmeans(values, k)  # also warms up
        ratios, fast, slow, inertias = [], [], [], []
        for seed in range(repeats):
            reference = KMeans(k, n_init=1, random_state=seed)
            tasks: dict[str, Callable[[], object]] = {
                "qacomp": lambda k=k: kmeans(values, k),  # type: ignore[misc]
                "scikit-learn": lambda reference=reference: reference.fit(values[:, None]),  # type: ignore[misc]
            }
            times = in_turns(tasks, 1) if k <= 16 else once(tasks)
            fast.append(times["qacomp"][0])
            slow.append(times["scikit-learn"][0])
            ratios.append(slow[-1] / fast[-1])
            inertias.append(inertia(values, reference.cluster_centers_))
        ratio = ours.inertia / float(np.mean(inertias))
        worst = max(worst, ratio)
        results = {
            "qacomp_seconds": round(median(fast), 4),
            "scikit_learn_seconds": round(median(slow), 3),
            "speedup": round(median(ratios), 1),
            "qacomp_inertia": ours.inertia,
            "scikit_learn_inertia": {"best": min(inertias), "mean": float(np.mean(inertias))},
            "inertia_ratio": ratio,
            "inertia_ratio_to_the_best_run": ours.inertia / min(inertias),
        }
        description = "codebook and indices of Laplace-distributed weights, scikit-learn with n_init = 1"
        rows.append(Row(f"K={k}", description, {"weights": WEIGHTS, "k": k, "repeats": repeats}, results))
        note = (
            f"{WEIGHTS:,} Laplace-distributed float32 weights, CPU seconds of one thread in turns, median of {repeats}"
        )
        headlines[f"kmeans_speedup_k{k}"] = Headline(median(ratios), "x", bar, note, spread(ratios))
    note = (
        "our inertia (deterministic) over the mean of scikit-learn's runs with n_init = 1, both in float64 against the "
        "nearest centre; the worse of K = 16 and K = 256; its best run in the rows"
    )
    headlines["kmeans_inertia_ratio"] = Headline(worst, "x", "<= 1", note)
    return rows, headlines


def inertia(values: NDArray[np.float32], centres: NDArray[np.float32]) -> float:
    """Σ (v − nearest centre)² in float64: scikit-learn's own sum of millions of terms is kept in float32."""
    codebook = np.sort(centres.reshape(-1))
    error = values.astype(np.float64) - codebook.astype(np.float64)[assign(values, codebook)]
    return float(error @ error)


def once(tasks: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Like `in_turns`, without a warm-up round: scikit-learn takes the better part of a minute for K = 256."""
    times = {}
    for name, task in tasks.items():
        start = time.process_time()
        task()
        times[name] = [time.process_time() - start]
    return times
