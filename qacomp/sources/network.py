"""Build a network from a checkpoint and the settings, with its input shape and its preprocessing."""

from dataclasses import dataclass, field, replace

from torch import nn

from qacomp.checkpoints import Checkpoint, check_finite, check_fits, infer_num_classes, load_into, named_as
from qacomp.checkpoints.tensors import few
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.datasets.preprocessing_choice import choose_preprocessing
from qacomp.errors import ArchitectureMismatchError
from qacomp.graphs.export_inputs import ExportInputs
from qacomp.graphs.known_graphs import KnownGraphs
from qacomp.models import create_model, model_info
from qacomp.options.config import CompressConfig
from qacomp.options.network import NO_ARCHITECTURE
from qacomp.tensors.weight_parts import with_weights


@dataclass(frozen=True)
class Network:
    """A network in eval mode with the checkpoint's weights, and what it takes.

    input_shape: of one example, (C, H, W) for images; None for several inputs. preprocessing, num_classes: None for a
    user's own data, which is fed as it is. given: the inputs of two examples of that data, with their free axes.
    graphs: what it was exported to, shared by copies with other values.
    """

    model: nn.Module
    arch: str
    num_classes: int | None
    input_shape: tuple[int, ...] | None
    preprocessing: Preprocessing | None
    given: ExportInputs | None = None
    graphs: KnownGraphs = field(default_factory=KnownGraphs, compare=False, repr=False)

    @property
    def inputs(self) -> ExportInputs:
        """Return the inputs of two examples, for tracing and exporting the network."""
        if self.given is not None:
            return self.given
        assert self.input_shape is not None
        return ExportInputs.of_shape(self.input_shape)

    @property
    def images(self) -> tuple[tuple[int, ...], Preprocessing]:
        """Return the input shape and the preprocessing of a network that takes images of a data spec."""
        assert self.input_shape is not None and self.preprocessing is not None
        return self.input_shape, self.preprocessing


def build_network(checkpoint: Checkpoint, config: CompressConfig) -> Network | None:
    """Return the checkpoint's network, or None if neither the checkpoint nor the settings name an architecture.

    Raises UnknownArchitectureError, ArchitectureMismatchError, NonFiniteWeightsError, or ConfigError for preprocessing
    that doesn't fit.
    """
    arch = config.arch or checkpoint.arch
    if arch is None or arch == NO_ARCHITECTURE:
        return None
    checkpoint, info = whole_weights(checkpoint), model_info(arch, told=config.arch is None)
    checkpoint = named_as(checkpoint, arch)
    num_classes = config.num_classes or infer_num_classes(checkpoint.state, arch)
    check_fits(checkpoint, arch, num_classes)
    model = create_model(arch, num_classes)
    check_finite(checkpoint.path, checkpoint.state, checkpoint.state)
    load_into(model, checkpoint, arch)
    if config.num_classes is None and checkpoint.num_classes not in (None, num_classes):
        raise ArchitectureMismatchError(
            f"{checkpoint.path}: its metadata say {checkpoint.num_classes} classes, but its last layer has "
            f"{num_classes}; if the layer is right, give --num-classes {num_classes}"
        )
    preprocessing = choose_preprocessing(config, checkpoint.preprocessing or info.preprocessing)
    return Network(model.eval(), arch, num_classes or info.num_classes, preprocessing.input_shape, preprocessing)


def whole_weights(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint with pruning masks and weight norm multiplied into plain weights; a note names them."""
    state, names = with_weights(checkpoint.state)
    if not names:
        return checkpoint
    note = f"{few(names)}: computed from pruning masks or weight norm, and stored as plain weights"
    return replace(checkpoint, state=state, notes=(*checkpoint.notes, note))
