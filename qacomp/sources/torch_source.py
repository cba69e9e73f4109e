"""A PyTorch network as a source, the only kind of source that can be trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from qacomp.checkpoints import Checkpoint, check_finite
from qacomp.errors import ConfigError
from qacomp.options.config import CompressConfig
from qacomp.sharing.selection import Selection, Weight
from qacomp.sources.source import PlainSource
from qacomp.sources.source_size import SourceSize

if TYPE_CHECKING:  # the type of a source is asked for without torch too
    from qacomp.sources.network import Network


@dataclass(frozen=True)
class TorchSource:
    """A checkpoint and the network that holds its weights; the stages of a compression change its module in place."""

    checkpoint: Checkpoint
    network: "Network"

    @property
    def origin(self) -> Checkpoint:
        """Return the checkpoint that the weights come from."""
        return self.checkpoint

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the remarks from reading the checkpoint."""
        return self.checkpoint.notes

    @property
    def size(self) -> SourceSize:
        """Return the size of the checkpoint's tensors."""
        return SourceSize.of_state(self.checkpoint.state)

    def digests(self) -> list[str]:
        """Return an empty list: the digests of shards are recorded with the checkpoint itself."""
        return []

    def weights(self) -> Sequence[Weight]:
        """Return all tensors of the network."""
        from qacomp.sources.torch_weights import layer_weights

        return layer_weights(self.network.model)

    def check(self, selection: Selection) -> None:
        """Raise NonFiniteWeightsError if a selected weight holds NaN or infinity, ConfigError if none is selected."""
        if not selection.layers:
            reason = next(iter(selection.skipped.values()), "it has no tensors")
            raise ConfigError(
                f"nothing would be compressed: {reason}; change --scope, --include, --exclude or --min-size"
            )
        names = [layer.name for layer in selection.layers]
        check_finite(self.checkpoint.path, self.network.model.state_dict(), names)

    def smaller(self, selection: Selection, config: CompressConfig) -> Selection:
        """Return the selection without the layers that sharing would not make smaller; unchanged with a quantizer.

        Call it before training: it measures the weights as they are.
        """
        if config.quantizer.chosen:
            return selection
        from qacomp.sources.smaller_layers import smaller_layers

        return smaller_layers(self.network.model, selection, config.codebook, config.levels, config.stored_precision)


Source: TypeAlias = TorchSource | PlainSource
"""The model that a compression starts from."""
