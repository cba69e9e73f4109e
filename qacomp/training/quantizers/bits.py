"""How many bits each layer gets."""

from collections.abc import Sequence

from qacomp.errors import ConfigError
from qacomp.training.quantizers.base import check_bits


def layer_bits(names: Sequence[str], bits: int | Sequence[int], *, ends: int | str = "same") -> dict[str, int]:
    """Bits by weight name, for the weights `names` in the order of the layers.

    `bits`: for all, or one number a layer. `ends`: what the first and the last layer get, `same` as the others, a
    number of bits, or `full` precision: then they are left out of the result. Raises ConfigError.
    """
    each = [bits] * len(names) if isinstance(bits, int) else list(bits)
    if len(each) != len(names):
        raise ConfigError(f"{len(each)} numbers of bits for {len(names)} layers; give one, or one for each layer")
    chosen = {name: check_bits(b, name) for name, b in zip(names, each, strict=True)}
    if ends == "same" or not names:
        return chosen
    if ends == "full":
        return {name: b for name, b in chosen.items() if name not in (names[0], names[-1])}
    if not isinstance(ends, int):
        raise ConfigError(f"bits of the first and last layer: {ends!r}; must be same, full or a number")
    return chosen | {names[0]: check_bits(ends, names[0]), names[-1]: check_bits(ends, names[-1])}
