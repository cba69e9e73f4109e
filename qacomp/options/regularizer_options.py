"""What other options need to know of a regularizer's hyper-parameters. Free of torch, for the checks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RegularizerOptions:
    """Hyper-parameters of a regularizer that has none, from which each regularizer's own are derived.

    A regularizer that trains its representatives or its bits says so in its properties.
    """

    @property
    def levels_learned(self) -> bool:
        """Return whether training moves the shared values beside the weights, so that they have a learning rate."""
        return False

    @property
    def bits_learned(self) -> bool:
        """Return whether training finds each layer's bits, so that their number isn't given."""
        return False

    @property
    def levels_vary(self) -> bool:
        """Return whether the number of levels follows the weights, so that sharing in training can't use them."""
        return self.bits_learned
