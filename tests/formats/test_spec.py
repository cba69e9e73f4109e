"""SPEC.md and the code say the same: ids, limits, settings, and the worked example byte by byte."""

import re
from pathlib import Path

import numpy as np

import qacomp.formats
from qacomp.formats import SharedTensor, limits, open_file, records, save_file
from qacomp.formats.codecs import CODECS, codebooks, contextmodel, dictionary
from qacomp.formats.dtypes import DTYPES, dtype_name
from qacomp.formats.prefix import VERSION

FOLDER = Path(qacomp.formats.__file__).parent
SPEC = (FOLDER / "SPEC.md").read_text()
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "v1"


def table(heading: str) -> list[list[str]]:
    """Cells of the rows under the table head that begins with this."""
    lines = SPEC[SPEC.index(heading) :].split("\n")[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_codec_ids() -> None:
    rows = table("| codec | id |")
    assert {int(row[1]): row[0] for row in rows} == {number: codec.name for number, codec in CODECS.items()}
    for row in rows:
        kinds = CODECS[int(row[1])].kinds
        assert ("indices" in row[2]) == ("indices" in kinds) and ("values" in row[2]) == ("values" in kinds)
        if "indices" in kinds:
            assert row[3].replace(",", "").endswith(str(getattr(_module(row[0]), "MAX_ALPHABET", limits.MAX_ALPHABET)))


def _module(name: str) -> object:
    import importlib

    return importlib.import_module(f"qacomp.formats.codecs.{name}")


def test_element_types_and_tensor_kinds() -> None:
    rows = table("| tensor kind | id |")
    types = {int(row[i + 1]): row[i] for row in rows for i in (3, 6) if row[i]}
    assert types == {number: dtype_name(number) for number in DTYPES}
    assert {row[0]: int(row[1]) for row in rows if row[0]} == {"dense": 0, "shared": 1, "same": 2}
    assert (records.DENSE, records.SHARED, records.SAME) == (0, 1, 2)


def test_flags_and_versions() -> None:
    line = next(line for line in SPEC.split("\n") if line.startswith("      7     1   flags:"))
    flags = {"blocks": records.BLOCKS_FLAG, "at once": records.AT_ONCE_FLAG, "leaves": records.LEAVES_FLAG}
    assert f"{flags['blocks']} (if the header has the columns of codebooks in blocks)" in line
    assert f"{flags['at once']} (of levels at once)" in line and f"{flags['leaves']} (of leaf hashes)" in line
    assert [int(row[0]) for row in table("| minor | adds |")] == list(range(VERSION[1] + 1))
    added = [row[1] for row in table("| minor | adds |")]
    assert f"codebooks in blocks: flag {flags['blocks']}" in added[1]
    assert f"levels at once: flag {flags['at once']}" in added[1]
    assert added[4].startswith(f"leaf hashes: flag {flags['leaves']}")
    for codec in CODECS.values():
        assert ("flag" if codec.since == 1 else f"the codec {codec.name}") in added[codec.since] or not codec.since


def test_methods_of_codebooks() -> None:
    told = re.findall(r"^    method (\d): p = (.*)$", SPEC, re.MULTILINE)
    assert [int(number) for number, _ in told] == list(range(codebooks.LINE + 1))
    assert told[codebooks.LINE][1].endswith(f"K at most {codebooks.MOST_ENTRIES}")


def test_section_kinds() -> None:
    kinds = [int(row[1]) for row in table("| kind | id | owner |")]
    assert kinds == [
        records.GRAPH,
        records.META,
        records.VALUES,
        records.INDICES,
        records.VALUE_CHUNK,
        records.INDEX_CHUNK,
    ]


def test_limits() -> None:
    told = {row[0]: int(row[1]) for row in table("| limit | value |")}
    assert told == {name: getattr(limits, name) for name in dir(limits) if name.isupper()}


def test_context_settings_and_taps() -> None:
    rows = table("| setting | filter |")
    told = [contextmodel.Setting(int(r[1]), int(r[2]), int(r[3]), int(r[4]), r[5] == "yes") for r in rows]
    assert tuple(told) == contextmodel.SETTINGS and [int(row[0]) for row in rows] == list(range(len(rows)))
    taps = tuple(tuple(int(n) for n in row[1].split(",")) for row in table("| taps | weights"))
    assert taps == contextmodel.TAPS and all(sum(t) == 16 for t in taps)


def test_the_version() -> None:
    assert SPEC.startswith(f"# The qacomp container (`.qac`), version {'.'.join(map(str, VERSION))}\n")


def test_the_dictionary() -> None:
    text = SPEC.split("### 6.6 ")[1].split("\n##")[0]
    lines = [line.removeprefix("    ") for line in text.split("\n") if line.startswith("    ")]
    assert "".join(lines).encode() == dictionary.DICTIONARY and len(dictionary.DICTIONARY) > 3000


def example(heading: str) -> bytes:
    """The bytes that a section of the specification lists."""
    lines = SPEC[SPEC.index(heading) :].split("\n## ")[0].split("\n")
    text = [m[1] for line in lines if (m := re.match(r"    ((?:[0-9a-f]{2} ){0,7}[0-9a-f]{2})(?: |$)", line))]
    return bytes.fromhex("".join(text))


def test_the_worked_example_of_blocks(tmp_path: Path) -> None:
    books = np.array([[[-1, 1]], [[-2, 2]]], np.float32)
    tensor = SharedTensor(books, np.array([[0, 1, 1], [1, 0, 0]], np.uint8), (), (1, 3))
    save_file(tmp_path / "a.qac", {"w": tensor}, precision="fp16")
    data = example("## 9.")
    assert data == (tmp_path / "a.qac").read_bytes()
    with open_file(data) as container:
        assert container.tensor("w").tolist() == [[-1, 1, 1], [2, -2, -2]]


def test_the_worked_example() -> None:
    data = example("## 8.")
    assert data == (GOLDEN / "tiny.qac").read_bytes()
    with open_file(data) as container:
        assert container.tensor("w").tolist() == [[-0.5, 0, 0, 0.5], [0, 0, -0.5, 0.5]]
        assert container.tensor("b").tolist() == [1, -2] and container.meta == {"arch": "tiny"}
        assert container.tensor("w").dtype == np.float32
