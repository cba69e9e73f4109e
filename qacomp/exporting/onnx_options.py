"""What to make of a container's ONNX graph, and what came of it. Free of heavy imports."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qacomp.errors import ConfigError
from qacomp.options.codebook import BLOCKS
from qacomp.runtime.comparison import Comparison

MODES = ("dense", "lut", "affine")
LIMIT = (1 << 31) - (1 << 24)  # protobuf's 2 GB, less what the nodes may take


@dataclass(frozen=True)
class OnnxOptions:
    """mode: dense, lut or affine. external: weights in a file of their own, as always from `limit` bytes on.

    Of affine: bits 2, 4 or 8 (None: what each codebook's size needs), and the rows of a column that share a scale.
    """

    mode: str = "dense"
    bits: int | None = None
    block: int = 32
    external: bool = False
    limit: int = LIMIT

    def check(self) -> None:
        """Raise ConfigError for a value that can't work."""
        if self.mode not in MODES:
            raise ConfigError(f"--onnx {self.mode}: must be one of {', '.join(MODES)}")
        if self.bits not in (None, 2, 4, 8):
            raise ConfigError(f"--affine-bits {self.bits}: must be 2, 4 or 8")
        if self.block not in BLOCKS:
            raise ConfigError(f"--affine-block {self.block}: must be one of {', '.join(map(str, BLOCKS))}")


DENSE = OnnxOptions()


@dataclass(frozen=True)
class Saved:
    """What was written: bytes of all files, and the file of weights beside the model, if there is one."""

    bytes: int
    data_path: Path | None


@dataclass(frozen=True)
class TensorForm:
    """One tensor: `form` is dense, lut or affine; `detail` says how (uint4 indices, int4 in blocks of 32 ...).

    bytes: of everything that the file holds for this tensor alone; dense_bytes: of its dense data. `reason`: why it
    isn't in the form that was asked for, or None. `max_abs_error`: how far its values are from the container's.
    """

    name: str
    shape: tuple[int, ...]
    form: str
    detail: str
    bytes: int
    dense_bytes: int
    reason: str | None = None
    max_abs_error: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the entry in `decode --json`."""
        return asdict(self) | {"shape": list(self.shape)}


@dataclass(frozen=True)
class WrittenOnnx:
    """A written file: `saved` its bytes, `dense_bytes` those of the dense one, `tensors` how each weight stands in it.

    max_abs_error: between its weights, as onnxruntime makes them, and the container's. fused: of affine, how many
    matrix products onnxruntime runs on the integers themselves (MatMulNBits). notes: why weights stay dense.
    comparison: with the dense file; None until `measure_decoded` has run, and where it can't be compared.
    """

    mode: str
    saved: Saved
    dense_bytes: int
    tensors: tuple[TensorForm, ...]
    max_abs_error: float
    fused: int | None
    notes: tuple[str, ...]
    comparison: Comparison | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the part `onnx` of `decode --json`."""
        return {
            "mode": self.mode,
            "bytes": self.saved.bytes,
            "dense_bytes": self.dense_bytes,
            "data_file": str(self.saved.data_path) if self.saved.data_path else None,
            "fused": self.fused,
            "comparison": self.comparison.to_json() if self.comparison else None,
            "tensors": [form.to_json() for form in self.tensors],
        }
