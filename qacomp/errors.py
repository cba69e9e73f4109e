"""Named errors of the qacomp layer; the root and the container's own come from `qacomp.formats.errors`."""

from qacomp.formats.errors import FormatError, IrregularFileError, OutputNotWritableError, PluginError, QacompError

__all__ = [
    "AgreementNotReachedError",
    "AmbiguousCheckpointError",
    "ArchitectureMismatchError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "ExportError",
    "FormatError",
    "IrregularFileError",
    "MetricError",
    "NonFiniteWeightsError",
    "NotACheckpointError",
    "OutputExistsError",
    "OutputIsInputError",
    "OutputNotWritableError",
    "PluginError",
    "QacompError",
    "RunLimitError",
    "RuntimeCrashError",
    "SourceMismatchError",
    "StoppedRunError",
    "UnknownArchitectureError",
    "UnknownDataSpecError",
    "UnsafePickleError",
]


class CheckpointError(QacompError):
    """A checkpoint can't be used."""


class NotACheckpointError(CheckpointError):
    """The file is missing, empty, truncated, or no checkpoint at all."""


class AmbiguousCheckpointError(CheckpointError):
    """A checkpoint holds several networks, and nothing says which one is meant."""


class UnsafePickleError(CheckpointError):
    """The pickle needs classes or functions beyond tensors and plain containers."""


class ArchitectureMismatchError(CheckpointError):
    """The checkpoint's keys or shapes aren't those of the architecture."""


class NonFiniteWeightsError(CheckpointError):
    """A tensor holds NaN or infinity."""


class UnknownArchitectureError(QacompError):
    """No model is registered under that name."""


class TargetNotReachedError(QacompError):
    """The size or quality that the user asks for can't be reached; the message says what limits it."""


class AgreementNotReachedError(QacompError):
    """Outputs don't agree with the original's as much as the user asked for."""


class DataError(QacompError):
    """Data can't be used: files missing or malformed, labels out of range, shapes that disagree."""


class MetricError(DataError):
    """A metric can't be taken of these outputs and targets: their shapes or dtypes don't fit, or its function fails."""


class UnknownDataSpecError(DataError):
    """The data spec names no known dataset."""


class ConfigError(QacompError):
    """A setting has a value that can't work."""


class OutputIsInputError(OutputNotWritableError):
    """An output is a file that the same command reads, or two of its outputs are one file."""


class OutputExistsError(OutputNotWritableError):
    """Something else stands where an output shall go, and nobody said that it may be replaced."""


class SourceMismatchError(QacompError):
    """A container wasn't made from the file that it is held against, or doesn't tell."""


class ExportError(QacompError):
    """The network can't be exported to ONNX, or the export doesn't agree with it."""


class StoppedRunError(ExportError):
    """A model was stopped while it was loaded or ran; its subclasses say why. It isn't measured then."""


class RunLimitError(StoppedRunError):
    """A model took more time or memory than the settings allow."""


class RuntimeCrashError(StoppedRunError):
    """A model ended the process in which onnxruntime ran it."""
