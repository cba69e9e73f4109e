"""Run a transformer in one piece on the texts that it is calibrated on: to tune vectors, and for moments of gradients.

Norms and biases are tuned towards the original's outputs, and the weights keep the values that were rounded. All
weights are in memory, so this is for smaller models.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from qacomp.calibration.block_model import Feed, wide_tensor
from qacomp.calibration.gradient_moments import MOST_VALUES, PASSES, GradientSums, sent_back, spreads_of
from qacomp.calibration.stored_state import stored_state
from qacomp.calibration.text_vectors import share_of, with_vectors
from qacomp.calibration.transformer import Transformer
from qacomp.calibration.tuning import LEARNING_RATE, STEPS

_TOKENS = 2048  # of a step, about: with fewer the gradients are noisier, with more a step takes longer
_SCORES = 1 << 25  # of a step: 128 MiB for each copy of the scores of all words at all tokens
_CLASSES = "logits"  # the output whose last axis is scores of the next tokens
_LEAST_SPREAD = 1e-12  # so that the error of a constant output is finite
_BACK = 8192  # tokens of a pass, about: gradients of so many tell as much as those of all


class WholeTransformer:
    """A transformer that runs in one piece, whose weights lie elsewhere.

    made: without values; read: returns a tensor by its name there; names: of all tensors there. Raises
    NotACheckpointError if a parameter of the model can't be made of them.
    """

    def __init__(self, made: Transformer, read: Callable[[str], NDArray[Any]], names: Sequence[str]) -> None:
        self._made, self._read = made, read
        self._stored, self._own = stored_state(made.module, frozenset(names))
        parameters = dict(made.module.named_parameters(remove_duplicate=False))
        small = [own for own, value in parameters.items() if value.dim() <= 1 and own in self._stored]
        self.vectors = tuple(dict.fromkeys(self._stored[own].parts[0][0] for own in small))
        """The names of the tensors that are norms and biases."""
        self.weights = sum(value.numel() for value in made.module.parameters() if value.dim() > 1)
        """The number of weights beside them, those of embeddings too."""

    @property
    def watched(self) -> tuple[str, ...]:
        """Return the tensors of which gradients are taken: those of linear layers and tables that alone read them."""
        linears, tables = self._readers()
        return (*linears, *tables)

    def gradient_moments(
        self, feeds: Sequence[Feed], seed: int, advance: Callable[[], None]
    ) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
        """Return E[g gᵀ] of gradients at the outputs of linear layers, and at the rows of tables, by tensor.

        Both are (1, values, values). A tensor that several modules read has none. advance: called after each pass.
        """
        linears, tables = self._readers()
        sums = GradientSums({**linears, **tables})
        tensors = self._original()
        generator = torch.Generator().manual_seed(seed)
        spreads = self._spreads(tensors, feeds, generator)
        for _ in range(PASSES):
            for feed in self._drawn(feeds, generator):
                with sums.watching(), torch.enable_grad():
                    back = sent_back(self._outputs(tensors, feed), spreads, generator)
                    if back is not None:
                        back.backward()  # type: ignore[no-untyped-call]
            advance()
        means = {name: mean.numpy() for name, mean in sums.means().items()}
        return {n: m for n, m in means.items() if n in linears}, {n: m for n, m in means.items() if n in tables}

    def _drawn(self, feeds: Sequence[Feed], generator: torch.Generator) -> Iterator[Feed]:
        """Yield parts of the feeds in random order, until they have about as many tokens as a pass."""
        parts, left = [part for feed in feeds for part in _parts(feed, self._together)], _BACK
        for number in torch.randperm(len(parts), generator=generator).tolist():
            if left > 0:
                left -= parts[number]["input_ids"].numel()
                yield parts[number]

    @torch.no_grad()
    def _spreads(
        self, tensors: Mapping[str, Tensor], feeds: Sequence[Feed], generator: torch.Generator
    ) -> dict[str, float]:
        """Return how the original's outputs vary over the texts of about one pass."""
        return spreads_of(self._outputs(tensors, feed) for feed in self._drawn(feeds, generator))

    @property
    def _together(self) -> int:
        """Return about how many tokens are run together."""
        return min(_TOKENS, _SCORES // max(1, self._made.words))

    def _readers(self) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
        """Return the linear layers and the tables that alone read a tensor, by its name, without very wide ones."""
        readers: dict[str, list[nn.Module | None]] = {}
        for prefix, module in self._made.module.named_modules():
            stored = self._stored.get(f"{prefix}.weight")
            if stored is not None:
                for name in stored.names:
                    readers.setdefault(name, []).append(module if len(stored.names) == 1 else None)
        linears, tables = dict[str, nn.Module](), dict[str, nn.Module]()
        for name, (first, *others) in readers.items():
            if others or first is None or _width(first) > MOST_VALUES:
                continue
            if isinstance(first, nn.Embedding):
                tables[name] = first
            elif isinstance(first, nn.Linear) or type(first).__name__ == "Conv1D":  # GPT-2's linear layer
                linears[name] = first
        return linears, tables

    def tuned(
        self, values: Mapping[str, NDArray[Any]], feeds: Sequence[Feed], seed: int, advance: Callable[[], None]
    ) -> dict[str, NDArray[Any]]:
        """Return the vectors after STEPS steps, float32, by name; none for a model without outputs to compare.

        values: rounded weights by name; advance: called after each step. The same seed gives the same result.
        """
        original = self._original()
        leaves = {name: original[name].clone().requires_grad_() for name in self.vectors}
        rounded = {**original, **{name: wide_tensor(value) for name, value in values.items()}, **leaves}
        if not leaves or not feeds:
            return {}
        optimizer = torch.optim.Adam(leaves.values(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        generator = torch.Generator().manual_seed(seed)
        spreads = self._spreads(original, feeds, generator)
        for _ in range(STEPS):
            feed = _part(feeds, self._together, generator)
            with torch.no_grad():
                wanted = self._outputs(original, feed)
            if not wanted:
                return {}
            loss = self._loss(self._outputs(rounded, feed), wanted, spreads)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            advance()
        return {name: value.detach().numpy() for name, value in leaves.items()}

    def _original(self) -> dict[str, Tensor]:
        names = dict.fromkeys(name for stored in self._stored.values() for name in stored.names)
        return {name: wide_tensor(self._read(name)) for name in names}

    def _outputs(self, tensors: Mapping[str, Tensor], feed: Feed) -> dict[str, Tensor]:
        held = {made: made.value(tensors.__getitem__) for made in dict.fromkeys(self._stored.values())}
        state = {own: held[made] for own, made in self._stored.items()}
        more = {"return_dict": True, **({"use_cache": False} if len(self._made.stacks) > 1 else {})}
        found = functional_call(self._made.module, {**state, **self._own}, (), {**feed, **more})
        outputs = {n: y.float() for n, y in found.items() if isinstance(y, Tensor) and y.is_floating_point()}
        return with_vectors(outputs, self._made.pooling)

    def _loss(self, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], spreads: Mapping[str, float]) -> Tensor:
        """Return the divergence of the next tokens, or the relative squared error of other outputs, by their shares.

        spreads: how outputs vary.
        """
        terms, shares = [], [share_of(name, wanted) for name in wanted]
        for name, aim in wanted.items():
            if name == _CLASSES and self._made.decodes:
                ours, theirs = (y.reshape(-1, y.shape[-1]).log_softmax(1) for y in (found[name], aim))
                terms.append(F.kl_div(ours, theirs, log_target=True, reduction="batchmean"))
            else:
                rows, goal = (y.reshape(-1, y.shape[-1]) for y in (found[name], aim))
                terms.append(((rows - goal) ** 2).sum(1).mean() / max(spreads[name], _LEAST_SPREAD))
        return (torch.stack(terms) * torch.tensor(shares)).sum() / sum(shares)


def _width(module: nn.Module) -> int:
    """Return the number of values of the output of a linear layer or a table; 0 of another module."""
    return int(getattr(module, "out_features", 0) or getattr(module, "nf", 0) or getattr(module, "embedding_dim", 0))


def _parts(feed: Feed, most: int) -> list[Feed]:
    """Return the texts of a feed in parts of about `most` tokens, and one text at the least."""
    texts, tokens = feed["input_ids"].shape
    count = max(1, most // tokens)
    return [{n: v[start : start + count] for n, v in feed.items()} for start in range(0, texts, count)]


def _part(feeds: Sequence[Feed], most: int, generator: torch.Generator) -> Feed:
    """Return some texts of equal length, drawn from one feed: about `most` tokens, and one text at the least."""
    sizes = torch.tensor([float(feed["input_ids"].numel()) for feed in feeds])
    feed = feeds[int(torch.multinomial(sizes, 1, generator=generator))]
    texts, tokens = feed["input_ids"].shape
    count = max(1, min(texts, most // tokens))
    rows = torch.randperm(texts, generator=generator)[:count]
    return {name: value[rows] for name, value in feed.items()}
