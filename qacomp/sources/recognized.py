"""Recognize a built-in architecture by the names and shapes of a state dict that names none."""

from dataclasses import replace

from qacomp.checkpoints import Checkpoint, fitting_architectures, infer_num_classes

_STATISTICS = ".running_mean"  # of a batch norm
RECOGNIZED = "recognized by all names and shapes"
"""How the note on a recognized network begins."""
_NAMING = ("qacomp", "module")  # kinds that say themselves what their network is


def recognized(checkpoint: Checkpoint, arch: str | None) -> Checkpoint:
    """Return the checkpoint with the one built-in architecture whose names and shapes are all its own, and a note.

    arch: the setting --arch; if it is given, or the checkpoint names one, the checkpoint is returned as it is. Only
    networks with batch norms are recognized: they have dozens of names, which no other network has by chance, and their
    statistics give the inputs to measure on. A few plain layers fit many a network, so there the note only says what
    fits. Nothing of the file is run.
    """
    if arch is not None or checkpoint.arch is not None or checkpoint.kind in _NAMING:
        return checkpoint
    fitting = fitting_architectures(checkpoint.state)
    if not fitting:
        return checkpoint
    known = len(fitting) == 1 and any(name.endswith(_STATISTICS) for name in checkpoint.state)
    if not known:
        return _noted(checkpoint, f"the names and shapes fit {' and '.join(fitting)}: to measure it give --arch")
    found, classes = fitting[0], infer_num_classes(checkpoint.state, fitting[0])
    text = f"{RECOGNIZED} as --arch {found} ({classes} classes); --arch none: weights alone"
    return replace(_noted(checkpoint, text), arch=found)


def _noted(checkpoint: Checkpoint, text: str) -> Checkpoint:
    return replace(checkpoint, notes=(*checkpoint.notes, text))
