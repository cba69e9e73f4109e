"""The options of pruning."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def prune_options(function: F) -> F:
    """--prune and what goes with it."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


_OPTIONS = (
    click.option("--prune", type=click.Choice(["none", "energy", "magnitude"]), default=None, help="Before all else."),
    click.option(
        "--prune-rate",
        type=float,
        default=None,
        help="Share of the parameters that goes. Default: magnitude 0.5; energy finds its own.",
    ),
    click.option(
        "--prune-unit", type=click.Choice(["weight", "filter"]), default=None, help="What magnitude prunes. [weight]"
    ),
    click.option(
        "--prune-scope", type=click.Choice(["layer", "global"]), default=None, help="Magnitudes rank by. [layer]"
    ),
    click.option(
        "--prune-epochs", type=int, default=None, help="Of pruning and retraining. Default: about 3,000 steps."
    ),
    click.option(
        "--prune-objective",
        type=click.Choice(["energy", "cross-entropy"]),
        default=None,
        help="What energy pruning's states are judged by. [energy]",
    ),
    click.option(
        "--prune-start",
        type=click.Choice(["random", "magnitude"]),
        default=None,
        help="Energy pruning's first states: the paper's, or near magnitude's. [random]",
    ),
    click.option("--population", type=int, default=None, help="States that evolve in energy pruning. [8]"),
    click.option(
        "--stagnation", type=int, default=None, help="Epochs after which the best state is frozen. Default: half."
    ),
)
