"""Define the named errors of the qacomp layer; the root and the container's errors are in `qacomp.formats.errors`."""

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
    "RanksError",
    "RemoteError",
    "RunLimitError",
    "RuntimeCrashError",
    "SignatureError",
    "SourceMismatchError",
    "StoppedRunError",
    "UnknownArchitectureError",
    "UnknownDataSpecError",
    "UnsafePickleError",
]


class CheckpointError(QacompError):
    """A checkpoint can't be used."""


class NotACheckpointError(CheckpointError):
    """The file is missing, empty, truncated, or not a checkpoint."""


class AmbiguousCheckpointError(CheckpointError):
    """A checkpoint holds several networks, and the user hasn't chosen one."""


class UnsafePickleError(CheckpointError):
    """The pickle needs classes or functions other than tensors and plain containers."""


class ArchitectureMismatchError(CheckpointError):
    """The keys or shapes of the checkpoint don't match the architecture."""


class NonFiniteWeightsError(CheckpointError):
    """A tensor holds NaN or infinity."""


class UnknownArchitectureError(QacompError):
    """No model is registered under the given name."""


class TargetNotReachedError(QacompError):
    """The size or quality that the user asks for can't be reached; the message says what limits it."""


class AgreementNotReachedError(QacompError):
    """The outputs don't reach the agreement with the original that the user requires."""


class DataError(QacompError):
    """Data can't be used: a file is missing or malformed, a label is out of range, or shapes don't match."""


class MetricError(DataError):
    """A metric can't be computed: shapes or dtypes of outputs and targets don't fit, or the metric's function fails."""


class UnknownDataSpecError(DataError):
    """The data spec doesn't name a known dataset."""


class ConfigError(QacompError):
    """A setting has an invalid value, or doesn't fit the other settings, the model or the data."""


class OutputIsInputError(OutputNotWritableError):
    """An output is a file that the same command reads, or two outputs of the command are the same file."""


class OutputExistsError(OutputNotWritableError):
    """Another file exists at the output's path, and the user hasn't allowed to replace it."""


class MissingPackageError(QacompError):
    """A package isn't installed that only some commands need; the message names the extra that brings it."""


class RanksError(QacompError):
    """The processes that share a training can't be joined, one of them has failed, or they no longer agree."""


class RemoteError(QacompError):
    """A URL can't be opened, read or written: the server or a package says no, or sends something else than before."""


class SignatureError(QacompError):
    """A signature is malformed, or isn't one of this file by this key; or a file or key is unfit for signing."""


class SourceMismatchError(QacompError):
    """A container wasn't made from the given source file, or doesn't record its source."""


class ExportError(QacompError):
    """The network can't be exported to ONNX, or the export gives other outputs than the network."""


class StoppedRunError(ExportError):
    """A model was stopped while it was loaded or run, so it isn't measured; the subclass says why."""


class RunLimitError(StoppedRunError):
    """A model takes more time or memory than the settings allow."""


class RuntimeCrashError(StoppedRunError):
    """A model crashed the process in which onnxruntime ran it."""


class WorkerError(QacompError):
    """Workers can't be reached, or a task ended its worker again and again."""


class PartsError(QacompError):
    """Files aren't all parts of one divided compression, or one of them is missing."""
