"""What decides whether steps may be taken: a model's verdict, its agreement, and what it lost of the metric."""

from dataclasses import dataclass, replace
from typing import Any, Self

from qacomp.evaluation.paired import Loss
from qacomp.evaluation.verdict import GOOD, LARGEST_DROP, UNMEASURED, Verdict, few, stated_verdict
from qacomp.stages.journal import real, text, whole
from qacomp.stages.made import Made

_DROP = LARGEST_DROP / 2  # points of accuracy where samples decide: those that are reported have a noise of their own


@dataclass(frozen=True)
class Validation:
    """A model's measurements where steps are chosen: on a validation part if there are labels, else as reported.

    agreement: cosine of the worst output with the original's, None if nothing was compared; loss: of the metric, None
    without labels. inputs: text on what was run; apart: the reported samples are others; reported: their number.
    beyond_tuning: the errors of the weights alone decide against the model, so tuning it wouldn't help.
    """

    verdict: Verdict
    agreement: float | None = None
    loss: Loss | None = None
    inputs: str = ""
    apart: bool = False
    reported: int = 0
    beyond_tuning: bool = False

    @classmethod
    def of_json(cls, value: Any) -> Self:
        """Return the validation of which `value` is the `asdict`, from JSON. Raises ValueError, TypeError, KeyError."""
        loss = value["loss"]
        if loss is not None:
            error = None if loss["error"] is None else real(loss["error"])
            loss = Loss(text(loss["metric"]), real(loss["lost"]), error, whole(loss["samples"]))
        verdict = stated_verdict({"verdict": text(value["verdict"]["word"])})
        if verdict is None:
            raise ValueError("no verdict")
        reasons = tuple(text(reason) for reason in value["verdict"]["reasons"])
        verdict = replace(verdict, reasons=reasons, advice=text(value["verdict"]["advice"]))
        agreement = None if value["agreement"] is None else real(value["agreement"])
        apart, far = value["apart"] is True, value["beyond_tuning"] is True
        return cls(verdict, agreement, loss, text(value["inputs"]), apart, whole(value["reported"]), far)

    @property
    def of_few(self) -> bool:
        """Return whether too few samples decide to tell a loss of accuracy."""
        return self.loss is not None and few(self.loss.samples)

    @property
    def good(self) -> bool:
        """Return whether the model may be taken: by its loss of accuracy, on enough samples, else by its verdict."""
        if self.loss is not None and self.loss.metric == "accuracy" and not self.of_few:
            return self.loss.lost <= _DROP
        return self.verdict.word in (GOOD, UNMEASURED)


def as_reported(made: Made) -> Validation:
    """Return the measurements that are also reported, where no other samples decide."""
    agreement = made.measured.agreement
    if agreement is None:
        return Validation(made.measured.verdict)
    return Validation(made.measured.verdict, agreement.cosine, inputs=agreement.inputs)
