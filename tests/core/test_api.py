"""The Python interface: every kind of model and data, results that save and decode, a notebook's progress."""

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import qacomp
from qacomp.errors import CheckpointError, ConfigError, OutputNotWritableError
from qacomp.notebook import NotebookProgress, choose_progress
from qacomp.progress import SilentProgress


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 10))


def arrays() -> dict[str, np.ndarray]:
    """Ten classes of noisy 8x8 patterns: what a linear layer can tell apart."""
    rng = np.random.default_rng(0)
    patterns = rng.random((10, 8, 8))
    y = np.arange(240) % 10
    x = np.clip(patterns[y] + 0.1 * rng.normal(size=(240, 8, 8)), 0, 1).astype(np.float32)
    return {"x_train": x[:200], "y_train": y[:200], "x_test": x[200:], "y_test": y[200:]}


@pytest.fixture(scope="module")
def result() -> Any:
    return qacomp.compress(small_net(), arrays(), k=4, reg="exp", epochs=1, tune_epochs=1, batch_size=32)


def test_a_module_with_arrays_is_compressed_and_left_as_it_was() -> None:
    model = small_net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    done = qacomp.compress(model, arrays(), k=4, epochs=1, tune_epochs=1, reg="exp", preprocess="size=8", batch_size=32)
    assert done.arch == "Sequential" and done.accuracy.decoded is not None
    assert done.max_abs_error is not None and done.max_abs_error < 1e-3
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    shared = qacomp.decode(done)
    assert len(torch.unique(shared["4.weight"])) <= 4
    model.load_state_dict(shared)


def test_a_result_saves_decodes_and_cleans_up(result: Any, tmp_path: Path) -> None:
    import onnx

    saved = result.save(tmp_path / "net.qac")
    assert saved.stat().st_size == result.container_bytes
    model = result.to_onnx()
    onnx.checker.check_model(model)
    written = result.to_onnx(tmp_path / "net.onnx")
    assert written.output_bytes == (tmp_path / "net.onnx").stat().st_size and written.accuracy is None
    for name, value in qacomp.decode(saved, to="numpy").items():
        np.testing.assert_array_equal(value, qacomp.decode(saved)[name].numpy())
    with pytest.raises(OutputNotWritableError):
        result.save(tmp_path / "absent" / "net.qac")
    with pytest.raises(ConfigError, match="torch, numpy, onnx"):
        qacomp.decode(saved, to="jax")


def test_a_result_without_output_lives_as_long_as_its_file() -> None:
    done = qacomp.compress({"w": np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)}, k=4)
    folder = done.output.parent
    assert done.output.is_file()
    del done
    assert not folder.exists()


def test_a_failed_call_leaves_no_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ConfigError, match="class scores"):
        qacomp.compress(nn.Sequential(nn.Conv2d(1, 2, 3)), arrays(), k=4)
    assert not list(tmp_path.iterdir())


def test_state_dicts_keep_what_is_not_shared() -> None:
    rng = np.random.default_rng(0)
    state: dict[str, Any] = {
        "w": torch.from_numpy(rng.normal(size=(30, 40)).astype(np.float32)),
        "half": torch.from_numpy(rng.normal(size=7).astype(np.float32)).half(),
        "steps": np.array(3),
    }
    done = qacomp.compress(state, k=8, stored_precision="exact")
    back = qacomp.decode(done)
    assert len(torch.unique(back["w"])) == 8
    assert back["half"].dtype == torch.float16 and torch.equal(back["half"], state["half"])
    assert back["steps"].item() == 3
    state["w"] = np.asarray(state["w"])
    same = qacomp.compress(state, k=8, stored_precision="exact")
    assert same.output.read_bytes() == done.output.read_bytes()


