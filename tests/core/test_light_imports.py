"""What may not be imported: by the container's reader, and by the command line before it works."""

import subprocess
import sys


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
