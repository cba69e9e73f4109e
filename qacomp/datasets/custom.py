"""A user's own data: `module:function`, imported from the Python path or the working directory."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from qacomp.datasets.split import Dataset, Source, Split
from qacomp.errors import DataError, QacompError


def load_custom(module_name: str, function_name: str) -> Source | Dataset | None:
    """Call `module:function` without arguments, and return its data; None if there is no such module.

    The function returns a `Dataset`, or a mapping of arrays x_train, y_train, x_test, y_test and optionally
    x_val, y_val and num_classes. An exception that it raises becomes a `DataError`.
    """
    result = call_custom(module_name, function_name)
    spec = f"{module_name}:{function_name}"
    if result is None or isinstance(result, Dataset):
        return result
    if isinstance(result, Mapping):
        return source_from_arrays(spec, result)
    raise DataError(f"{spec} must return a qacomp.datasets.Dataset or a mapping of arrays, not {type(result).__name__}")


def call_custom(module_name: str, function_name: str) -> object | None:
    """Call `module:function` without arguments and return its result; None if there is no such module."""
    with working_directory_on_the_path():
        if not _is_name(module_name, function_name) or not _exists(module_name):
            return None
        return _call(f"{module_name}:{function_name}", module_name, function_name)


def find_custom(module_name: str, function_name: str) -> Any:
    """Return the function `module:function` without calling it. Raises DataError if it can't be imported."""
    spec = f"{module_name}:{function_name}"
    with working_directory_on_the_path():
        if not _is_name(module_name, function_name) or not _exists(module_name):
            raise DataError(
                f"{spec}: there is no module {module_name!r} on the Python path or in the working directory; give "
                "module:function"
            )
        try:
            return _found(module_name, function_name)
        except Exception as error:
            raise DataError(
                f"{spec} can't be imported: {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error


@contextmanager
def working_directory_on_the_path() -> Iterator[None]:
    """Put the working directory on the Python path in the block, since an installed command doesn't have it there."""
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        yield
    finally:
        if added and here in sys.path:
            sys.path.remove(here)


def _is_name(module_name: str, function_name: str) -> bool:
    return all(part.isidentifier() for part in [*module_name.split("."), *function_name.split(".")])


def _exists(module_name: str) -> bool:
    try:
        return importlib.util.find_spec(module_name) is not None
    except (ImportError, ValueError):
        return False


def _call(spec: str, module_name: str, function_name: str) -> object:
    try:
        return _found(module_name, function_name)()
    except QacompError:
        raise
    except Exception as error:
        raise DataError(f"{spec} failed: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _found(module_name: str, function_name: str) -> Any:
    found: Any = importlib.import_module(module_name)
    for part in function_name.split("."):
        found = getattr(found, part)
    return found


def source_from_arrays(name: str, arrays: Mapping[str, Any]) -> Source:
    """Build a `Source` from x_train, y_train, x_test, y_test, optional x_val, y_val and num_classes."""
    needed = ("x_train", "y_train", "x_test", "y_test")
    if missing := [key for key in needed if key not in arrays]:
        raise DataError(f"{name} lacks {', '.join(missing)}; it has {', '.join(map(str, arrays)) or 'nothing'}")
    if ("x_val" in arrays) != ("y_val" in arrays):
        raise DataError(f"{name} has one of x_val and y_val without the other; give both or none")
    val = Split(arrays["x_val"], arrays["y_val"]) if "x_val" in arrays else None
    num_classes = _count(name, arrays["num_classes"]) if "num_classes" in arrays else None
    return Source(
        train=Split(arrays["x_train"], arrays["y_train"]),
        test=Split(arrays["x_test"], arrays["y_test"]),
        val=val,
        num_classes=num_classes,
    )


def _count(name: str, value: Any) -> int:
    counted = np.asarray(value)
    if counted.size != 1 or not np.issubdtype(counted.dtype, np.integer):
        raise DataError(f"{name}: num_classes must be one whole number, not {value!r}")
    return int(counted.item())
