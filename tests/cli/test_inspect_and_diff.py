"""`qacomp inspect` and `qacomp diff`: what a container holds, and what two don't have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qacomp.formats import SharedTensor, save_file

Qacomp = Callable[..., Any]  # the fixture `qacomp`: runs a command line, gives .code, .out, .err and .json
BOOK = np.array([-0.5, 0.0, 0.25, 0.75], np.float32)


def write(path: Path, shift: float = 0.0, settings: str = "k = 4\n", **more: Any) -> Path:
    indices = np.arange(600).reshape(20, 30) % 4
    tensors: dict[str, Any] = {
        "a.weight": SharedTensor(BOOK, indices.astype(np.uint8)),
        "b.weight": SharedTensor(BOOK + np.float32(shift), indices.T.astype(np.uint8)),
        "norm": np.ones(7, np.float32),
    }
    save_file(path, tensors | more, meta={"settings": settings, "arch": "net", "source": {"sha256": "abc"}})
    return path


def test_inspect_shows_sizes_and_entropy(qacomp: Qacomp, tmp_path: Path) -> None:
    path = write(tmp_path / "a.qac")
    document = qacomp("inspect", path, "--json").json
    by_name = {t["name"]: t for t in document["tensors"]}
    assert by_name["a.weight"]["entropy_bits_per_weight"] == pytest.approx(2.0)
    assert by_name["norm"]["entropy_bits_per_weight"] is None
    assert document["fp32_bytes"] == 4 * 1207
    assert document["ratio"] == pytest.approx(document["fp32_bytes"] / path.stat().st_size)
    packed, coded = document["stages"][2:]
    assert packed["indices"] == 300 and coded["bytes"] == path.stat().st_size
    shown = qacomp("inspect", path).out
    assert "entropy" in shown and "coded, .qac" in shown and "k = 4" in shown


def test_all_commands_tell_the_same_bytes_of_a_tensor(qacomp: Qacomp, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    book = np.linspace(-1, 1, 16, dtype=np.float32)
    drawn = {f"w{n}": np.minimum(random.integers(0, 16, (90, 100)), n).astype(np.uint8) for n in range(0, 16, 2)}
    tensors = {name: SharedTensor(book, indices) for name, indices in drawn.items()}
    path, page = tmp_path / "a.qac", tmp_path / "report.html"
    report = save_file(path, {**tensors, "norm": random.random(30, np.float32)})
    told = {t.name: t.bytes for t in report.tensors}
    save_file(tmp_path / "b.qac", {"norm": np.zeros(9, np.float32)})
    document = qacomp("inspect", path, "--json", "--report", page, "--no-measure").json
    assert {t["name"]: t["bytes"] for t in document["tensors"]} == told
    bits = {t["name"]: t["bits_per_weight"] for t in document["tensors"]}
    assert all(t["bits_per_weight"] == 8 * t["bytes"] / t["values"] for t in document["tensors"])
    assert bits["w0"] < 0.1 and all(
        bits[t.name] == pytest.approx(t.entropy_bits, rel=0.1, abs=0.1) for t in report.tensors[:8]
    )
    inside = [s["bytes"] for s in document["sections"] if s["tensors"]]
    assert sum(told.values()) == sum(inside) and len(inside) == 2
    assert {t["name"]: t["bytes"] for t in qacomp("verify", path, "--json").json["tensors"]} == told
    changes = qacomp("diff", path, tmp_path / "b.qac", "--json").json["tensors"]
    assert {t["name"]: t["bytes"][0] for t in changes} == told
    gate = qacomp("gate", tmp_path / "b.qac", "--against", path, "--json").json["difference"]["tensors"]
    assert {t["name"]: t["bytes"][0] for t in gate} == told
    shown, html = qacomp("inspect", path).out, page.read_text(encoding="utf-8")
    assert all(f"{told[name]:,}" in shown and f"<td>{told[name]:,}</td>" in html for name in tensors)


def test_inspect_names_the_settings_that_were_chosen(qacomp: Qacomp, tmp_path: Path) -> None:
    from qacomp.options.config import CompressConfig

    settings = CompressConfig(k=4, include=("a.*",)).to_toml()
    shown = qacomp("inspect", write(tmp_path / "a.qac", settings=settings)).out
    assert 'k = 4, include = ["a.*"]' in shown and "momentum" not in shown  # a default
    assert "arch: net" in shown and "source: sha256 abc" in shown
    answer = qacomp("inspect", write(tmp_path / "b.qac", settings="of another\nprogram"))
    assert answer.code == 0 and "of another program" in answer.out


def test_inspect_writes_the_page_and_compress_too(qacomp: Qacomp, packed: Path, trained: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    answer = qacomp("inspect", packed, "--report", page, "--json")
    assert answer.code == 0 and answer.json["container_bytes"] == packed.stat().st_size
    assert "fc1.weight" in page.read_text(encoding="utf-8") and "median latency" in page.read_text(encoding="utf-8")
    page.unlink()
    flags = ("--k", "4", "--tune-epochs", "0", "--report", page, "--snapshots", tmp_path / "none")
    assert qacomp("compress", trained, *flags, "-o", tmp_path / "m.qac").code == 0
    assert 'class="before"' in page.read_text(encoding="utf-8")
    answer = qacomp("compress", trained, "--report", tmp_path / "absent" / "r.html", "-o", tmp_path / "n.qac")
    assert answer.code == 1 and "absent" in answer.err and not (tmp_path / "n.qac").exists()


def test_the_same_file_twice_has_no_difference(qacomp: Qacomp, tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.qac"), write(tmp_path / "b.qac")
    document = qacomp("diff", a, b, "--json").json
    assert document["same"] is True and document["tensors"] == [] and document["unchanged"] == 3
    answer = qacomp("diff", a, b, "--exit-code")
    assert answer.code == 0 and "are equal: 3 tensors" in answer.out


def test_every_kind_of_difference(qacomp: Qacomp, tmp_path: Path) -> None:
    a = write(tmp_path / "a.qac", old=np.zeros(5, np.float32), side=np.zeros(3, np.float32))
    b = write(tmp_path / "b.qac", 0.125, "k = 8\nreg = 'exp'\n", new=np.zeros(5), side=np.zeros(4, np.float32))
    document = qacomp("diff", a, b, "--json").json
    changes = {t["name"]: t for t in document["tensors"]}
    assert {name: t["change"] for name, t in changes.items()} == {
        "b.weight": "changed",
        "old": "removed",
        "side": "changed",
        "new": "added",
    }
    assert changes["b.weight"]["max_abs"] == pytest.approx(0.125) == changes["b.weight"]["rms"]
    assert changes["side"]["max_abs"] is None and changes["side"]["shape"] == [[3], [4]]
    assert changes["old"]["bytes"][1] is None and changes["new"]["dtype"] == [None, "float64"]
    assert document["settings"] == {"k": [4, 8], "reg": [None, "exp"]}
    assert document["provenance"] == {} and document["unchanged"] == 2 and document["same"] is False
    assert document["bytes"] == [a.stat().st_size, b.stat().st_size]
    answer = qacomp("diff", a, b)
    assert answer.code == 0
    for piece in ("~ b.weight", "+ new", "− old", "3 → 4", "0.125", "1 added, 1 removed, 2 changed, 2 unchanged"):
        assert piece in answer.out, piece
    assert qacomp("diff", a, b, "--exit-code").code == 1


def test_a_finer_codebook_of_equal_values_is_a_change(qacomp: Qacomp, tmp_path: Path) -> None:
    indices = (np.arange(600).reshape(20, 30) % 4).astype(np.uint8)
    wider = SharedTensor(np.append(BOOK, np.float32(2)), indices)
    a, b = write(tmp_path / "a.qac"), write(tmp_path / "b.qac", 0.0, "k = 4\n", **{"a.weight": wider})
    (change,) = qacomp("diff", a, b, "--json").json["tensors"]
    assert change["k"] == [4, 5] and change["max_abs"] == 0


def test_diff_of_what_is_no_container(qacomp: Qacomp, tmp_path: Path) -> None:
    good = write(tmp_path / "a.qac")
    (tmp_path / "b.qac").write_bytes(good.read_bytes()[:200])
    for other in ("b.qac", "absent.qac"):
        answer = qacomp("diff", good, tmp_path / other)
        assert answer.code == 1 and other in answer.err and answer.err.startswith("qacomp: error: ")
