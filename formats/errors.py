"""The one error root, and one named error per way that a container can be bad."""


class QacompError(Exception):
    """Root of every error that qacomp raises on purpose: one line that says what is wrong and what to do next."""


class OutputNotWritableError(QacompError):
    """The output path can't be written: missing folder, no permission, no space left."""


class IrregularFileError(QacompError):
    """An input is a folder, a pipe or a device, or far larger than such a file can be."""


class PluginError(QacompError):
    """What an installed package offers to qacomp can't be used; the line names the package."""


class FormatError(QacompError):
    """The bytes are no valid container, whatever the reason; its subclasses say which."""


class NotAContainerError(FormatError):
    """The file doesn't begin with the container's magic."""


class UnsupportedVersionError(FormatError):
    """The container was written by a newer, incompatible version of the format."""


class TruncatedFileError(FormatError):
    """The file ends before what its header promises."""


class ChecksumMismatchError(FormatError):
    """A section's bytes don't have the checksum that the file gives for them."""


class HeaderError(FormatError):
    """A field of the header is malformed or contradicts another."""


class LimitExceededError(FormatError):
    """A size in the file is larger than the reader's limits allow."""


class CodecError(FormatError):
    """A payload doesn't decode to what the header says."""


class TensorNotFoundError(QacompError):
    """The container holds no tensor of that name."""


class NotSharedError(QacompError):
    """The tensor is stored dense: it has no codebook and no indices."""


class UnsupportedTensorError(QacompError):
    """The tensor can't be written: its dtype, shape, name or indices are outside what the format holds."""
