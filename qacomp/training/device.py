"""Choose the device on which a network is trained, and the precision of its matrix products."""

from pathlib import Path

import torch

from qacomp.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Return the device for auto, cpu or cuda; auto takes a CUDA GPU if there is one.

    Raises ConfigError for cuda without a CUDA GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: PyTorch sees no CUDA GPU here; use --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def choose_precision(name: str, device: torch.device) -> str:
    """Return fp32 or bf16; auto takes bf16 on a GPU that supports it and on a CPU with matrix units for it (AMX)."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if "amx_bf16" in _processor_flags() else "fp32"


def _processor_flags() -> set[str]:
    """Return the feature flags of the processor; empty if the system doesn't list them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return set(flags.split())
