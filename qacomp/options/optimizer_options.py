"""What other parts need to know of an optimizer's hyper-parameters. Free of torch, for the checks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class OptimizerOptions:
    """Hyper-parameters of an optimizer that has none, from which each optimizer's own are derived."""

    @property
    def damping(self) -> float | None:
        """Return the learning rate over how far a steady gradient of one moves a weight in a step, in the long run.

        None: a step's size doesn't follow the gradient's, so a regularizer's λ can't be balanced by it.
        """
        return None
