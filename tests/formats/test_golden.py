"""Files of every version stay readable for good: the golden ones are never written again, and a missing one fails."""

import hashlib
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from qacomp.formats import Coding, SharedTensor, open_file, save_file, stored_values, verify_file
from qacomp.formats.codecs import CODECS

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def _contents() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_contents", GOLDEN / "contents.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["golden_contents"] = module
    spec.loader.exec_module(module)
    return module


CONTENTS = _contents()


def sums() -> dict[str, str]:
    lines = (GOLDEN / "v1" / "SHA256SUMS").read_text().split("\n")
    return {name: digest for digest, name in (line.split("  ") for line in lines if line)}


@pytest.mark.parametrize("name", CONTENTS.GOLDEN)
def test_golden_files_are_there_and_unchanged(name: str) -> None:
    data = (GOLDEN / "v1" / f"{name}.qac").read_bytes()
    assert hashlib.sha256(data).hexdigest() == sums()[f"{name}.qac"]


def test_every_sum_has_its_golden_file() -> None:
    assert set(sums()) == {path.name for path in (GOLDEN / "v1").glob("*.qac")} == {f"{n}.qac" for n in CONTENTS.GOLDEN}


@pytest.mark.parametrize("name", CONTENTS.GOLDEN)
def test_golden_files_decode_to_what_was_written(name: str) -> None:
    tensors, options = CONTENTS.GOLDEN[name]()
    precision = options.get("precision", "exact")
    path = GOLDEN / "v1" / f"{name}.qac"
    with open_file(path) as container:
        assert list(container.names) == list(tensors)
        assert container.meta == options.get("meta", {}) and container.graph() == options.get("graph")
        for key, tensor in tensors.items():
            back = container.tensor(key)
            if isinstance(tensor, SharedTensor):
                expected = replace(tensor, codebook=stored_values(tensor.codebook, precision)).dense()
                assert container.shared(key).blocks == tensor.blocks
                assert np.array_equal(container.shared(key).indices, tensor.indices)
                for number, level in enumerate(tensor.levels):
                    coarse = stored_values(level.codebook, precision)[tensor.at_level(number).indices]
                    assert np.array_equal(container.tensor(key, level=number), coarse)
            else:
                expected = stored_values(tensor, precision) if tensor.ndim <= 1 else tensor
            assert back.shape == expected.shape and back.dtype == expected.dtype
            assert back.tobytes() == expected.tobytes()
    verify_file(path)


def test_golden_files_hold_every_codec() -> None:
    seen: set[str] = set()
    for path in (GOLDEN / "v1").glob("*.qac"):
        with open_file(path) as container:
            seen |= {section.codec for section in container.sections}
    assert seen == {codec.name for codec in CODECS.values()}


LIBRARY = {"zstd", "lzma", "deflate"}
"""Codecs whose bytes are a library's: its next version may give others."""
BETTER = {"twobyte": "planes"}
"""Golden files that today's encoder writes in fewer bytes: planes that repeat themselves go under zstd since."""


@pytest.mark.parametrize("name", CONTENTS.GOLDEN)
def test_golden_files_are_written_again_byte_for_byte(name: str, tmp_path: Path) -> None:
    """The same input gives the same bytes on any machine at any time, from the codecs that the file's version has.

    Only readers are bound to old files for good.
    """
    tensors, options = CONTENTS.GOLDEN[name]()
    minor = (GOLDEN / "v1" / f"{name}.qac").read_bytes()[5]
    coding = options.get("coding", Coding())
    if coding.codecs is None:
        known = tuple(codec.name for codec in CODECS.values() if codec.since <= minor)
        coding = replace(coding, codecs=known)
    save_file(tmp_path / "a.qac", tensors, **options | {"coding": coding})
    sections = []
    for path in (GOLDEN / "v1" / f"{name}.qac", tmp_path / "a.qac"):
        data = path.read_bytes()
        with open_file(data) as container:
            sections.append([(s, data[s.offset : s.offset + s.bytes]) for s in container.sections])
    assert [(s.kind, s.codec, s.level, s.tensors) for s, _ in sections[0]] == [
        (s.kind, s.codec, s.level, s.tensors) for s, _ in sections[1]
    ]
    for (section, old), (_, new) in zip(*sections, strict=True):
        if section.codec == BETTER.get(name):
            assert len(new) < len(old)
        elif section.codec not in LIBRARY and name != "zstd_planes":
            assert new == old
