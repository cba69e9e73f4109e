"""The HTML report: everything is on it, names from files are text only, and a browser finds nothing to complain of."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pages import HOSTILE, Outline

import qacomp
from qacomp.errors import OutputNotWritableError
from qacomp.formats import Level, SharedTensor, save_file
from qacomp.report import gather, write_report
from qacomp.training.history import BINS

ROOT = Path(__file__).resolve().parents[2]


def images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(240) % 4
    x = np.clip(rng.random((4, 8, 8))[y] + 0.1 * rng.normal(size=(240, 8, 8)), 0, 1).astype(np.float32)
    return {"x_train": x[:200], "y_train": y[:200], "x_test": x[200:], "y_test": y[200:]}


@pytest.fixture(scope="module")
def result() -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 4))
    return qacomp.compress(model, images(), k=4, min_size=1, reg="exp", epochs=4, tune_epochs=2, batch_size=32)


@pytest.fixture(scope="module")
def page(result: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = result.report(tmp_path_factory.mktemp("report") / "report.html")
    return path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A container whose every word is an attack; what has the wrong type is refused (test_metadata.py)."""
    folder = tmp_path_factory.mktemp("hostile")
    rng = np.random.default_rng(0)
    book = np.array([-1.0, 0.5, 2.0], np.float32)
    tensors: dict[str, Any] = {
        HOSTILE.replace("\x00", ""): SharedTensor(book, rng.integers(0, 3, (20, 30)).astype(np.uint8)),
        "n" * 10_000: rng.normal(size=(8, 8)).astype(np.float32),
        "empty": np.zeros((0, 3), np.float32),
    }
    words = ("arch", "data", "settings", "qacomp")
    meta: dict[str, Any] = dict.fromkeys(words, HOSTILE)
    meta |= {
        "source": {"sha256": HOSTILE, "kind": HOSTILE},
        "accuracy": {HOSTILE: 1.0},
    }
    save_file(folder / "hostile.qac", tensors, meta=meta, graph=HOSTILE.encode())
    return write_report(folder / "hostile.html", folder / "hostile.qac")


