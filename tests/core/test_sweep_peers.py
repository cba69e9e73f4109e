"""Other forms of a model beside a sweep's front: measured as its trials are, NNCodec in a process of its own."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from two_products import two_products

import qacomp
from qacomp.models import create_model
from qacomp.options.config import CompressConfig
from qacomp.sources.how_to_read import Reading
from qacomp.sources.open_any import open_source
from qacomp.sweeping.changed import changed_loss
from qacomp.sweeping.nncodec_peer import VARIABLE, PeerError, nncodec_python, nncodec_runs
from qacomp.sweeping.peers import int8_weights
from qacomp.sweeping.trials import loss_of


def test_peers_are_measured_as_trials_are(tmp_path: Path) -> None:
    """The decoded weights of a container give the loss that compressing gave."""
    model = tmp_path / "m.onnx"
    onnx.save(two_products(), model)
    torch.manual_seed(0)
    torch.save(create_model("lenet300", 10).state_dict(), tmp_path / "net.pt")
    x = np.random.default_rng(0).standard_normal((40, 32)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(40 * 32, dtype=np.float32).reshape(40, 32))
    for file, more in (
        (model, {}),
        (model, {"data": f"npz:{tmp_path / 'd.npz'}"}),
        (tmp_path / "net.pt", {"arch": "lenet300"}),
    ):
        config = CompressConfig(k=4).with_settings(more, "test")
        result = qacomp.compress(file, None, config, tmp_path / "c.qac")
        source, config, data = open_source(file, None, config, Reading(), print)
        with qacomp.open_file(tmp_path / "c.qac") as container:
            changed = {name: np.asarray(container.tensor(name), np.float32) for name in container.names}
        measure, loss = changed_loss(source, config, data)(changed)
        wanted = loss_of(result)
        assert measure == wanted[0] and loss == pytest.approx(wanted[1], rel=1e-4) and loss > 0


@pytest.fixture
def nncodec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of that name, whose coder rounds to tenths: what is tested is how it is called."""
    place = tmp_path / "site" / "nncodec"
    place.mkdir(parents=True)
    (place / "__init__.py").write_text("")
    (place / "nn.py").write_text(
        "import io, numpy as np\nprint('noise')\n"
        "def encode(weights, options):\n    open('left-over', 'w').close()\n    buffer = io.BytesIO()\n"
        "    np.savez(buffer, **{n: w.round(1) + 0 * options['qp'] for n, w in weights.items()})\n"
        "    return buffer.getvalue()\n"
        "def decode(coded):\n    return dict(np.load(io.BytesIO(coded)))\n"
    )
    monkeypatch.syspath_prepend(str(place.parent))
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(place.parent))
    yield place


def test_nncodec_runs_in_a_process_of_its_own(nncodec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weights = {"a/b": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), "c": np.ones(2, np.float32)}
    assert nncodec_python() == sys.executable
    first, second = nncodec_runs(weights, (-38, -26), repeats=2)
    assert (first.qp, second.qp) == (-38, -26) and first.bytes == second.bytes > 100
    assert list(first.decoded) == ["a/b", "c"] and not (tmp_path / "left-over").exists()
    assert np.array_equal(first.decoded["a/b"], weights["a/b"].round(1)) and "nncodec.nn" not in sys.modules
    assert len(first.encode) == len(first.decode) == 2 and min(first.encode + first.decode) >= 0
    (nncodec / "nn.py").write_text("raise ImportError('no such thing')")
    with pytest.raises(PeerError, match="NNCodec is installed and fails: ImportError: no such thing"):
        nncodec_runs(weights, (-38,))


def test_the_python_that_is_named(nncodec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That Python needn't have qacomp, nor what NNCodec imports and doesn't need."""
    (nncodec / "nn.py").write_text("import pandas, flwr.client\n" + (nncodec / "nn.py").read_text())
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    with pytest.raises(PeerError, match=f"{VARIABLE} names .*none, which fails: No such file"):
        nncodec_runs({"a": np.ones(2, np.float32)}, (-38,))
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\ntouch {tmp_path}/called\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(wrapper))
    (run,) = nncodec_runs({"a": np.full(2, 0.26, np.float32)}, (-38,))
    assert run.decoded["a"].tolist() == pytest.approx([0.3, 0.3]) and (tmp_path / "called").exists()


def test_without_nncodec_a_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr("qacomp.sweeping.nncodec_peer.find_spec", lambda name: None)
    assert nncodec_python() is None
    with pytest.raises(PeerError, match=f"install the package nncodec, or name its Python in {VARIABLE}"):
        nncodec_runs({}, (-38,))


def test_int8_rounds_to_half_a_step_of_each_channel() -> None:
    weights = np.random.default_rng(0).standard_normal((4, 6, 3)).astype(np.float32)
    weights[:, 2] = 0
    integers, scales = int8_weights(weights, 1)
    assert scales.shape == (1, 6, 1) and integers.dtype == np.int8
    assert np.all(np.abs(integers * scales - weights) <= scales / 2 * 1.0001)
    assert np.abs(integers).max(axis=(0, 2)).tolist() == [127, 127, 0, 127, 127, 127]
