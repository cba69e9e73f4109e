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


WHOLE = """
import os, sys
from pathlib import Path
import qacomp
from qacomp.sources import folder_source
from qacomp.stages import pieces
folder_source._LARGE = 0
write, own = pieces._write, os.getpid()
def written(task, path):
    heavy = {names} & set(sys.modules)
    Path({folder!r}, f"worker{{os.getpid()}}").write_text(" ".join(heavy) or "none")
    assert os.getpid() != own
    write(task, path)
pieces._write = written
for settings in ({{}}, {{"k": 16}}):
    qacomp.compress({model!r}, output=Path({folder!r}, "model.qac"), workers=2, force=True, progress=False, **settings)
print({names} & set(sys.modules) or "none")
"""


def test_a_large_folder_without_data_is_compressed_without_torch_and_onnx(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    values = np.random.default_rng(0).standard_normal((32, 64), np.float32)
    save_file({"a.weight": values, "a.bias": values[0]}, model / "model.safetensors")
    (model / "config.json").write_text("{}")
    names = {"torch", "onnx", "onnxruntime", "transformers"}
    done = run_python(WHOLE.format(names=names, folder=str(tmp_path), model=str(model)))
    assert done.stdout == "none\n", done.stderr
    told = [file.read_text() for file in tmp_path.glob("worker*")]
    assert told
    assert set(told) == {"none"}
