"""Python processes of tests that begin with torch imported: one process imports it, and forks for each program.

A program may import and register what it likes: nothing of it stays. Of qacomp, nothing is imported beforehand.
"""

import atexit
import gc
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import traceback
import types
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kept_operators import keep_operators

TASKS = Path("/proc/self/task")
"""Where Linux lists the threads of this process."""


class WarmProcess:
    """The process that forks; it ends with `end`, or with the process that made it."""

    def __init__(self) -> None:
        command = [sys.executable, __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, program: str, folder: Path, *, path: Sequence[Path] = (), arguments: Sequence[str] = ()) -> str:
        """Run a program in `folder`, which is the first place of sys.path, and return what it writes to stdout.

        `path`: the next places. Fails with what the program writes to stderr where its exit code isn't 0.
        """
        request = {"program": program, "folder": str(folder), "path": ["", *map(str, path)], "arguments": [*arguments]}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        code, out, err = json.loads(self._process.stdout.readline())
        assert code == 0, err
        return str(out)

    def end(self) -> None:
        """End the process, once no program runs."""
        self._process.communicate()


def asked() -> dict[str, Any]:
    """Fork for each line of stdin; return it in the child, and write the child's exit code and output to stdout."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        for line in sys.stdin:
            for stream in (out, err):
                os.truncate(stream.fileno(), 0)
                os.lseek(stream.fileno(), 0, os.SEEK_SET)
            child = os.fork()
            if not child:
                for number, stream in ((1, out), (2, err)):
                    os.dup2(stream.fileno(), number)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                request: dict[str, Any] = json.loads(line)
                return request
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            texts = [os.pread(stream.fileno(), 1 << 24, 0).decode() for stream in (out, err)]
            sys.stdout.write(json.dumps([code, *texts]) + "\n")
            sys.stdout.flush()
    sys.exit()


def main() -> None:
    """Import what is slow to import and starts no thread, as onnxruntime does; be each program that is asked for."""
    import onnxscript.optimizer  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch.onnx._internal.exporter._registration

        keep_operators()
        if importlib.util.find_spec("tqdm") is not None:  # its bars, which torch's exporter makes, start a thread
            importlib.import_module("tqdm").tqdm.monitor_interval = 0
        network = torch.nn.Linear(2, 2).eval()
        torch.onnx.export(network, (torch.zeros(2, 2),), dynamo=True, verbose=False)  # this imports a lot more
    if TASKS.is_dir() and len(list(TASKS.iterdir())) > 1:
        raise RuntimeError("a process with threads can't be forked safely")
    gc.freeze()  # what is there is looked at by no collection of a child
    request = asked()
    code = 1
    try:
        be(request)
        code = 0
    except SystemExit as left:
        code = int(left.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(code)  # taking all modules down takes longer than most programs


def be(request: dict[str, Any]) -> None:
    """Be the program, as python -c is."""
    os.chdir(request["folder"])
    sys.path[:1] = request["path"]  # in the place of this file's folder
    sys.argv[:] = ["-c", *request["arguments"]]
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(request["program"], "<program>", "exec"), vars(module))


if __name__ == "__main__":
    main()