def test_a_module_whose_input_nobody_knows_gives_weights_alone() -> None:
    done = qacomp.compress(small_net(), k=4)
    assert done.arch is None and any("input_shape" in note for note in done.notes)
    shaped = qacomp.compress(small_net(), k=4, input_shape=(1, 8, 8))
    assert shaped.arch == "Sequential" and shaped.max_abs_error is not None


def test_settings_come_from_a_config_a_mapping_or_a_file(tmp_path: Path) -> None:
    weights = {"w": np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)}
    (tmp_path / "run.toml").write_text("k = 4\n")
    configs: list[Any] = [qacomp.CompressConfig(k=4), {"k": 4}, tmp_path / "run.toml"]
    assert {qacomp.compress(weights, None, c).settings["k"] for c in configs} == {4}
    assert qacomp.compress(weights, None, configs[0], k=5).settings["k"] == 5
    with pytest.raises(ConfigError, match="colour"):
        qacomp.compress(weights, colour="red")  # type: ignore[call-arg]
    with pytest.raises(CheckpointError, match="list"):
        qacomp.compress([1, 2, 3])  # type: ignore[arg-type]


def test_the_prompt_and_the_notebook_show_the_result(result: Any) -> None:
    assert f"{result.container_bytes:,} bytes" in repr(result) and "accuracy" in str(result)
    page = result._repr_html_()
    assert f"{result.container_bytes:,} bytes" in page and "4.weight" in page
    hostile = qacomp.compress({"<script>alert(1)</script>": np.eye(40, dtype=np.float32)}, k=2)
    assert "<script" not in hostile._repr_html_()


def test_a_bar_redraws_one_display() -> None:
    shown: list[tuple[str, Any]] = []

    def show(markup: str, handle: Any) -> str:
        shown.append((markup, handle))
        return "handle"

    progress = NotebookProgress(show)
    with progress.task("fine-tune", 10) as task:
        for _ in range(10):
            task.advance()
        task.describe("loss <1>")
    assert shown[0][1] is None and all(handle == "handle" for _, handle in shown[1:])
    assert "10 of 10" in shown[-1][0] and "loss &lt;1&gt;" in shown[-1][0]
    progress.note("a < b")
    assert "a &lt; b" in shown[-1][0]


def test_a_notebook_gets_bars_and_a_script_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(choose_progress(None), SilentProgress)
    shell = type("ZMQInteractiveShell", (), {})()
    calls: list[str] = []
    handle = types.SimpleNamespace(update=lambda markup: calls.append("update " + markup))

    def draw(markup: str, display_id: bool) -> Any:
        calls.append(markup)
        return handle

    display = types.SimpleNamespace(HTML=str, display=draw)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    chosen = choose_progress(None)
    with chosen.task("tune", 2) as task:
        task.advance(2)
    assert calls[0].startswith("<div>") and calls[-1].startswith("update ")
    assert isinstance(choose_progress(False), SilentProgress)
    assert choose_progress(chosen) is chosen


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, qacomp; dir(qacomp); print(sorted({'torch', 'numpy', 'onnx', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError, match="decompress"):
        qacomp.decompress  # noqa: B018
    assert set(qacomp.__all__) <= set(dir(qacomp))
    for name in qacomp.__all__:
        assert getattr(qacomp, name) is not None


def test_an_editor_and_a_prompt_complete_every_keyword() -> None:
    """The types that an editor reads, the signature that a prompt reads, and what the call takes are the same names."""
    import inspect
    from dataclasses import fields

    from qacomp.api import Call, Keywords
    from qacomp.options.config import CompressConfig

    wanted = {f.name for f in fields(CompressConfig)} | {f.name for f in fields(Call)}
    shown = set(inspect.signature(qacomp.compress).parameters) - {"model", "config", "output"}
    assert set(Keywords.__annotations__) | {"data"} == wanted == shown
    with pytest.raises(ConfigError, match="did you mean 'stored_precision'"):
        qacomp.compress({"w": np.ones((4, 4), np.float32)}, stored_precison="exact")  # type: ignore[call-arg]
