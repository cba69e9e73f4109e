"""One network on its way through the stages of a compression, as a value."""

from dataclasses import dataclass, fields, replace
from pathlib import Path

from torch import nn

from qacomp.checkpoints import Checkpoint, check_finite
from qacomp.datasets import Dataset
from qacomp.errors import ConfigError
from qacomp.models.plain_modules import copied
from qacomp.options.checking import leave_out
from qacomp.options.config import CompressConfig
from qacomp.sources.network import Network, choose_device
from qacomp.sources.smaller_layers import smaller_layers
from qacomp.sources.torch_weights import Selection, select_layers
from qacomp.stages.resolve import PROGRAM, resolve
from qacomp.stages.run import Run
from qacomp.training.fine_tune import Session
from qacomp.training.parametrizations.zeros import NO_ZEROS, Zeros
from qacomp.training.resume import ResumeStore, fingerprint


@dataclass(frozen=True)
class Job:
    """What every stage needs to know.

    network: whose model the stages change; original: a copy of it as it came; config: settings without None and auto;
    selection: the layers that are shared; session: what trains them, None without data; zeros: pruned weights.
    """

    checkpoint: Checkpoint
    network: Network
    original: nn.Module
    config: CompressConfig
    selection: Selection
    session: Session | None
    output: Path
    run: Run
    zeros: Zeros = NO_ZEROS

    @property
    def model(self) -> nn.Module:
        """The network's own module."""
        return self.network.model

    def pruned(self, zeros: Zeros) -> "Job":
        """The same with these weights held at zero, and the layers that are still there."""
        session = self.session and replace(self.session, zeros=zeros)
        return replace(self, zeros=zeros, session=session, selection=zeros.selection(self.selection, self.model))


def start_job(
    checkpoint: Checkpoint,
    network: Network,
    config: CompressConfig,
    dataset: Dataset | None,
    output: Path,
    run: Run,
) -> Job:
    """Choose what the settings leave open and the layers, and move the network to its device.

    Raises ConfigError for settings that don't fit the network or that leave nothing to compress, DataError for data
    that doesn't fit it.
    """
    config = leave_out(config, _all_but("metric"), run.note, "a network's metric is its top-1 accuracy")
    config = leave_out(config, _all_but(*PROGRAM), run.note, "the network is exported as its architecture has it")
    if checkpoint.kind == "module":
        config = leave_out(config, _all_but("arch", "num_classes"), run.note, "a module is its own architecture")
    device = choose_device(config.device)
    config = resolve(config, network, dataset, device, run.note)
    selection = select_layers(network.model, config.scope, config.k, config.k_layers, **config.which)
    if config.quantizer == "none":
        selection = smaller_layers(network.model, selection, config.codebook, config.levels, config.stored_precision)
    if not selection.layers:
        reason = next(iter(selection.skipped.values()), "it has no tensors")
        raise ConfigError(f"nothing would be compressed: {reason}; see --scope, --include, --exclude and --min-size")
    check_finite(checkpoint.path, network.model.state_dict(), [layer.name for layer in selection.layers])
    original = copied(network.model.to(device))
    session = None
    if dataset is not None:
        store = ResumeStore(output.with_name(output.name + ".resume"), fingerprint(checkpoint, config, dataset))
        session = Session(config, dataset, network.preprocessing, original, device, run.progress, store)
    return Job(checkpoint, network, original, config, selection, session, output, run)


def _all_but(*names: str) -> list[str]:
    return [field.name for field in fields(CompressConfig) if field.name not in names]
