"""A short run of the structure-aware fuzzer, and what it found, kept."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
CODECS = {
    *("raw", "bitpack", "huffman", "rans", "context", "planes"),
    *("zstd", "lzma", "twobyte", "codebooks", "grids", "deflate", "pruned", "trellis", "mixing"),
}


@pytest.fixture(scope="module")
def structured() -> ModuleType:
    spec = importlib.util.spec_from_file_location("structured", HERE / "structured.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["structured"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trials(structured: ModuleType) -> object:
    return structured.Trials(2)


def test_some_thousand_mutants_are_refused_identical_or_valid(structured: ModuleType, trials: object) -> None:
    tally = trials.block(range(4000))  # type: ignore[attr-defined]
    assert not tally.findings
    assert {"FormatError", "finding"}.isdisjoint(tally.outcomes) and tally.slowest[0] < structured.SECONDS
    assert min(tally.outcomes[kind] for kind in ("identical", "valid", "HeaderError", "CodecError")) > 20
    assert tally.sealed == {"sealed": 2000, "not sealed": 2000}


def test_the_same_number_gives_the_same_mutant(trials: object) -> None:
    mutants = [trials.mutator.mutant(5, number) for number in (0, 1, 998, 999)]  # type: ignore[attr-defined]
    assert mutants == [trials.mutator.mutant(5, number) for number in (0, 1, 998, 999)]  # type: ignore[attr-defined]
    assert mutants[0] != mutants[2]


def test_seeds_hold_every_codec_and_version(trials: object) -> None:
    from qacomp.formats import open_file

    codecs, versions = set(), set()
    for data in trials.mutator.seeds.values():  # type: ignore[attr-defined]
        with open_file(data) as container:
            codecs |= {section.codec for section in container.sections}
            versions.add(container.version)
    assert codecs == CODECS and versions == {(1, minor) for minor in range(7)}


def test_a_reader_that_raises_something_else_is_found(
    structured: ModuleType, trials: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> str:
        raise KeyError("x")

    monkeypatch.setattr(structured, "outcome", broken)
    tally = trials.block(range(2))  # type: ignore[attr-defined]
    assert [finding["mutant"] for finding in tally.findings] == [0, 1] and tally.outcomes == {"finding": 2}
