"""Many small tensors clustered together: as good as one by one, and each for itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qacomp.sharing.alike_kmeans import MOST_K, MOST_VALUES, clustered_ahead, kmeans_alike
from qacomp.sharing.assignment import assign
from qacomp.sharing.kmeans import kmeans
from qacomp.sharing.selection import Layer


def arrays_of(seed: int, count: int, size: int, tails: float) -> list[NDArray[np.float32]]:
    """Normal weights, the larger `tails` the more of them far out."""
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal(size) * rng.random(size) ** tails).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("size", [256, 512, 1024])
@pytest.mark.parametrize("k", [2, 3, 8, 16])
@pytest.mark.parametrize("tails", [0, 2])
def test_clusters_are_as_good_as_one_by_one(size: int, k: int, tails: float) -> None:
    arrays = arrays_of(3, 24, size, tails)
    together = [found.inertia for found in kmeans_alike(arrays, k)]
    alone = [kmeans(array, k).inertia for array in arrays]
    assert sum(together) <= 1.001 * sum(alone)
    assert max(a / b for a, b in zip(together, alone, strict=True)) <= 1.03


@given(
    values=st.lists(
        st.lists(st.floats(-1024, 1024, width=32) | st.sampled_from([0.0, 1.0, -1.0]), min_size=20, max_size=20),
        min_size=1,
        max_size=6,
    ),
    k=st.integers(2, MOST_K),
)
@settings(deadline=None)
def test_any_values_get_the_nearest_of_at_most_k(values: list[list[float]], k: int) -> None:
    arrays = [np.array(row, np.float32).reshape(4, 5) for row in values]
    for array, found in zip(arrays, kmeans_alike(arrays, k), strict=True):
        assert 1 <= found.codebook.size <= k and found.codebook.dtype == np.float32
        assert (np.diff(found.codebook) > 0).all()
        assert np.array_equal(found.indices, assign(array, found.codebook))
        error = array.astype(np.float64) - found.codebook.take(found.indices)
        assert found.inertia == pytest.approx(float((error * error).sum()))
        assert found.inertia <= 1.5 * kmeans(array, k).inertia + 1e-6 * float(np.square(array, dtype=np.float64).sum())


@given(seed=st.integers(0, 1000), size=st.sampled_from([40, 100, 512]), k=st.sampled_from([2, 4, 16]))
@settings(max_examples=20, deadline=None)
def test_an_array_is_clustered_for_itself(seed: int, size: int, k: int) -> None:
    arrays = arrays_of(seed, 5, size, 1)
    together = kmeans_alike(arrays, k)
    for array, found in zip(arrays, together, strict=True):
        (alone,) = kmeans_alike([array], k)
        assert np.array_equal(alone.codebook, found.codebook) and np.array_equal(alone.indices, found.indices)


def test_only_small_finite_tensors_that_are_alike_are_clustered_ahead() -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, NDArray[np.floating]] = {
        f"a{i}": rng.standard_normal((16, 32)).astype(np.float32) for i in range(6)
    }
    arrays |= {f"b{i}": rng.standard_normal((8, 32)).astype(np.float32) for i in range(2)}  # too few
    arrays |= {f"c{i}": rng.standard_normal(MOST_VALUES + 1).astype(np.float32) for i in range(5)}
    arrays |= {f"d{i}": rng.standard_normal((16, 32)) for i in range(5)}  # float64
    arrays["a0"][0, 0] = np.nan
    layers = [Layer(name, "dense", array.shape, 16) for name, array in arrays.items()]
    found = dict(zip(arrays, clustered_ahead(layers, arrays.__getitem__), strict=True))
    assert [name for name, clusters in found.items() if clusters is not None] == ["a1", "a2", "a3", "a4", "a5"]
    assert all(clusters.indices.shape == (16, 32) for clusters in found.values() if clusters is not None)
