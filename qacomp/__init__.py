"""Compress trained models: regularize, share weights, entropy-code them, and decode to ONNX.

result = qacomp.compress("model.pt", "digits", reg="exp", k=8, output="model.qac")
weights = qacomp.decode("model.qac")
qacomp.torch.load_into(module, "model.qac")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from qacomp.version import VERSION

if TYPE_CHECKING:
    from qacomp.api import compress
    from qacomp.bom import sbom
    from qacomp.checkpoints import read_checkpoint
    from qacomp.datasets import load_dataset
    from qacomp.errors import QacompError
    from qacomp.exporting.decode import decode
    from qacomp.exporting.part import Part
    from qacomp.gating import GateLimits, gate
    from qacomp.merge import merge
    from qacomp.options.config import CompressConfig
    from qacomp.remote import open_file
    from qacomp.result import Result
    from qacomp.signing import sign, verify_signature
    from qacomp.stages.from_scratch import TrainedCheckpoint
    from qacomp.train_api import train
    from qacomp.updates import apply, delta

__all__ = [
    "CompressConfig",
    "GateLimits",
    "Part",
    "QacompError",
    "Result",
    "TrainedCheckpoint",
    "apply",
    "compress",
    "decode",
    "delta",
    "gate",
    "load_dataset",
    "merge",
    "open_file",
    "read_checkpoint",
    "sbom",
    "sign",
    "train",
    "verify_signature",
]
__version__ = VERSION

_HOMES = {
    "CompressConfig": "qacomp.options.config",
    "GateLimits": "qacomp.gating",
    "Part": "qacomp.exporting.part",
    "QacompError": "qacomp.errors",
    "Result": "qacomp.result",
    "TrainedCheckpoint": "qacomp.stages.from_scratch",
    "apply": "qacomp.updates",
    "compress": "qacomp.api",
    "decode": "qacomp.exporting.decode",
    "delta": "qacomp.updates",
    "gate": "qacomp.gating",
    "load_dataset": "qacomp.datasets",
    "merge": "qacomp.merge",
    "open_file": "qacomp.remote",
    "read_checkpoint": "qacomp.checkpoints",
    "sbom": "qacomp.bom",
    "sign": "qacomp.signing",
    "train": "qacomp.train_api",
    "verify_signature": "qacomp.signing",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562), so that a device that only decodes doesn't need torch."""
    if name == "torch":  # the room qacomp.torch, which needs torch itself
        return import_module("qacomp.torch")
    if name not in _HOMES:
        raise AttributeError(f"module 'qacomp' has no attribute {name!r}")
    from qacomp.extras import naming_extra  # here, since errors import numpy

    with naming_extra(f"qacomp.{name}", trains=True):
        home = import_module(_HOMES[name])
    found = globals()[name] = getattr(home, name)  # stored for the next use and for pdoc
    return found


def __dir__() -> list[str]:
    """Return the names that tab completion offers."""
    return sorted({*globals(), *__all__})
