"""Metadata of wrong types, out of a file: one line with the field's name, from every reader, and never a crash."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qacomp.diff import compare
from qacomp.errors import FormatError, QacompError
from qacomp.exporting.decode import decode_file
from qacomp.exporting.operating_points import operating_points
from qacomp.formats import SharedTensor, open_file, save_file
from qacomp.graphs.metadata import FIELDS, checked, from_text
from qacomp.report.contents import gather

WRONG: list[Any] = [0, -1, 1.5, True, "x", [], [1], ["x"], [None], {}, {"a": 1}, {"a": "x"}, {"a": [1]}, 10**30]
RIGHT: dict[str, Any] = {
    "qacomp": "1.0",
    "source": {"sha256": "0" * 64, "bytes": 5, "kind": "module"},
    "settings": "k = 4",
    "levels": [4],
    "arch": "lenet5",
    "data": "digits",
    "graph": "original",
    "num_classes": 10,
    "input_shape": [1, 28, 28],
    "preprocessing": {"size": [28, 28], "channels": 1, "mean": [0.0], "std": [1.0]},
    "batch_norms": {"bn": 1e-5},
    "accuracy": {"original": 97.5, "shared": None},
    "pruning": {"rate": 0.5},
    "folder": {"weights": [{"file": "m.safetensors", "tensors": 2, "prefix": "", "metadata": {}}], "sha256": {}},
    "submodels": {"level4": {"macs": 100, "accuracy": 90.0}},
    "agreement": {"outputs": [{"name": "y", "cosine": 0.9, "max_abs_error": 0.1, "top1": None}]},
    "metric": {"name": "mse", "original": 1.0, "decoded": 1.5},
}


def write(path: Path, meta: dict[str, Any]) -> Path:
    weights = SharedTensor(np.arange(4, dtype=np.float32), np.arange(40).reshape(4, 10).astype(np.uint8) % 4)
    save_file(path, {"w": weights, "bn.weight": np.ones(4, np.float32)}, meta=meta)
    return path


def read(path: Path) -> None:
    """All that reads a container of bare weights."""
    gather(path, None)
    compare(path, path)
    with open_file(path) as container:
        operating_points(container)
    decode_file(path, path.with_suffix(".safetensors"))


def test_right_metadata_are_read(tmp_path: Path) -> None:
    assert RIGHT.keys() == FIELDS.keys()
    read(write(tmp_path / "a.qac", {k: v for k, v in RIGHT.items() if k not in ("levels", "submodels")}))
    assert checked(RIGHT, "a") is RIGHT


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_fields_of_wrong_types_are_named(tmp_path: Path, name: str) -> None:
    check, _ = FIELDS[name]
    wrong = [value for value in WRONG if not check(value)]
    assert len(wrong) > 5
    with pytest.raises(FormatError, match=name):
        read(write(tmp_path / "a.qac", {name: wrong[0]}))
    for value in wrong:
        with pytest.raises(FormatError, match=name) as caught:
            checked({name: value}, "a.qac")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_no_value_of_a_field_makes_a_reader_crash(tmp_path: Path, name: str) -> None:
    """Each is read, or refused in one line: also what has the right type and a senseless value."""
    for value in WRONG:
        path = write(tmp_path / "a.qac", {name: value})
        for action in (lambda path: gather(path, None), lambda path: compare(path, path), read):
            try:
                action(path)
            except QacompError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("field", ["input_shape", "batch_norms", "settings"])
def test_the_commands_say_it_in_one_line(tmp_path: Path, field: str, capfd: pytest.CaptureFixture[str]) -> None:
    from qacomp.cli.main import main

    path = write(tmp_path / "a.qac", {field: -1})
    for words in (["inspect", str(path)], ["diff", str(path), str(path)]):
        with pytest.raises(SystemExit) as left:
            main(words)
        told = capfd.readouterr().err
        assert left.value.code == 1 and field in told and "Traceback" not in told


@pytest.mark.parametrize(
    "text", ["[]", "{", "NaN", '{"data": 5}', '{"input_shape": [0]}', '{"input_shape": [65535, 65535]}']
)
def test_metadata_that_another_file_carries(text: str) -> None:
    with pytest.raises(FormatError):
        from_text(text, "model.onnx")


def test_what_isnt_listed_is_kept(tmp_path: Path) -> None:
    meta = {"of the user's": [1, {"a": None}]}
    with open_file(write(tmp_path / "a.qac", meta)) as container:
        assert container.meta == meta == checked(container.meta, "a")
