"""What decides whether steps may be taken: a model's verdict, its agreement, and what it lost of the metric."""

from dataclasses import dataclass

from qacomp.evaluation.paired import Loss
from qacomp.evaluation.verdict import GOOD, LARGEST_DROP, UNMEASURED, Verdict
from qacomp.stages.made import Made

_DROP = LARGEST_DROP / 2  # points of accuracy where samples decide: those that are reported have a noise of their own


@dataclass(frozen=True)
class Validation:
    """A model's measurements where steps are chosen: on a validation part if there are labels, else as reported.

    agreement: cosine of the worst output with the original's, None if nothing was compared; loss: of the metric, None
    without labels. inputs: text on what was run; apart: the reported samples are others; reported: their number.
    """

    verdict: Verdict
    agreement: float | None = None
    loss: Loss | None = None
    inputs: str = ""
    apart: bool = False
    reported: int = 0

    @property
    def good(self) -> bool:
        """Return whether the model may be taken: by its loss of accuracy, else by its verdict."""
        if self.loss is not None and self.loss.metric == "accuracy":
            return self.loss.lost <= _DROP
        return self.verdict.word in (GOOD, UNMEASURED)


def as_reported(made: Made) -> Validation:
    """Return the measurements that are also reported, where no other samples decide."""
    agreement = made.measured.agreement
    if agreement is None:
        return Validation(made.measured.verdict)
    return Validation(made.measured.verdict, agreement.cosine, inputs=agreement.inputs)
