"""The reader alone: without torch, onnx and the other packages of extras, each command works or names the extra."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RUNS = """
import contextlib, io, json, sys
ABSENT = set(sys.argv[1:])
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import qacomp
from qacomp.cli.main import main
answers = []
for line in json.load(sys.stdin):
    out, err, code = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(line) if isinstance(line, list) else print(eval(line))
        except SystemExit as left:
            code = left.code
        except qacomp.QacompError as error:
            print(error, file=sys.stderr)
    answers.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(answers))
assert not ABSENT & set(sys.modules), ABSENT & set(sys.modules)
"""

OF_TRAIN = ("torch", "onnxscript", "sklearn", "scipy")
OF_EXTRAS = (*OF_TRAIN, "onnx", "onnxruntime", "PIL", "matplotlib", "optuna", "accelerate", "distributed", "fsspec")


def answers(lines: list[Any], absent: tuple[str, ...] = OF_EXTRAS) -> list[list[Any]]:
    """(exit code, stdout, stderr) of each command line, or of each Python expression, in one process of its own."""
    command = [sys.executable, "-P", "-c", RUNS, *absent]
    done = subprocess.run(command, input=json.dumps(lines), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[list[Any]] = json.loads(done.stdout)
    return found


def test_the_reader_reads(packed: Path, trained: Path, tmp_path: Path) -> None:
    lines: list[list[str | Path]] = [
        ["inspect", packed, "--json"],
        ["inspect", packed, "--toml"],
        ["inspect", packed, "--report", tmp_path / "r.html"],
        ["verify", packed, "--source", trained],
        ["diff", packed, packed],
        ["gate", packed, "--max-bytes", "1MB"],
        ["decode", packed, "-o", tmp_path / "w.safetensors"],
        ["decode", packed, "-o", tmp_path / "w.npz"],
        ["decode", "--help"],
    ]
    for line, (code, _, err) in zip(lines, answers([[str(word) for word in line] for line in lines]), strict=True):
        assert code == 0, (line, err)
    assert "needs onnx: pip install" in (tmp_path / "r.html").read_text(encoding="utf-8")
    load = pytest.importorskip("safetensors.numpy").load_file
    tensors, arrays = load(tmp_path / "w.safetensors"), np.load(tmp_path / "w.npz")
    assert set(tensors) == set(arrays) and all(np.array_equal(tensors[name], arrays[name]) for name in tensors)


def test_every_other_command_names_the_extra(packed: Path, trained: Path, tmp_path: Path) -> None:
    given, new = str(trained), str(tmp_path / "new")
    train, onnx = "needs PyTorch: pip install 'qacomp[train]'", "needs onnx: pip install 'qacomp[onnx]'"
    wanted: list[tuple[list[str], str]] = [
        (["compress", given, "-o", new], f"compress {train}"),
        (["train", "--arch", "lenet5", "--data", "digits", "-o", new], f"train {train}"),
        (["sweep", given, "-o", new], f"sweep {train}"),
        (["demo"], f"demo {train}"),
        (["decode", str(packed), "-o", f"{new}.onnx"], onnx),
        (["decode", str(packed)], onnx),
        (["eval", str(packed), "--data", "digits"], f"eval {onnx}"),
        (["gate", str(packed), "--max-drop", "1", "--data", "digits"], onnx),
        (["plot", "weights", str(packed), "-o", f"{new}.png"], "pip install 'qacomp[plot]'"),
    ]
    for (line, said), (code, out, err) in zip(wanted, answers([line for line, _ in wanted]), strict=True):
        assert code == 1 and out == "" and said in err and len(err.splitlines()) == 1, (line, err)
    assert not list(tmp_path.iterdir())


def test_the_extra_onnx_decodes_and_measures(packed: Path, tmp_path: Path) -> None:
    """Data that come with scikit-learn are absent then: the file is written, and a note says why it has no accuracy."""
    lines = [["decode", str(packed), "-o", str(tmp_path / "m.onnx"), "--json"], ["eval", str(packed)]]
    (code, out, err), (failed, _, said) = answers(lines, OF_TRAIN)
    assert code == 0, err
    document = json.loads(out)
    assert document["accuracy"] is None and document["latency_ms"] is not None and document["max_abs_error"] == 0
    assert "needs scikit-learn: pip install 'qacomp[train]'" in " ".join(document["notes"])
    assert failed == 1 and "the data 'digits' needs scikit-learn" in said


def test_python_names_the_extra_too(packed: Path, trained: Path) -> None:
    train, onnx = "needs PyTorch: pip install 'qacomp[train]'", "needs onnx: pip install 'qacomp[onnx]'"
    wanted = {
        f"qacomp.compress({str(trained)!r})": f"compress {train}",
        "qacomp.train('lenet5', 'digits')": f"train {train}",
        f"qacomp.read_checkpoint({str(trained)!r})": f"read_checkpoint {train}",
        "qacomp.TrainedCheckpoint": f"qacomp.TrainedCheckpoint {train}",
        "__import__('qacomp.torch')": f"qacomp.torch {train}",
        f"qacomp.decode({str(packed)!r})": f"qacomp.decode without to='numpy' {train}",
        f"qacomp.decode({str(packed)!r}, to='onnx')": onnx,
        f"qacomp.decode({str(packed)!r}, {str(packed.with_suffix('.onnx'))!r}, force=True)": onnx,
        "qacomp.load_dataset('digits')": "the data 'digits' needs scikit-learn: pip install 'qacomp[train]'",
    }
    for (line, said), (_, _, err) in zip(wanted.items(), answers(list(wanted)), strict=True):
        assert said in err and len(err.splitlines()) == 1, (line, err)
    reads = [f"sorted(qacomp.decode({str(packed)!r}, to='numpy'))", f"len(qacomp.open_file({str(packed)!r}).names)"]
    assert all(err == "" and out for _, out, err in answers([*reads, "qacomp.CompressConfig(k=4).k"]))
