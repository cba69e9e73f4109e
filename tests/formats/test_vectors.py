"""The shared test vectors: the numpy reader and the C decoder find what their JSON says, and refuse what is damaged."""

import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from refusals import refused_by_c

from qacomp.formats import BFLOAT16, FormatError, open_file
from qacomp.formats.native import Mode, open_native

FOLDER = Path(__file__).resolve().parents[1] / "vectors" / "v1"
MODES = (Mode("fast"), Mode("lean", by_function=True))
SMALL = 450  # bytes of a file of which every byte is flipped


def _contents() -> ModuleType:
    spec = importlib.util.spec_from_file_location("vector_contents", FOLDER.parent / "contents.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["vector_contents"] = module
    spec.loader.exec_module(module)
    return module


CONTENTS = _contents()
NAMES = tuple(CONTENTS.VECTORS)


def told(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def test_vectors_are_there_and_never_written_again() -> None:
    lines = (FOLDER / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert sums == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in FOLDER.iterdir() if p.suffix}
    assert set(sums) == {f"{name}.{kind}" for name in NAMES for kind in ("qac", "json")}
    with pytest.raises(SystemExit, match="kept for good"):
        CONTENTS.write(NAMES[0])


def test_vectors_hold_every_codec_and_version() -> None:
    codecs, versions = set(), set()
    for name in NAMES:
        with open_file(FOLDER / f"{name}.qac") as container:
            codecs |= {section.codec for section in container.sections}
            versions.add(container.version)
    assert len(codecs) == 15 and versions == {(1, minor) for minor in range(7)}


@pytest.mark.parametrize("name", NAMES)
def test_the_numpy_reader_finds_what_is_told(name: str) -> None:
    assert CONTENTS.description((FOLDER / f"{name}.qac").read_bytes()) == told(name)


@pytest.mark.usefixtures("c_decoder")
@pytest.mark.parametrize("mode", MODES, ids=("fast", "lean"))
@pytest.mark.parametrize("name", NAMES)
def test_the_c_decoder_finds_what_is_told(name: str, mode: Mode) -> None:
    expected = told(name)
    data = (FOLDER / f"{name}.qac").read_bytes()
    with open_native(data, mode) as container, open_file(data) as ours:
        assert container.root == ours.root
        assert list(container.version) == expected["version"]
        assert list(container.names) == [tensor["name"] for tensor in expected["tensors"]]
        for tensor in expected["tensors"]:
            for level, digest in enumerate(tensor["sha256"]):
                array = container.tensor(tensor["name"], level=level)
                dtype = "bfloat16" if array.dtype == BFLOAT16 else array.dtype.name
                assert (dtype, list(array.shape)) == (tensor["dtype"], tensor["shape"])
                assert hashlib.sha256(array.tobytes()).hexdigest() == digest, (tensor["name"], level)
        graph, meta = container.graph(), json.loads(container.meta_bytes() or b"{}")
        blobs = {"graph": graph, "metadata": json.dumps(meta, sort_keys=True).encode()}
        for kind, blob in blobs.items():
            assert (None if blob is None else hashlib.sha256(blob).hexdigest()) == expected[kind]
        container.check()


@pytest.mark.usefixtures("c_decoder")
@pytest.mark.parametrize("name", NAMES)
def test_every_flipped_byte_and_every_cut_is_refused_by_both(name: str) -> None:
    data = (FOLDER / f"{name}.qac").read_bytes()
    for place in range(0, len(data), 1 if len(data) <= SMALL else 29):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        assert refused_by_c(bytes(damaged)) and refused_by_c(data[:place])
        with pytest.raises(FormatError):
            open_file(bytes(damaged)).check()
        with pytest.raises(FormatError):
            open_file(data[:place])
    assert not refused_by_c(data)
