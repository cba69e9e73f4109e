"""Define the base class of regularizers' hyper-parameters, without torch, for the checks of all settings."""

from dataclasses import dataclass

from qacomp.options.declaration import POSITIVE, Option, option


@dataclass(frozen=True)
class RegularizerOptions:
    """The base class of each regularizer's hyper-parameters; it has those that all regularizers share.

    A regularizer that trains its shared values or its bits overrides the properties.
    """

    slices: int = option(1, Option("Equal parts of a layer; each step computes the penalty of one.", bounds=POSITIVE))

    @property
    def levels_learned(self) -> bool:
        """Return whether training learns the shared values, so that they have a learning rate."""
        return False

    @property
    def bits_learned(self) -> bool:
        """Return whether training learns each layer's bits, so that the user doesn't give them."""
        return False

    @property
    def bits_price(self) -> float:
        """Return the weight of the learned bits in the loss."""
        return 0.0

    @property
    def own_quantizer(self) -> str | None:
        """Return the quantizer that the regularizer needs in the forward pass where --quantizer gives none, or None."""
        return None

    @property
    def levels_vary(self) -> bool:
        """Return whether the number of shared values depends on the weights, which sharing in training can't handle."""
        return self.bits_learned