def test_everything_is_on_the_page(result: Any, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    tags = Outline(text).tags
    sections = [attributes["id"] for tag, attributes in tags if tag == "section"]
    assert sections == [
        "sizes",
        "accuracy",
        "verdict",
        "agreement",
        "layers",
        "weights",
        "training",
        "time",
        "remarks",
        "provenance",
    ]
    assert f"{result.container_bytes:,}" in text and f"{result.checkpoint_bytes:,}" in text
    onnx = ("decoded, dense ONNX", "decoded, lut ONNX")
    for stage in ("fp32 weights", "shared, bit-packed", "coded, .qac", *onnx):
        assert stage in text
    for layer in result.layers:
        assert layer.name in text
        assert layer.skipped is None or layer.skipped in text
        assert layer.k is None or layer.codec_reason in text
    for value in (result.accuracy.original, result.accuracy.decoded):
        assert f"{value:.2f} %" in text
    assert "epochs = 4" in text and "onnxruntime" in text and "ms" in text
    assert text.count('class="before"') == text.count('class="after"') == text.count('class="during"') - 1 == 2


def test_the_page_loads_nothing_and_runs_nothing(page: Path, hostile: Path) -> None:
    for path in (page, hostile):
        text = path.read_text(encoding="utf-8")
        tags = Outline(text).tags
        assert not {"script", "img", "iframe", "object", "form", "base"} & {tag for tag, _ in tags}
        assert "default-src 'none'" in text and "script-src" not in text
        for _, attributes in tags:
            assert not [name for name in attributes if name.startswith("on")]
            assert attributes.get("href") in (None, "data:,") and "src" not in attributes
        assert "url(" not in text and "@import" not in text


def test_hostile_names_are_text(hostile: Path) -> None:
    text = hostile.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script" not in text and "\u202e" not in text and "\x00" not in text
    assert "9,880 characters" in text and "n" * 200 not in text
    assert len(text) < 60_000
    assert "The dense ONNX file isn&#x27;t measured: " in text


def test_a_container_alone_has_a_report(page: Path, result: Any, tmp_path: Path) -> None:
    saved = result.save(tmp_path / "net.qac")
    text = write_report(tmp_path / "r.html", saved, measure=False).read_text(encoding="utf-8")
    ids = [attributes["id"] for tag, attributes in Outline(text).tags if tag == "section"]
    assert ids == ["sizes", "accuracy", "verdict", "agreement", "layers", "weights", "provenance"]
    with pytest.raises(OutputNotWritableError):
        write_report(tmp_path / "absent" / "r.html", saved, measure=False)


def test_levels_of_a_progressive_container_are_points(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    fine = np.array([-1.0, -0.5, 0.5, 1.0], np.float32)
    indices = rng.integers(0, 4, (40, 50)).astype(np.uint8)
    known = {"level2": {"accuracy": 40.5}, "level4": {"accuracy": 50, "macs": 7}}
    meta = {"submodels": known, "accuracy": {"tuned": 50}}
    coarse = (Level(np.array([-0.7, 0.7], np.float32), np.array([0, 0, 1, 1])),)
    save_file(tmp_path / "m.qac", {"w": SharedTensor(fine, indices, coarse)}, meta=meta)
    contents = gather(tmp_path / "m.qac", None)
    (row,) = contents.tensors
    assert row.levels == tuple(fine.tolist()) and sum(row.shares) == pytest.approx(1)
    shares = np.bincount(indices.reshape(-1)) / indices.size
    assert row.entropy == pytest.approx(-(shares * np.log2(shares)).sum())
    assert dict(contents.facts)["levels"] == "2"
    assert [(p.name, p.accuracy, p.macs) for p in contents.points] == [("level2", 40.5, None), ("level4", 50, 7)]
    assert contents.points[0].bytes < contents.points[1].bytes <= (tmp_path / "m.qac").stat().st_size
    text = write_report(tmp_path / "r.html", tmp_path / "m.qac").read_text(encoding="utf-8")
    assert "Operating points" in text and "level2 40.50 %" in text


def test_codebooks_in_blocks_count_as_one_alphabet(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 4, (200, 30)).astype(np.uint8)
    book = np.sort(rng.normal(size=(200, 1, 4)).astype(np.float32), -1)
    save_file(tmp_path / "m.qac", {"w": SharedTensor(book, indices, blocks=(1, 30))})
    (row,) = gather(tmp_path / "m.qac", None).tensors
    assert row.used == row.k == 4 and row.blocks == (1, 30)
    assert row.entropy == pytest.approx(2, abs=0.01)
    assert len(row.levels) == 256 and sum(row.shares) == pytest.approx(1)  # 800 values, in bins
    assert "per block of 1×30" in write_report(tmp_path / "r.html", tmp_path / "m.qac").read_text(encoding="utf-8")


def test_an_onnx_model_has_its_weights_and_its_agreement_on_the_page(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["<y>"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("<y>", TensorProto.FLOAT, ["n", 16])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    done = qacomp.compress(tmp_path / "m.onnx", k=4, output=tmp_path / "m.qac")
    contents = gather(done.output, done)
    (row,) = (r for r in contents.tensors if r.k)
    error = np.sqrt(((qacomp.decode(done, to="numpy")["w"] - weight) ** 2).mean() / (weight**2).mean())
    assert row.error == pytest.approx(error, rel=1e-5)
    assert [h.stage for h in row.history] == ["original"]
    assert [a.name for a in contents.agreement] == ["<y>"] and 0.9 < (contents.agreement[0].cosine or 0) < 1
    text = done.report(tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Agreement with the original" in text and "&lt;y&gt;" in text and "lut ONNX" in text
    x = np.random.default_rng(1).normal(size=(12, 64)).astype(np.float32)
    measured = qacomp.compress(tmp_path / "m.onnx", {"x": x, "y": x @ weight}, k=4, metric="mse")
    assert measured.metric is not None and measured.metric.decoded > 1e-3 > measured.metric.original
    text = measured.report(tmp_path / "measured.html").read_text(encoding="utf-8")
    assert f"On the data, mse: original {measured.metric.original:.6g}, decoded {measured.metric.decoded:.6g}" in text


def test_parts_of_a_stage_add_up(result: Any) -> None:
    contents = gather(result.output, result)
    for stage in contents.stages:
        assert not stage.parts or sum(size for _, size in stage.parts) == stage.bytes
    assert contents.ratio == pytest.approx(result.ratio)


def test_histories_count_every_weight(result: Any) -> None:
    for row in gather(result.output, result).tensors:
        if row.k is None:
            continue
        assert [h.stage for h in row.history] == ["original", "epoch 2 of 4", "fine-tuned"]
        assert all(len(h.counts) == BINS and sum(h.counts) == row.values for h in row.history)
        assert row.error is not None and 0 < row.error < 1


def test_snapshots_are_checkpoints_of_the_quarters(tmp_path: Path) -> None:
    from torch import nn

    from qacomp.checkpoints import read_checkpoint

    torch.manual_seed(0)
    dense = nn.Linear(64, 4)
    model = nn.Sequential(nn.Flatten(), dense)
    settings: dict[str, Any] = {"k": 4, "reg": "min", "tune_epochs": 0, "batch_size": 64, "epochs": 20}
    done = qacomp.compress(model, images(), snapshots=tmp_path / "during", **settings)
    assert sorted(p.name for p in (tmp_path / "during").iterdir()) == [f"epoch-{n:04}.pt" for n in (5, 10, 15, 20)]
    last = read_checkpoint(tmp_path / "during" / "epoch-0020.pt")
    assert set(last.state) == {"1.weight", "1.bias"}
    nearest = np.abs(last.state["1.weight"].numpy()[..., None] - qacomp.decode(done, to="numpy")["1.weight"].ravel())
    before = np.abs(dense.weight.detach().numpy()[..., None] - qacomp.decode(done, to="numpy")["1.weight"].ravel())
    assert nearest.min(-1).mean() < 0.7 * before.min(-1).mean()  # gathered


def test_a_real_browser_finds_nothing_wrong(page: Path, hostile: Path) -> None:
    spec = importlib.util.spec_from_file_location("browser", ROOT / "benchmarks" / "browser.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["browser"] = module
    spec.loader.exec_module(module)
    path = module.find_browser()
    if path is None:
        pytest.skip("no Chromium here; name one in QACOMP_BROWSER")
    with module.open_browser(path) as browser:
        screens = []
        for target, ways in (
            (page, ({}, {"dark": True}, {"width": 360}, {"scripts": False})),
            (hostile, ({"dark": True, "width": 360}, {"scripts": False})),
        ):
            for how in ways:
                seen = browser.visit(target, **how)
                screens.append(seen.screenshot)
                assert seen.errors == [] and len(seen.requests) == 1, (target.name, how, seen.errors, seen.requests)
                assert seen.overflow <= 0, (target.name, how, seen.overflow)
                assert "Provenance" in seen.text
    assert screens[0] != screens[1], "the page in the dark"
