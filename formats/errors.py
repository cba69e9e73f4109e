"""Define the root of all errors, and one named error for each way in which a container can be bad."""


class QacompError(Exception):
    """Root of every error that qacomp raises on purpose: one line that says what is wrong and what to do next."""


class OutputNotWritableError(QacompError):
    """The output path can't be written: missing folder, no permission, no space left."""


class IrregularFileError(QacompError):
    """An input is a folder, a pipe or a device, or far larger than such a file can be."""


class PluginError(QacompError):
    """A plug-in of an installed package can't be used; the message names the package."""


class NativeReaderError(QacompError):
    """The C decoder can't be used: there is no compiler, or it fails, or a function was given a wrong argument."""


class FormatError(QacompError):
    """The bytes aren't a valid container; the subclass says why."""


class NotAContainerError(FormatError):
    """The file doesn't begin with the magic bytes of a container."""


class UnsupportedVersionError(FormatError):
    """The container was written by a newer, incompatible version of the format."""


class TruncatedFileError(FormatError):
    """The file is shorter than its header says."""


class ChecksumMismatchError(FormatError):
    """The bytes of a section or of the header don't match their checksum, or a tensor doesn't match its digest."""


class HeaderError(FormatError):
    """A field of the header is malformed or contradicts another."""


class LimitExceededError(FormatError):
    """A size in the file, or the work to decode it, is above the reader's limits."""


class CodecError(FormatError):
    """The payload of a section can't be decoded to what the header says."""


class WrongBaseError(QacompError):
    """A delta starts from another file than the one that it is applied to."""


class TensorNotFoundError(QacompError):
    """The container has no tensor of the requested name."""


class NotSharedError(QacompError):
    """The tensor is stored dense, so it has no codebook and no indices."""


class UnsupportedTensorError(QacompError):
    """The tensor can't be written: its dtype, shape, name or indices are outside what the format holds."""
