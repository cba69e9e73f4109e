"""What may not be imported: by the container's reader, and by the command line before it works."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)


BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Block())
"""


def test_formats_needs_only_numpy_and_zstandard() -> None:
    names = {"torch", "sklearn", "scipy", "onnx", "onnxruntime", "click", "rich", "PIL", "safetensors"}
    done = run_python(BLOCK.format(names=names) + "import qacomp.formats, qacomp.formats.codecs; print('ok')")
    assert done.stdout == "ok\n", done.stderr


def test_the_command_lists_its_commands_without_heavy_imports() -> None:
    names = {"torch", "sklearn", "scipy", "onnx", "onnxruntime", "matplotlib", "numpy"}
    done = run_python(BLOCK.format(names=names) + "from qacomp.cli.main import main; main(['--help'])")
    assert done.returncode == 0, done.stderr
    for command in (
        "train",
        "compress",
        "decode",
        "eval",
        "inspect",
        "diff",
        "verify",
        "gate",
        "sweep",
        "plot",
        "demo",
    ):
        assert f"\n  {command} " in done.stdout


PIECE = """
from pathlib import Path
from qacomp.options.config import CompressConfig
from qacomp.progress import SilentProgress
from qacomp.sharing.selection import Layer
from qacomp.sources.folder_source import open_folder
from qacomp.stages.pieces import PackingRules, PieceTask, TensorTask, write_piece
source = open_folder(Path({folder!r}), None, CompressConfig(), SilentProgress())
weight, = [weight for weight in source.weights() if weight.name == "a.weight"]
layer = Layer("a.weight", "dense", weight.shape, 16)
task = TensorTask("a.weight", weight.read, 2048, layer)
for error in (None, 0.01):
    assert write_piece(PieceTask(0, (task,), PackingRules(CompressConfig(), error)))
print("ok")
"""


def test_a_worker_of_a_large_folder_imports_no_torch_and_no_onnx(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((32, 64), np.float32)
    save_file({"a.weight": values, "a.bias": values[0]}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    names = {"torch", "onnx", "onnxruntime", "transformers"}
    done = run_python(BLOCK.format(names=names) + PIECE.format(folder=str(tmp_path)))
    assert done.stdout == "ok\n", done.stderr
