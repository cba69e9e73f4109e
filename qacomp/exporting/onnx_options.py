"""Define the options for writing ONNX files and their results, without heavy imports."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qacomp.errors import ConfigError
from qacomp.options.codebook import BLOCKS
from qacomp.runtime.comparison import Comparison

MODES = ("dense", "lut", "affine")
LIMIT = (1 << 31) - (1 << 24)  # bytes of weights: protobuf's 2 GB less 16 MiB for the nodes


@dataclass(frozen=True)
class OnnxOptions:
    """How to write an ONNX file. mode: "dense", "lut" or "affine"; external: write weights to a second file.

    limit: bytes of weights from which they always go to a second file; bits: for affine 2, 4 or 8, None for as few as
    each codebook needs; block: for affine the group size, rows of a column that share a scale.
    """

    mode: str = "dense"
    bits: int | None = None
    block: int = 32
    external: bool = False
    limit: int = LIMIT

    def check(self) -> None:
        """Raise ConfigError for an invalid value."""
        if self.mode not in MODES:
            raise ConfigError(f"--onnx {self.mode}: must be one of {', '.join(MODES)}")
        if self.bits not in (None, 2, 4, 8):
            raise ConfigError(f"--affine-bits {self.bits}: must be 2, 4 or 8")
        if self.block not in BLOCKS:
            raise ConfigError(f"--affine-block {self.block}: must be one of {', '.join(map(str, BLOCKS))}")


DENSE = OnnxOptions()


@dataclass(frozen=True)
class Saved:
    """A written model: bytes of all files, and the path of the file with the weights, or None."""

    bytes: int
    data_path: Path | None


@dataclass(frozen=True)
class TensorForm:
    """How one tensor was written. form: "dense", "lut" or "affine"; detail: such as `uint4 indices`.

    bytes: of everything that the file holds for this tensor alone; dense_bytes: of its dense data; reason: why it
    doesn't have the requested form, or None; max_abs_error: largest difference from the container's values.
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
        """Return the entry for `decode --json`."""
        return asdict(self) | {"shape": list(self.shape)}


@dataclass(frozen=True)
class WrittenOnnx:
    """A written ONNX file. saved: its files; dense_bytes: size of the dense file; tensors: the form of each weight.

    max_abs_error: largest difference between its weights, as onnxruntime computes them, and the container's; fused: for
    affine, the number of matrix products that onnxruntime computes on integers (MatMulNBits), None if unknown; notes:
    why weights stay dense; comparison: with the dense file, None before `measure_decoded` or if it isn't possible.
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
        """Return the entry `onnx` of `decode --json`."""
        return {
            "mode": self.mode,
            "bytes": self.saved.bytes,
            "dense_bytes": self.dense_bytes,
            "data_file": str(self.saved.data_path) if self.saved.data_path else None,
            "fused": self.fused,
            "comparison": self.comparison.to_json() if self.comparison else None,
            "tensors": [form.to_json() for form in self.tensors],
        }
