"""From a checkpoint and the settings to a network that knows its input, its preprocessing and its data."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from qacomp.checkpoints import Checkpoint, check_finite, check_fits, infer_num_classes, load_into, named_as
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.datasets.preprocessing_choice import choose_preprocessing
from qacomp.errors import ArchitectureMismatchError, ConfigError
from qacomp.models import create_model, model_info
from qacomp.options.config import CompressConfig
from qacomp.tensors.weight_parts import with_weights


@dataclass(frozen=True)
class Network:
    """A network in eval mode with the checkpoint's weights; `input_shape` is (C, H, W)."""

    model: nn.Module
    arch: str
    num_classes: int
    input_shape: tuple[int, int, int]
    preprocessing: Preprocessing


def build_network(checkpoint: Checkpoint, config: CompressConfig) -> Network | None:
    """Return the checkpoint's network, or None where neither it nor the settings name an architecture.

    Raises UnknownArchitectureError, ArchitectureMismatchError, or ConfigError for preprocessing that doesn't fit.
    """
    arch = config.arch or checkpoint.arch
    if arch is None:
        return None
    checkpoint, info = whole_weights(checkpoint), model_info(arch, told=config.arch is None)
    checkpoint = named_as(checkpoint, arch)
    num_classes = config.num_classes or infer_num_classes(checkpoint.state, arch)
    check_fits(checkpoint, arch, num_classes)
    model = create_model(arch, num_classes)
    check_finite(checkpoint.path, checkpoint.state, checkpoint.state)
    load_into(model, checkpoint, arch)
    if config.num_classes is None and checkpoint.num_classes not in (None, num_classes):
        raise ArchitectureMismatchError(
            f"{checkpoint.path} claims {checkpoint.num_classes} classes, but its last layer has {num_classes}"
        )
    preprocessing = choose_preprocessing(config, checkpoint.preprocessing or info.preprocessing)
    return Network(model.eval(), arch, num_classes or info.num_classes, preprocessing.input_shape, preprocessing)


def whole_weights(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint with weights in place of pruning masks and of weight norm's parts."""
    state, names = with_weights(checkpoint.state)
    if not names:
        return checkpoint
    shown = ", ".join(name[:80] for name in names[:4]) + (", ..." if names[4:] else "")
    note = f"{shown}: made of pruning masks or weight norm's parts, and stored as plain weights"
    return replace(checkpoint, state=state, notes=(*checkpoint.notes, note))


def choose_device(name: str) -> torch.device:
    """Choose a device: auto takes a CUDA GPU where there is one. Raise ConfigError for cuda without one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: PyTorch sees no CUDA GPU here; use --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def choose_precision(name: str, device: torch.device) -> str:
    """Choose fp32 or bf16: auto takes bf16 on a GPU that has it, and on a processor with AMX."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if "amx_bf16" in _processor_flags() else "fp32"


def _processor_flags() -> set[str]:
    """Return the processor's flags; none where the system doesn't tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return set(flags.split())
