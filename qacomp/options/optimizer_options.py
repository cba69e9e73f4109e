"""Define the base class of optimizers' hyper-parameters, without torch, for the checks of all settings."""

from dataclasses import dataclass

from qacomp.options.declaration import NOT_NEGATIVE, POSITIVE, Option, option


@dataclass(frozen=True)
class OptimizerOptions:
    """The base class of each optimizer's hyper-parameters; it has those that all optimizers share."""

    weight_decay: float = option(
        1e-4, Option("Weight decay of matrices and kernels; vectors have none.", bounds=NOT_NEGATIVE)
    )
    schedule: str = option(
        "cosine",
        Option(
            "Learning rate after the first 5 %: it falls to 0 along a cosine, or by steps, exponentially, or not.",
            choices=("cosine", "step", "exponential", "constant"),
        ),
    )
    clip: float | None = option(
        None, Option("Largest norm of all gradients together; larger ones are scaled down.", bounds=POSITIVE)
    )

    @property
    def damping(self) -> float | None:
        """Return the learning rate divided by the step that a constant gradient of 1 causes in the long run.

        None: steps aren't proportional to the gradient, so a regularizer's λ can't be balanced by them.
        """
        return None
