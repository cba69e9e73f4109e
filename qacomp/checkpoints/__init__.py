"""Read checkpoints of every common kind of file without executing code in them, and write qacomp's own."""

from qacomp.checkpoints.architecture import check_fits, fitting_architectures, infer_num_classes, load_into, named_as
from qacomp.checkpoints.checkpoint import Checkpoint
from qacomp.checkpoints.qacomp_file import CheckpointFacts, write_checkpoint
from qacomp.checkpoints.reading import read_checkpoint
from qacomp.checkpoints.tensors import check_finite, kept_note

__all__ = [
    "Checkpoint",
    "CheckpointFacts",
    "check_finite",
    "check_fits",
    "fitting_architectures",
    "infer_num_classes",
    "kept_note",
    "load_into",
    "named_as",
    "read_checkpoint",
    "write_checkpoint",
]
