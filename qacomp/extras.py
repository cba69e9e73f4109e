"""Name the extra that installs an optional package which is missing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from typing import ParamSpec, TypeVar

from qacomp.errors import MissingPackageError

_P = ParamSpec("_P")
_R = TypeVar("_R")
_TRAIN, _ONNX = "train", "onnx"
_PACKAGES = {
    "torch": ("PyTorch", _TRAIN),
    "sklearn": ("scikit-learn", _TRAIN),
    "PIL": ("Pillow", _ONNX),
    "onnx": ("onnx", _ONNX),
    "onnxruntime": ("onnxruntime", _ONNX),
    "onnxscript": ("onnxscript", _ONNX),
    "matplotlib": ("Matplotlib", "plot"),
    "optuna": ("Optuna", "sweep"),
    "accelerate": ("accelerate", "distributed"),
    "transformers": ("transformers", "text"),
    "distributed": ("Dask", "cluster"),
    "model_signing": ("model-signing", "sign"),
    "OpenSSL": ("pyOpenSSL", "sign"),
}
"""Module -> what users call the package, and the extra of qacomp that brings it. `train` brings all of `onnx` too."""


def installed(module: str) -> bool:
    """Return whether a module can be imported, without importing it."""
    try:
        return find_spec(module) is not None
    except ImportError:  # a finder of the program's own refuses it
        return False


def missing_package(error: BaseException, what: str, *, trains: bool = False) -> MissingPackageError | None:
    """Return the error for a user who lacks a package; None if `error` is about anything else.

    what: what needs the package, such as `compress`; trains: it needs PyTorch in any case, which is named first.
    """
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    module = error.name.partition(".")[0]
    if module not in _PACKAGES or installed(module):
        return None  # a package of the user's own, or a part that another version of a package has
    if trains and not installed("torch"):
        module = "torch"
    name, extra = _PACKAGES[module]
    return MissingPackageError(f"{what} needs {name}: pip install 'qacomp[{extra}]'")


@contextmanager
def naming_extra(what: str, *, trains: bool = False) -> Iterator[None]:
    """Raise MissingPackageError in place of an import error of an optional package in the block."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = missing_package(error, what, trains=trains)
        if missing is None:
            raise
        raise missing from error


def needing_torch(what: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Return a decorator for a call of the Python interface that trains networks; what: its name."""

    def wrapped(call: Callable[_P, _R]) -> Callable[_P, _R]:
        @wraps(call)
        def inner(*arguments: _P.args, **named: _P.kwargs) -> _R:
            with naming_extra(what, trains=True):
                return call(*arguments, **named)

        return inner

    return wrapped
