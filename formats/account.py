"""What is gathered of one tensor while it is written, for its line in the report."""

from qacomp.formats.codec_choice import Choice
from qacomp.formats.codecs.base import Kind
from qacomp.formats.dtypes import dtype_name
from qacomp.formats.records import TensorRecord
from qacomp.formats.report import TensorReport


class Account:
    """One tensor's codecs and reasons; precision: how its codebook or vector is stored.

    same: the number of the tensor whose content it shares, or None; entropy_bits: the order-0 entropy of its indices in
    bits a weight, None for a dense tensor.
    """

    def __init__(self, precision: str, same: int | None = None, entropy_bits: float | None = None) -> None:
        self.precision = precision
        self.same = same
        self.codecs: list[str] = []
        self.candidates: dict[str, int] = {}
        self.reason = ""
        self.entropy_bits = entropy_bits

    def add(self, choice: Choice, content: Kind) -> None:
        """Note what became of a section that holds something of the tensor."""
        if content == "values" and self.entropy_bits is not None:
            return  # a codebook: counted, but the tensor's codec is that of its indices
        if choice.codec.name not in self.codecs:
            self.codecs.append(choice.codec.name)
        for name, size in choice.candidates.items():
            self.candidates[name] = self.candidates.get(name, 0) + size
        self.reason = choice.reason

    def report(self, record: TensorRecord, charged: int) -> TensorReport:
        """Return the report's line of a tensor, which takes `charged` bytes of the file."""
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
