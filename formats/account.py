"""Collect the codecs, sizes and reasons of one tensor while it is written, for its line in the report."""

from collections.abc import Sequence

from qacomp.formats.codec_choice import Choice
from qacomp.formats.codecs.base import Kind
from qacomp.formats.dtypes import dtype_name
from qacomp.formats.records import TensorRecord
from qacomp.formats.report import TensorReport


class Account:
    """The codecs, candidate sizes and reasons of one tensor.

    precision: the precision in which its codebook or vector is stored; same: the number of the tensor with the same
    content, or None; entropy_bits: the order-0 entropy of its indices in bits per weight, None for a dense tensor;
    index_bits: what they take at each level (see `level_bits`), empty unless they are coded here.
    """

    def __init__(self, precision: str, same: int | None = None, entropy_bits: float | None = None) -> None:
        self.precision = precision
        self.same = same
        self.codecs: list[str] = []
        self.candidates: dict[str, int] = {}
        self.reason = ""
        self.entropy_bits = entropy_bits
        self.index_bits: Sequence[int] = ()

    def has_indices(self, entropy_bits: float, index_bits: Sequence[int]) -> None:
        """Note that the tensor is shared, with indices of this entropy, which take these bits at each level."""
        self.entropy_bits, self.index_bits = entropy_bits, index_bits

    def restore(self, codecs: list[str], candidates: dict[str, int], reason: str, entropy_bits: float | None) -> None:
        """Set what another writer has found out about the tensor."""
        self.codecs, self.candidates, self.reason, self.entropy_bits = codecs, candidates, reason, entropy_bits

    def add(self, choice: Choice, content: Kind) -> None:
        """Add the codec, the candidate sizes and the reason of a section that holds a part of the tensor."""
        if content == "values" and self.entropy_bits is not None:
            return  # a codebook: the report names the codec of the indices
        if choice.codec.name not in self.codecs:
            self.codecs.append(choice.codec.name)
        for name, size in choice.candidates.items():
            self.candidates[name] = self.candidates.get(name, 0) + size
        self.reason = choice.reason

    def report(self, record: TensorRecord, charged: int) -> TensorReport:
        """Return the tensor's line of the report; `charged` is the number of bytes that it takes in the file."""
        return TensorReport(
            record.name,
            record.shape,
            dtype_name(record.dtype),
            record.levels[-1] if record.levels else None,
            "+".join(self.codecs) or "none",
            charged,
            record.count,
            self.entropy_bits,
            self.candidates,
            self.reason + ("; all levels at once" if record.at_once else ""),
            self.precision if record.stored != record.dtype else "exact",
            record.blocks,
        )
