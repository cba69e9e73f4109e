"""Read safetensors files with the library safetensors, which checks every offset against the file."""

from pathlib import Path
from typing import TYPE_CHECKING

from qacomp.errors import NotACheckpointError

if TYPE_CHECKING:
    from torch import Tensor


def load_safetensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Return (tensors by name in the file's order, metadata). Raises NotACheckpointError for a damaged file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.offset_keys()}, file.metadata() or {}
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise NotACheckpointError(f"{path}: can't be read as safetensors ({reason}); truncated?") from error
