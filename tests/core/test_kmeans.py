"""Clustering on a line against brute force, scikit-learn and its own definition."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.cluster import KMeans

from qacomp.errors import ConfigError
from qacomp.sharing.kmeans import assign, kmeans

VALUES = hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(-100, 100, width=32))


def brute_force(values: np.ndarray, k: int) -> float:
    """Least inertia over all partitions of the sorted values into at most k intervals."""
    ordered = np.sort(values.astype(np.float64))
    n = ordered.size
    best = np.inf
    for cuts in combinations(range(1, n), min(k, n) - 1):
        parts = np.split(ordered, cuts)
        best = min(best, sum(float(((p - p.mean()) ** 2).sum()) for p in parts))
    return best


@given(values=VALUES, k=st.integers(2, 12))
def test_a_clustering_is_one(values: np.ndarray, k: int) -> None:
    found = kmeans(values, k)
    assert 1 <= found.codebook.size <= k
    assert (np.diff(found.codebook) > 0).all()
    assert found.indices.shape == values.shape
    assert np.unique(found.indices).size == found.codebook.size  # no entry is unused
    distance = np.abs(values.astype(np.float64)[:, None] - found.codebook.astype(np.float64))
    chosen = distance[np.arange(values.size), found.indices]
    assert (chosen <= distance.min(axis=1) + 1e-12).all()
    assert found.inertia == pytest.approx(float((chosen**2).sum()), rel=1e-9, abs=1e-12)


@given(values=VALUES, k=st.integers(2, 60))
def test_few_distinct_values_are_kept_exactly(values: np.ndarray, k: int) -> None:
    if np.unique(values).size <= k:
        found = kmeans(values, k)
        assert np.array_equal(found.codebook[found.indices], values)
        assert found.inertia == 0


@pytest.mark.parametrize("seed", range(12))
def test_within_a_few_percent_of_the_optimum(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=14).astype(np.float32)
    assert kmeans(values, 4).inertia <= 1.10 * brute_force(values, 4)


@pytest.mark.parametrize("k", [2, 4, 16, 64])
@pytest.mark.parametrize("kind", ["normal", "laplace", "uniform"])
def test_no_worse_than_scikit_learn(kind: str, k: int) -> None:
    values = getattr(np.random.default_rng(k), kind)(size=20_000).astype(np.float32)
    reference = KMeans(k, n_init=1, random_state=0).fit(values[:, None]).inertia_
    assert kmeans(values, k).inertia <= reference * 1.001


@pytest.mark.parametrize("k", [2, 8, 300])
def test_it_is_a_fixed_point_of_lloyd(k: int) -> None:
    values = np.random.default_rng(0).laplace(size=(50, 400)).astype(np.float32)
    found = kmeans(values, k)
    means = np.bincount(found.indices.ravel(), values.ravel()) / np.bincount(found.indices.ravel())
    np.testing.assert_allclose(found.codebook, means, rtol=1e-4, atol=1e-6)
    assert found.indices.dtype == (np.uint8 if k <= 256 else np.uint16)


def test_repeatable() -> None:
    values = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    assert kmeans(values, 9).codebook.tobytes() == kmeans(values, 9).codebook.tobytes()


@pytest.mark.parametrize("k", [-1, 0, 1, 65_537])
def test_k_out_of_range(k: int) -> None:
    with pytest.raises(ConfigError, match="between 2 and 65,536"):
        kmeans(np.zeros(3, np.float32), k)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(bad: float) -> None:
    with pytest.raises(ConfigError, match="finite"):
        kmeans(np.array([1, bad], np.float32), 2)


def test_assign_takes_the_nearest() -> None:
    values = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    codebook = np.sort(np.random.default_rng(2).normal(size=7)).astype(np.float32)
    expected = np.abs(values[:, None].astype(np.float64) - codebook).argmin(axis=1)
    assert np.array_equal(assign(values, codebook), expected)


@pytest.mark.parametrize("k", [2, 3, 16, 64, 300])
@pytest.mark.parametrize("kind", ["normal", "standard_cauchy", "ties"])
def test_the_assignment_of_many_values_is_the_nearest(kind: str, k: int) -> None:
    rng = np.random.default_rng(k)
    values = rng.integers(-50, 50, 100_000) / 8 if kind == "ties" else getattr(rng, kind)(size=100_000)
    values = values.astype(np.float32)
    codebook = np.unique(rng.choice(values, 4 * k))[:k]
    middles = (codebook[1:].astype(np.float64) + codebook[:-1]) / 2
    assert np.array_equal(assign(values, codebook), np.searchsorted(middles, values))
    halfway = np.resize(middles.astype(np.float32), 100_000)
    assert np.array_equal(assign(halfway, codebook), np.searchsorted(middles, halfway))


@pytest.mark.parametrize("k", [4, 40, 256])
def test_clustering_a_large_layer_by_runs_costs_nothing_to_speak_of(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).laplace(size=400_000).astype(np.float32)
    found = kmeans(values, k)
    monkeypatch.setattr("qacomp.sharing.kmeans._RUNS_FROM", values.size + 1)
    assert found.inertia <= kmeans(values, k).inertia * 1.002


def test_outliers_do_not_cost_clusters() -> None:
    """A value a hundred deviations out once left 183 clusters of 256."""
    values = np.random.default_rng(0).standard_normal(24_576).astype(np.float32)
    values[:6] = [54.9, -60, 80, 97, 120, -140]
    found = kmeans(values, 256)
    assert found.codebook.size == 256
    without = kmeans(values[6:], 250)
    assert found.inertia <= 1.02 * without.inertia


@given(values=hnp.arrays(np.float32, 30, elements=st.floats(-10, 10, width=32)), data=st.data())
def test_a_whole_weight_counts_like_so_many_equal_values(values: np.ndarray, data: st.DataObject) -> None:
    times = data.draw(hnp.arrays(np.int64, 30, elements=st.integers(1, 5)))
    weighted = kmeans(values, 4, times.astype(np.float64))
    repeated = kmeans(np.repeat(values, times), 4)

    def cost(codebook: np.ndarray) -> float:
        error = values.astype(np.float64) - codebook[assign(values, codebook)]
        return float(times @ (error * error))

    assert cost(weighted.codebook) <= 1.25 * cost(repeated.codebook) + 1e-9  # two local optima of one problem
    assert weighted.inertia == pytest.approx(
        float(((values.astype(np.float64) - weighted.codebook[weighted.indices]) ** 2).sum()), rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize("k", [8, 64, 512])
def test_weighted_no_worse_than_scikit_learn(k: int) -> None:
    rng = np.random.default_rng(k)
    scale = np.exp(rng.normal(size=(100, 1)))  # channels of weights from small to large
    values = (scale * rng.laplace(size=(100, 100))).astype(np.float32)
    weights = np.broadcast_to(1 / scale**2, values.shape)
    found = kmeans(values, k, weights)
    own = float((weights * (values - found.codebook[found.indices].astype(np.float64)) ** 2).sum())
    column = values.reshape(-1, 1)
    reference = KMeans(k, n_init=1, random_state=0, max_iter=50).fit(column, sample_weight=weights.reshape(-1)).inertia_
    plain = kmeans(values, k)
    assert own <= 1.02 * reference
    assert own < 0.9 * float((weights * (values - plain.codebook[plain.indices].astype(np.float64)) ** 2).sum())


@pytest.mark.parametrize("weights", [[1.0, 2.0], [1.0, 0.0, 1.0], [1.0, np.nan, 1.0], [1.0, -1.0, 1.0]])
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    with pytest.raises(ConfigError, match="one weight for each value"):
        kmeans(np.array([1.0, 2.0, 4.0], np.float32), 2, np.array(weights))
