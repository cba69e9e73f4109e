"""A network class of the user's own beside a state dict: `--arch module:Class`, with arguments of its constructor."""

import ast
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from qacomp.checkpoints import Checkpoint, check_finite, load_into
from qacomp.checkpoints.wrappers import matched
from qacomp.datasets.custom import find_custom
from qacomp.errors import ConfigError, DataError, QacompError
from qacomp.sources.network import whole_weights


def is_own(arch: str | None) -> bool:
    """Return whether an architecture is `module:Class`, not the name of a registered one."""
    return arch is not None and ":" in arch


def own_module(arch: str) -> nn.Module:
    """Import `module:Class`, or a function, and call it; `module:Class:width=32,names=("a",)` gives it arguments.

    Values are Python literals, or text. The module is found on the Python path or in the working directory. Raises
    ConfigError if it can't be imported or called, or doesn't return a network.
    """
    module, _, rest = arch.partition(":")
    name, _, given = rest.partition(":")
    try:
        make = partial(find_custom(module, name), **_arguments(arch, given))
    except DataError as error:
        raise ConfigError(f"--arch {error}") from error
    return made_by(make, arch, f"give its arguments as {module}:{name}:NAME=VALUE,...")


def made_by(make: Callable[[], Any], arch: str, advice: str = "give the module itself") -> nn.Module:
    """Return the network that a class or function of the user's own makes; arch, advice: its name and a way out.

    Raises ConfigError if it can't be called, or doesn't return a network.
    """
    try:
        made = make()
    except QacompError:
        raise
    except Exception as error:  # a user's constructor may raise anything
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ConfigError(f"--arch {arch}: can't be made ({text}); {advice}") from error
    if not isinstance(made, nn.Module):
        raise ConfigError(f"--arch {arch}: gives a {type(made).__name__}, not a torch.nn.Module")
    return made


def own_network(checkpoint: Checkpoint, arch: str) -> tuple[Checkpoint, nn.Module]:
    """Return the checkpoint under the names of the user's network, and that network with its weights.

    Raises ArchitectureMismatchError, with the names and shapes that differ, and NonFiniteWeightsError.
    """
    module, checkpoint = own_module(arch), whole_weights(checkpoint)
    wanted = [name for name in module.state_dict() if not name.endswith("num_batches_tracked")]
    state, notes = matched(checkpoint.path, checkpoint.state, wanted)
    if notes:
        checkpoint = _renamed(checkpoint, dict(state), notes)
    check_finite(checkpoint.path, checkpoint.state, checkpoint.state)
    load_into(module, checkpoint, arch)
    return checkpoint, module.eval()


def _renamed(checkpoint: Checkpoint, state: dict[str, Any], notes: tuple[str, ...]) -> Checkpoint:
    return replace(checkpoint, state=state, notes=checkpoint.notes + notes)


def _arguments(arch: str, text: str) -> dict[str, Any]:
    """Return the arguments NAME=VALUE,... as Python values."""
    if not text:
        return {}
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        assert isinstance(call, ast.Call)
        if call.args or any(keyword.arg is None for keyword in call.keywords):
            raise ValueError("not NAME=VALUE")
        return {str(keyword.arg): _value(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, AssertionError) as error:
        raise ConfigError(f"--arch {arch}: write arguments as NAME=VALUE, several separated by commas") from error


def _value(node: ast.expr) -> Any:
    """Return a literal; a bare word is text."""
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)
