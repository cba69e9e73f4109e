"""NNCodec on some weights: run with the Python of an environment that has it; prints one JSON document.

    PYTHON nncodec_peer.py WEIGHTS.npz QP REPEATS [DECODED.npz]

What NNCodec imports at module level and doesn't need for coding is stubbed where it isn't installed.
"""

import contextlib
import importlib.abc
import importlib.machinery
import json
import os
import sys
import tempfile
import time
import types
from typing import Any, ClassVar

_UNUSED = {
    *("pandas", "torchvision", "cv2", "tqdm", "h5py", "timm"),
    *("wandb", "flwr", "matplotlib", "datasets", "transformers"),
}


class _Anything(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing


class _Nothing(metaclass=_Anything):
    """A class that can be called, subclassed and asked for any attribute."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> Any:
        return _Nothing


class _Module(types.ModuleType):
    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing


class _Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Asked last, so only for what isn't installed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Only the modules that coding doesn't need."""
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in _UNUSED else None

    def create_module(self, spec: Any) -> types.ModuleType:
        """An empty one."""
        return _Module(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """There is nothing in it."""


def main() -> None:
    """Encode and decode, `REPEATS` times each."""
    path, qp, repeats = os.path.abspath(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    sys.meta_path.append(_Stubs())
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # encode writes a file where it stands
        import numpy as np
        from nncodec.nn import decode, encode

        with np.load(path) as arrays:
            weights = {name: arrays[name] for name in arrays.files}
        times: dict[str, list[float]] = {"encode": [], "decode": []}
        for _ in range(repeats):
            start = time.process_time()
            coded = encode(dict(weights), {"qp": qp, "use_dq": True, "verbose": False, "results": scratch})
            times["encode"].append(time.process_time() - start)
        for _ in range(repeats):
            start = time.process_time()
            decoded = decode(coded)
            times["decode"].append(time.process_time() - start)
        errors = [float(np.abs(decoded[name] - weights[name]).max()) for name in weights]
        if len(sys.argv) > 4:
            np.savez(sys.argv[4], **{name: np.asarray(decoded[name], np.float32) for name in weights})
        os.chdir("/")
    print(json.dumps({"bytes": len(coded), "max_error": max(errors), **times}))


if __name__ == "__main__":
    main()
