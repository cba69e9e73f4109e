"""Code weights with NNCodec: a script for a Python that has nncodec, which needn't have qacomp.

    PYTHON nncodec_process.py REPEATS QP QP ...

It reads weights.npz of the current folder and writes QP.npz, the decoded weights, for each quantization parameter, and
runs.json. What NNCodec imports and doesn't need for coding is replaced by stubs where it isn't installed.
"""

import importlib.abc
import importlib.machinery
import json
import sys
import time
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OPTIONS = {"use_dq": True, "nonweight_qp": -40, "verbose": False, "results": "."}
"""Its best settings for small networks: trellis quantization, and vectors on steps of about 0.001."""

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


class _StubModule(types.ModuleType):
    __path__: list[str] = []  # noqa: RUF012 - of a package, in the type that modules have

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing


class _StubFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules that coding doesn't need. It is asked last, so only for what isn't installed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return the spec of a stub, or None for any other module."""
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in _UNUSED else None

    def create_module(self, spec: Any) -> types.ModuleType:
        """Return an empty module, of which any attribute can be asked."""
        return _StubModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Do nothing, since there is nothing in it."""


def main(arguments: Sequence[str]) -> None:
    """Encode and decode, REPEATS times for each parameter; runs.json has bytes and CPU seconds by parameter."""
    sys.meta_path.append(_StubFinder())
    import numpy as np
    from nncodec.nn import decode, encode

    with np.load("weights.npz") as arrays:
        weights = {name: arrays[name] for name in arrays.files}
    runs, repeats = {}, int(arguments[0])
    for qp in map(int, arguments[1:]):
        times: dict[str, list[float]] = {"encode": [], "decode": []}
        for _ in range(repeats):
            start = time.process_time()
            coded = encode(dict(weights), {"qp": qp, **OPTIONS})
            times["encode"].append(time.process_time() - start)
        for _ in range(repeats):
            start = time.process_time()
            decoded = decode(coded)
            times["decode"].append(time.process_time() - start)
        results: dict[str, Any] = {name: np.asarray(decoded[name], np.float32) for name in weights}
        np.savez(f"{qp}.npz", **results)
        runs[str(qp)] = {"bytes": len(coded), **times}
    Path("runs.json").write_text(json.dumps(runs), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
