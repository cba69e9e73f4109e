"""The reader of .safetensors headers accepts only what the library accepts too, and reads the same from it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from qacomp.errors import NotACheckpointError
from qacomp.folders.weights_file import read_weights_file

STATE = {"a": torch.arange(6, dtype=torch.float32).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}
WHOLE = save(STATE, {"format": "pt"})
LENGTH = int.from_bytes(WHOLE[:8], "little")
HEADER: dict[str, Any] = json.loads(WHOLE[8 : 8 + LENGTH])
DATA = WHOLE[8 + LENGTH :]


def written(path: Path, header: Any, data: bytes = DATA) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("headers")


def agrees(path: Path) -> bool:
    """Whether the file is read; if so, the library reads the same."""
    try:
        found = read_weights_file(path)
    except NotACheckpointError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return False
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == set(found.tensors) and (file.metadata() or {}) == found.metadata
        for name in found.tensors:
            tensor = file.get_tensor(name)
            own = found.read(name)
            assert tensor.reshape(-1).view(torch.uint8).numpy().tobytes() == own.tobytes()
            assert own.shape == tuple(tensor.shape)
    return True


def test_a_file_of_the_library_is_read(folder: Path) -> None:
    (folder / "w").write_bytes(WHOLE)
    assert agrees(folder / "w")
    assert list(read_weights_file(folder / "w").tensors) == ["a", "b"]


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255), st.integers(0, 40))
def test_no_changed_byte_and_no_cut_makes_it_read_another_tensor(folder: Path, at: int, byte: int, cut: int) -> None:
    changed = bytearray(WHOLE)
    changed[at] = byte
    (folder / "m").write_bytes(bytes(changed)[: len(changed) - (cut if cut < 20 else 0)])
    try:
        assert agrees(folder / "m") in (True, False)
    except SafetensorError as error:  # stricter than the library nowhere, but it may be stricter than us in JSON alone
        raise AssertionError(f"read what the library refuses: {error}") from error


@pytest.mark.parametrize(
    "change",
    [
        {"a": {**HEADER["a"], "data_offsets": [0, 20]}},
        {"a": {**HEADER["a"], "data_offsets": [-4, 20]}},
        {"a": {**HEADER["a"], "data_offsets": [4, 28]}},
        {"a": {**HEADER["a"], "shape": [2**62, 3]}},
        {"a": {**HEADER["a"], "shape": [2.0, 3]}},
        {"a": {**HEADER["a"], "shape": [1] * 40 + [6]}},
        {"a": {**HEADER["a"], "dtype": "F4"}},
        {"a": {**HEADER["a"], "dtype": None}},
        {"a": {**HEADER["a"], "more": 1}},
        {"a": 5},
        {"b": HEADER["a"]},
        {"c": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
        {"__metadata__": {"format": 5}},
        {"__metadata__": [1]},
    ],
    ids=str,
)
def test_a_header_that_lies_is_refused(folder: Path, change: dict[str, Any]) -> None:
    assert not agrees(written(folder / "l", HEADER | change))


@pytest.mark.parametrize("header", [b"[]", b"5", b"", b"{", b"\xff", b'{"a":{},"a":{}}', b"[" * 100_000], ids=len)
def test_a_header_that_is_no_table_is_refused(folder: Path, header: bytes) -> None:
    assert not agrees(written(folder / "n", header))


def test_a_header_longer_than_the_file_costs_no_memory(folder: Path) -> None:
    (folder / "h").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    assert not agrees(folder / "h")
    (folder / "h").write_bytes(b"\x05")
    assert not agrees(folder / "h")


def test_bytes_after_the_last_tensor_are_refused(folder: Path) -> None:
    assert not agrees(written(folder / "t", HEADER, DATA + b"\0"))


def test_a_file_that_shrinks_while_it_is_read_is_an_error(folder: Path) -> None:
    path = folder / "s"
    path.write_bytes(WHOLE)
    found = read_weights_file(path)
    path.write_bytes(WHOLE[:-2])
    with pytest.raises(NotACheckpointError, match="ends inside the tensor b"):
        found.read("b")


def test_an_odd_truth_value_is_refused(folder: Path) -> None:
    header = {"t": {"dtype": "BOOL", "shape": [2], "data_offsets": [0, 2]}}
    found = read_weights_file(written(folder / "o", header, b"\1\2"))
    with pytest.raises(NotACheckpointError, match="neither 0 nor 1"):
        found.read("t")
    assert np.array_equal(read_weights_file(written(folder / "o", header, b"\1\0")).read("t"), [True, False])
