"""torch's exporter builds its table of operators in each export, which takes 0.8 s; tests build it once a process."""

import functools
import sys
from typing import Any

EXPORTER = "torch.onnx._internal.exporter._registration"


def keep_operators() -> None:
    """Give every export from now on a copy of the table that the first one builds, where the exporter is loaded."""
    exporter: Any = sys.modules.get(EXPORTER)
    if exporter is None or hasattr(exporter.ONNXRegistry.from_torchlib, "kept"):
        return
    built = functools.cache(exporter.ONNXRegistry.from_torchlib)

    def copied(**options: Any) -> object:
        registry, kept = exporter.ONNXRegistry(), built(**options)
        vars(registry).update(vars(kept) | {"functions": {name: [*ways] for name, ways in kept.functions.items()}})
        return registry

    vars(copied)["kept"] = True
    exporter.ONNXRegistry.from_torchlib = staticmethod(copied)
