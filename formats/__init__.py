"""Read and write .qac containers with numpy and zstandard only; a device needs no other package to decode one.

save_file("model.qac", {"fc.weight": SharedTensor(codebook, indices), "fc.bias": bias})
with open_file("model.qac") as container:
    weight = container.tensor("fc.weight")
"""

from qacomp.formats.atomic import atomic_file, write_atomically
from qacomp.formats.container import Container
from qacomp.formats.dtypes import BFLOAT16, bfloat16_from_float32, bfloat16_to_float32
from qacomp.formats.errors import (
    ChecksumMismatchError,
    CodecError,
    FormatError,
    HeaderError,
    IrregularFileError,
    LimitExceededError,
    NotAContainerError,
    NotSharedError,
    OutputNotWritableError,
    PluginError,
    QacompError,
    TensorNotFoundError,
    TruncatedFileError,
    UnsupportedTensorError,
    UnsupportedVersionError,
)
from qacomp.formats.held import HeldTensor
from qacomp.formats.limits import Limits
from qacomp.formats.ranges import RangeSource
from qacomp.formats.reader import load_file, open_file, verify_file
from qacomp.formats.report import SectionInfo, TensorInfo, TensorReport, VerifyReport, WriteReport
from qacomp.formats.shard_writer import ShardWriter
from qacomp.formats.tensors import Level, SharedTensor, is_float_vector, precision_bits, stored_values
from qacomp.formats.writer import Coding, Writer, save_file

__all__ = [
    "BFLOAT16",
    "ChecksumMismatchError",
    "CodecError",
    "Coding",
    "Container",
    "FormatError",
    "HeaderError",
    "HeldTensor",
    "IrregularFileError",
    "Level",
    "LimitExceededError",
    "Limits",
    "NotAContainerError",
    "NotSharedError",
    "OutputNotWritableError",
    "PluginError",
    "QacompError",
    "RangeSource",
    "SectionInfo",
    "ShardWriter",
    "SharedTensor",
    "TensorInfo",
    "TensorNotFoundError",
    "TensorReport",
    "TruncatedFileError",
    "UnsupportedTensorError",
    "UnsupportedVersionError",
    "VerifyReport",
    "WriteReport",
    "Writer",
    "atomic_file",
    "bfloat16_from_float32",
    "bfloat16_to_float32",
    "is_float_vector",
    "load_file",
    "open_file",
    "precision_bits",
    "save_file",
    "stored_values",
    "verify_file",
    "write_atomically",
]
