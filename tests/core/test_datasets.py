"""Which data there is, how it is split, and data that a function of the user's gives."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qacomp.datasets import Dataset, load_dataset
from qacomp.datasets.split import stratified_part
from qacomp.errors import ConfigError, DataError, UnknownDataSpecError


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("digit", r"did you mean digits\?.*cifar10:DIR"),
        ("imagenet:/x", "give one of"),
        ("", "give one of"),
        ("npz", "npz:FILE"),
        ("npz:", "npz:FILE"),
        ("digits:8", "must be written as digits"),
        ("no_such_module_here:data", r"module:function"),
        ("not a module:data", r"module:function"),
    ],
)
def test_unknown_specs_list_the_known(spec: str, said: str) -> None:
    with pytest.raises(UnknownDataSpecError, match=said):
        load_dataset(spec)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_impossible_fractions_are_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match="fraction"):
        load_dataset("digits", validation_fraction=fraction)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.floats(0.01, 0.99))
def test_stratified_part_has_its_share_of_every_class(labels: list[int], fraction: float) -> None:
    y = np.array(labels, dtype=np.int64)
    part = stratified_part(y, fraction)
    assert np.array_equal(part, stratified_part(y, fraction))
    for label in set(labels):
        count, taken = int((y == label).sum()), int(part[y == label].sum())
        assert abs(taken - count * fraction) <= 1 and taken < count


def test_digits_have_a_fixed_test_part() -> None:
    data = load_dataset("digits")
    assert (len(data.train), len(data.val), len(data.test)) == (1294, 144, 359)
    assert data.num_classes == 10 and data.train.x.max() == 255


def test_missing_folders_are_named(tmp_path: Path) -> None:
    for kind in ("mnist", "cifar10", "cifar100", "images"):
        with pytest.raises(DataError, match="does not exist"):
            load_dataset(f"{kind}:{tmp_path / 'absent'}")


def test_a_users_own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_data_module.py").write_text(
        "import numpy as np\n"
        "from qacomp.datasets import Dataset, Split\n"
        "x = np.arange(40 * 16, dtype=np.uint8).reshape(40, 4, 4)\n"
        "y = np.arange(40) % 4\n"
        "part = Split(x, y)\n"
        "def mapping(): return {'x_train': x, 'y_train': y, 'x_test': x, 'y_test': y}\n"
        "def dataset(): return Dataset('mine', 4, part, part, part)\n"
        "def number(): return 3\n"
        "def ragged(): return {**mapping(), 'x_train': [[1], [2, 3]]}\n"
        "def classes(): return {**mapping(), 'num_classes': 'four'}\n"
        "def broken(): raise RuntimeError('no\\ndisk')\n"
    )
    monkeypatch.chdir(tmp_path)
    made = load_dataset("own_data_module:mapping")
    assert made.num_classes == 4 and len(made.train) + len(made.val) == 40
    whole = load_dataset("own_data_module:dataset")
    assert isinstance(whole, Dataset) and len(whole.val) == 40
    for function, said in (
        ("number", "not int"),
        ("broken", "RuntimeError: no disk"),
        ("absent", "AttributeError"),
        ("ragged", "must be arrays"),
        ("classes", "num_classes must be one whole number"),
    ):
        with pytest.raises(DataError, match=said):
            load_dataset(f"own_data_module:{function}")
