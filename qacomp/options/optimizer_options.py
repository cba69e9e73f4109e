"""Define the base class of optimizers' hyper-parameters, without torch, for the checks of all settings."""

from dataclasses import dataclass


@dataclass(frozen=True)
class OptimizerOptions:
    """The base class of each optimizer's hyper-parameters; it has none itself."""

    @property
    def damping(self) -> float | None:
        """Return the learning rate divided by the step that a constant gradient of 1 causes in the long run.

        None: steps aren't proportional to the gradient, so a regularizer's λ can't be balanced by them.
        """
        return None
