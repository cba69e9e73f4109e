"""Build a Hugging Face model from its folder's config.json without its weights: the classes of transformers alone."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from qacomp.calibration.text_vectors import pooling_of
from qacomp.errors import NotACheckpointError
from qacomp.extras import naming_extra
from qacomp.formats.regular import read_small

_LARGEST_CONFIG = 1 << 20  # bytes
_LARGEST_NUMBER = 1 << 30  # in a config: no size of a model is larger
_LAYERS = ("layers", "n_layer", "layer_count", "num_blocks", "experts")  # ends of the names of counts of modules


@dataclass(frozen=True)
class Transformer:
    """A model whose parameters have shapes and no values, in evaluation mode.

    stacks: the names of the lists of its blocks, an encoder's before its decoder's; decodes: whether it predicts the
    next token of its input; words: the rows of its embedding; most_tokens: of a text, None if its config tells no
    limit. first: of an encoder-decoder model the token with which its decoder starts, else None. pooling: how
    vectors of texts are made of hidden states, None if the folder doesn't say (see `pooling_of`).
    """

    module: nn.Module
    stacks: tuple[str, ...]
    decodes: bool
    words: int
    most_tokens: int | None
    first: int | None = None
    pooling: str | None = None


def transformer_of(folder: Path, tensors: int) -> Transformer:
    """Return the model that a folder's config.json describes. tensors: their number in the folder, as a bound.

    Raises NotACheckpointError for a folder that transformers has no class for, or whose blocks can't be told, and
    MissingPackageError without transformers. No code of the folder is run.
    """
    path = folder / "config.json"
    config = _config(path, tensors)
    names = config.get("architectures") or []
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    with naming_extra("--calibration of a folder"):
        import transformers
        from accelerate import init_empty_weights
    transformers.logging.set_verbosity_error()
    found = getattr(transformers, name, None) if name.isidentifier() else None
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        raise NotACheckpointError(
            f"{path}: architecture {name[:80]!r} isn't one of transformers {transformers.__version__}; leave "
            "out --calibration and --data"
        )
    try:
        settings = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with init_empty_weights(include_buffers=False):
            module = found(settings)
        module.tie_weights()
        if hasattr(module, "set_experts_implementation") and any(p.dim() == 3 for p in module.parameters()):
            module.set_experts_implementation("eager")  # one expert after the other, each with its own tokens
    except Exception as error:  # whatever a wrong config raises in transformers
        why = str(error).strip().split("\n")[0][:200]
        raise NotACheckpointError(
            f"{path}: transformers makes no {name} of it ({why}); leave out --calibration and --data"
        ) from error
    two = bool(getattr(settings, "is_encoder_decoder", False))
    stacks = _stacks_of(module) if two else [blocks_of(module)]
    if None in stacks or not stacks or getattr(module, "main_input_name", "input_ids") != "input_ids":
        raise NotACheckpointError(
            f"{path}: {name} isn't one sequence of blocks that reads tokens, nor an encoder and a decoder that are, so "
            "it can't be run block by block; leave out --calibration and --data"
        )
    settings.update({"use_cache": False})
    limit = getattr(settings, "max_position_embeddings", None)
    decodes = name.endswith(("ForCausalLM", "LMHeadModel")) or bool(getattr(settings, "is_decoder", False))
    words = _words(module)
    return Transformer(
        module.eval(),
        tuple(stack for stack in stacks if stack is not None),
        decodes and not two,
        words,
        limit if isinstance(limit, int) and limit > 0 else None,
        _first_token(settings, words) if two else None,
        None if two or decodes else pooling_of(folder),
    )


def _stacks_of(module: Any) -> list[str | None]:
    """Return the names of the blocks of the encoder and the decoder; an empty list if there aren't both."""
    found = []
    for part in (getattr(module, "get_encoder", lambda: None)(), getattr(module, "get_decoder", lambda: None)()):
        prefix = next((name for name, child in module.named_modules() if child is part and name), None)
        own = blocks_of(part) if prefix is not None and isinstance(part, nn.Module) else None
        found.append(None if own is None else f"{prefix}.{own}")
    return found if len(set(found)) == len(found) else []


def _words(module: Any) -> int:
    """Return how many tokens the embeddings know: of a model with two, both of them."""
    tables = {module.get_input_embeddings()}
    for part in ("get_encoder", "get_decoder"):
        if isinstance(own := getattr(module, part, lambda: None)(), nn.Module) and hasattr(own, "embed_tokens"):
            tables.add(own.embed_tokens)
    return min(int(table.weight.shape[0]) for table in tables if table is not None)


def _first_token(settings: Any, words: int) -> int:
    """Return the token with which a decoder starts: as its config says, else 0."""
    for key in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
        found = getattr(settings, key, None)
        if isinstance(found, int) and 0 <= found < words:
            return found
    return 0


def blocks_of(module: nn.Module) -> str | None:
    """Return the name of the longest list of equal modules that isn't part of another; None if there is none."""
    lists = {
        name: child
        for name, child in module.named_modules()
        if isinstance(child, nn.ModuleList) and len(child) and len({type(block) for block in child}) == 1
    }
    outer = {n: c for n, c in lists.items() if not any(n.startswith(f"{other}.") for other in lists)}
    sizes = {name: sum(p.numel() for p in child.parameters()) for name, child in outer.items()}
    return max(sizes, key=lambda name: sizes[name], default=None)


def _config(path: Path, tensors: int) -> Mapping[str, Any]:
    """Return the settings of a config.json. Raises NotACheckpointError for one that would take memory or time."""
    try:
        config: Any = json.loads(read_small(path, _LARGEST_CONFIG))
    except (OSError, ValueError, RecursionError) as error:
        raise NotACheckpointError(
            f"{path}: can't be read as JSON, but says what the model is; copy or download the folder again, or leave "
            "out --calibration and --data"
        ) from error
    if not isinstance(config, dict):
        raise NotACheckpointError(f"{path}: isn't an object; copy or download the folder again")
    for key, number in _numbers(config):
        most = tensors if key.lower().endswith(_LAYERS) else _LARGEST_NUMBER
        if number > most:
            raise NotACheckpointError(
                f"{path}: {key[:80]!r} is {number:.3g}, more than a model of {tensors} tensors can have; copy or "
                "download it again"
            )
    return config


def _numbers(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Yield the key and the value of each number in nested settings."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value
