"""`qacomp gate`: each limit holds and fails, what can't be checked fails, and hostile names stay text everywhere."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import qacomp as package
from qacomp.errors import ConfigError
from qacomp.formats import SharedTensor, save_file
from qacomp.gating import GateLimits, junit, markdown
from qacomp.gating.markdown import safe

Qacomp = Callable[..., Any]  # the fixture `qacomp`: runs a command line, gives .code, .out, .err and .json
BOOK = np.array([-0.5, 0.0, 0.25, 0.75], np.float32)
STATED = {
    "accuracy": {"original": 95.0, "shared": 90.0, "tuned": 94.0},
    "verdict": "doubtful",
    "verdict_advice": "--k 9",
}


def write(path: Path, shift: float = 0.0, meta: dict[str, Any] | None = None, **more: Any) -> Path:
    indices = (np.arange(600).reshape(20, 30) % 4).astype(np.uint8)
    tensors: dict[str, Any] = {
        "a.weight": SharedTensor(BOOK, indices),
        "b.weight": SharedTensor(BOOK + shift, indices.T),
    }
    save_file(path, tensors | more, meta=STATED if meta is None else meta)
    return path


def results(document: Any) -> dict[str, str]:
    return {check["limit"]: check["result"] for check in document["checks"]}


def test_without_limits_the_checksums_alone_decide(qacomp: Qacomp, tmp_path: Path) -> None:
    path = write(tmp_path / "a.qac")
    answer = qacomp("gate", path, "--json")
    assert answer.code == 0 and answer.err == ""
    assert list(results(answer.json).values()) == ["holds", "no limit", "no limit", "no limit"]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    answer = qacomp("gate", path, "--json")
    assert answer.code == 1 and not answer.json["passed"] and "checksums" in answer.err


@pytest.mark.parametrize(
    ("flags", "fails", "said"),
    [
        (("--max-bytes", "100KB", "--max-drop", "1", "--min-verdict", "doubtful"), "", ""),
        (
            (
                "--max-bytes",
                "100",
            ),
            "bytes",
            "allowed: at most 100 bytes",
        ),
        (
            (
                "--max-bytes",
                "1000x",
            ),
            "bytes",
            "at most 4 bytes",
        ),
        (("--max-drop", "0.9"), "metric drop", "1 points: accuracy 95 -> 94 %, stated in the file, not measured"),
        (("--min-verdict", "good"), "verdict", "doubtful, stated in the file; allowed: good; try --k 9"),
    ],
)
def test_each_limit_of_the_file_itself(
    qacomp: Qacomp, tmp_path: Path, flags: tuple[str, ...], fails: str, said: str
) -> None:
    answer = qacomp("gate", write(tmp_path / "a.qac"), *flags)
    assert answer.code == (1 if fails else 0)
    assert answer.err.startswith(f"qacomp: gate: {fails}: ") if fails else answer.err == ""
    assert len(answer.err.splitlines()) == bool(fails) and said in answer.err
    assert "fail" in answer.out if fails else "all hold" in answer.out


def test_a_figure_that_the_file_lacks_fails_and_says_what_to_do(qacomp: Qacomp, tmp_path: Path) -> None:
    bare = write(tmp_path / "a.qac", meta={})
    answer = qacomp("gate", bare, "--max-drop", "1", "--min-verdict", "good", "--json")
    assert answer.code == 1 and list(results(answer.json).values()) == ["holds", "no limit", "fails", "fails"]
    assert "the file states no metric" in answer.err and "compress again with --data" in answer.err
    half = write(tmp_path / "b.qac", meta={"metric": {"name": "cosine", "decoded": 0.9}, "verdict": "not measured"})
    answer = qacomp("gate", half, "--max-drop", "1", "--min-verdict", "doubtful", "--json")
    assert results(answer.json)["metric drop"] == results(answer.json)["verdict"] == "fails"
    assert "no cosine of the original" in answer.err and "not measured, stated" in answer.err
    assert qacomp("gate", half).code == 0


def test_an_error_that_rises_is_a_drop_too(tmp_path: Path) -> None:
    meta = {"metric": {"name": "mse", "original": 0.25, "decoded": 0.5}}
    path = write(tmp_path / "a.qac", meta=meta)
    held = {most: package.gate(path, GateLimits(max_drop=most)).passed for most in (0.2, 0.25)}
    assert held == {0.2: False, 0.25: True}


def test_the_last_release(qacomp: Qacomp, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    last = write(tmp_path / "last.qac", side=np.ones(3, np.float32))
    meta = STATED | {"accuracy": {"original": 95.0, "decoded": 93.0}}
    new = write(tmp_path / "new.qac", 0.01, meta, side=rng.standard_normal(999).astype(np.float32))
    told = qacomp("gate", new, "--against", last, "--json")
    assert told.code == 0 and list(results(told.json).values()).count("no limit") == 6
    found = {check["limit"]: check["value"] for check in told.json["checks"]}
    assert found["growth since"] == new.stat().st_size - last.stat().st_size
    assert found["metric drop since"] == 1 and found["tensor changes since"] is None  # another shape
    changes = {t["name"]: t["relative"] for t in told.json["difference"]["tensors"]}
    size = float(np.sqrt(np.mean(BOOK.astype(float) ** 2)))
    assert changes == {"b.weight": pytest.approx(0.01 / size, rel=1e-5), "side": None}
    flags = ("--max-growth", "1%", "--max-drop", "0.5", "--max-change", "0.1")
    answer = qacomp("gate", new, "--against", last, *flags)
    assert answer.code == 1 and "b.weight" in answer.out
    for name in ("metric drop", "metric drop since", "growth since", "tensor changes since"):
        assert f"gate: {name}: " in answer.err
    assert qacomp("gate", new, "--against", last, "--max-growth", "10KB", "--max-drop", "2").code == 0
    same = qacomp("gate", last, "--against", last, "--max-growth", "0", "--max-change", "0")
    assert same.code == 0 and "none, 3 tensors are the same" in same.out


@pytest.mark.parametrize("which", ["own", "last"])
def test_a_broken_file_fails_every_limit_that_needs_it(qacomp: Qacomp, tmp_path: Path, which: str) -> None:
    files = {"own": write(tmp_path / "own.qac"), "last": write(tmp_path / "last.qac")}
    files[which].write_bytes(files[which].read_bytes()[:-20])
    flags = ("--max-bytes", "9KB", "--max-drop", "2", "--min-verdict", "doubtful", "--max-change", "1")
    outputs = ("--markdown", tmp_path / "m.md", "--junit", tmp_path / "j.xml")
    answer = qacomp("gate", files["own"], "--against", files["last"], *flags, *outputs, "--json")
    found = results(answer.json)
    assert answer.code == 1 and answer.json["difference"] is None
    own, last = ("fails", "holds") if which == "own" else ("holds", "fails")
    assert found["bytes"] == "holds" and found["checksums"] == found["verdict"] == found["metric drop"] == own
    assert found.get("last release", "holds") == last and found["tensor changes since"] == "fails"
    assert "❌" in (tmp_path / "m.md").read_text(encoding="utf-8")
    assert ElementTree.parse(tmp_path / "j.xml").getroot().attrib["failures"] == str(len(answer.err.splitlines()))


def test_what_is_no_container_or_no_file(qacomp: Qacomp, tmp_path: Path) -> None:
    other = tmp_path / "a.txt"
    other.write_text("no container")
    assert qacomp("gate", other).code == 1
    for arguments in ((tmp_path / "none.qac",), (write(tmp_path / "a.qac"), "--against", tmp_path / "none.qac")):
        answer = qacomp("gate", *arguments)
        assert answer.code == 1 and "none.qac" in answer.err and len(answer.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--max-growth", "5%"), 1, "give --against"),
        (("--max-bytes", "huge"), 1, "'huge'"),
        (("--against", "a.qac", "--max-growth", "2x"), 1, "a percentage of the last release's bytes"),
        (("--max-drop", "-1"), 2, "x>=0"),
        (("--max-drop", "nan"), 1, "finite"),
        (("--json", "--markdown", "-"), 2, "both write stdout"),
        (("--junit", "a.qac"), 1, "which this command reads"),
        (("--junit", "g", "--markdown", "g"), 1, "the same file"),
    ],
)
def test_a_wrong_command_line(
    qacomp: Qacomp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.qac")
    answer = qacomp("gate", "a.qac", *flags)
    assert answer.code == code and said in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.qac"]
    with pytest.raises(ConfigError, match="min-verdict"):
        package.gate("a.qac", GateLimits(min_verdict="splendid"))


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A small ONNX model on eight values a tensor, measured on data.npz, whose targets are the model's own classes."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((64, 16)).astype(np.float32), rng.standard_normal((16, 32)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", d]) for n, d in (("x", 16), ("y", 32))]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [numpy_helper.from_array(w, "w")])
    np.savez(tmp_path / "data.npz", x=x, y=(x @ w).argmax(axis=1))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    package.compress(model, f"npz:{tmp_path / 'data.npz'}", k=8, output=tmp_path / "m.qac")
    package.compress(model, k=8, output=tmp_path / "no-data.qac")
    return tmp_path / "m.qac"


def test_data_measures_the_decoded_model(qacomp: Qacomp, measured: Path, tmp_path: Path) -> None:
    data = ("--data", f"npz:{tmp_path / 'data.npz'}")
    stated = qacomp("gate", measured, "--max-drop", "50", "--json").json["checks"][2]
    assert stated["result"] == "holds" and "not measured" in stated["found"] and 0 < stated["value"] < 50
    again = qacomp("gate", measured, "--max-drop", "50", *data, "--json")
    assert again.code == 0, again.err
    check = again.json["checks"][2]
    assert "measured on 64 samples" in check["found"] and "the original's stated in the file" in check["found"]
    assert check["value"] == stated["value"]
    with np.load(tmp_path / "data.npz") as arrays:
        np.savez(tmp_path / "other.npz", x=arrays["x"], y=(arrays["y"] + 1) % 32)
    wrong = qacomp("gate", measured, "--max-drop", "50", "--data", f"npz:{tmp_path / 'other.npz'}", "--json")
    assert wrong.code == 1 and wrong.json["checks"][2]["value"] > 90
    assert qacomp("gate", measured, "--max-drop", "50", *data, "--against", measured).code == 0
    other = qacomp("gate", tmp_path / "no-data.qac", "--max-drop", "50", *data)
    assert other.code == 1 and "not known: the file states no accuracy of the original" in other.err
    answer = qacomp("gate", measured, "--max-drop", "50", *data, "--metric", "mse")
    assert answer.code == 1 and "don't fit" in answer.err
    answer = qacomp("gate", measured, "--max-drop", "5", "--data", "npz:none.npz")
    assert answer.code == 1 and "none.npz" in answer.err and answer.out == ""


HOSTILE = (
    *("a|b", "a`b``c", "<script>alert(1)</script>", "]]>&\"'", "\n# h", "x\x1b[31m\u202e\ud800", "@everyone", "#1"),
    *("www.evil.example", "[a](http://b)", "![i](j)", "\\|", "*b*", "_i_", ":tada:", "GH-12", "`" * 9, "n" * 5000, " "),
)


def test_hostile_names_stay_text(qacomp: Qacomp, tmp_path: Path) -> None:
    last = write(tmp_path / "last.qac", meta={"metric": {"name": "m\x00<b>|`@all", "original": 1.0, "decoded": 0.5}})
    for place, name in enumerate(HOSTILE):
        meta = {"metric": {"name": name[:60].replace("\ud800", ""), "original": 1.0, "decoded": 0.5}}
        named: dict[str, Any] = {name.replace("\ud800", ""): np.ones(4, np.float32)}
        new = write(tmp_path / f"{place}.qac", meta=meta, **named)
        limits = GateLimits(max_drop=0.1, max_change=0.1)
        report = package.gate(new, limits, against=last)
        root = ElementTree.fromstring(junit(report))
        cases = list(root.iter("testcase"))
        assert len(cases) == len(report.limits) and len(list(root.iter("failure"))) == len(report.failed) == 3
        table = markdown(report)
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert all(line.count("|") == 5 for line in rows) and len(rows) == 2 + len(report.checks) + 3
        assert all(c == "\n" or c.isprintable() for c in table)
        outside = [re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", line) for line in rows]
        assert all(re.fullmatch(r"[A-Za-z0-9 ,.%()+:;>–✅❌|-]*", line) for line in outside), outside
        answer = qacomp("gate", new, "--against", last, "--max-change", "0.1", "--markdown", "-")
        assert answer.code == 1 and answer.out.startswith("**qacomp gate**") and "\x1b" not in answer.out + answer.err
        json.loads(qacomp("gate", new, "--against", last, "--json").out)


@pytest.mark.parametrize("name", HOSTILE[:-2])
def test_what_could_be_markup_becomes_a_code_span(name: str) -> None:
    span = safe(name)
    assert span.startswith("`") and span.endswith("`") and "|" not in span and "\n" not in span
    fence = len(span) - len(span.lstrip("`"))
    assert "`" * fence not in span[fence:-fence].strip(" ").replace("`" * (fence + 1), "")


def test_plain_words_stay_plain() -> None:
    assert (
        safe("at most 100,000 bytes (+2.10%), 94.15 -> 93.59 %") == "at most 100,000 bytes (+2.10%), 94.15 -> 93.59 %"
    )
