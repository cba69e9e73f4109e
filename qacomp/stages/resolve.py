"""Choose the settings that were left open, from the network, the data and the machine."""

import math
from collections.abc import Callable, Collection
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from qacomp.batches.augmentation import augmentation
from qacomp.batches.examples import Examples
from qacomp.errors import ConfigError, DataError
from qacomp.evaluation.samples import Given
from qacomp.models.flexible import FlexibleModel
from qacomp.options.checking import check_effects, leave_out
from qacomp.options.config import CompressConfig
from qacomp.options.declaration import declarations
from qacomp.options.method import NO_METHOD, MethodChoice
from qacomp.options.needs import (
    assisted,
    fine_tunes,
    limited,
    rate_aware,
    regularizer_options,
    rounds_freely,
    shares_in_training,
    sharing_way,
    trains,
    trains_unlabelled,
)
from qacomp.options.quality import QUALITY
from qacomp.options.sharing import AFTER, RATE
from qacomp.sources.source import PROGRAM, RATE_AWARE, RUNNING, SHARING
from qacomp.sources.tensor_source import TensorSource
from qacomp.sources.torch_source import Source, TorchSource

if TYPE_CHECKING:  # imported where a network is trained: other sources need no torch
    from qacomp.sources.network import Network
    from qacomp.training.pruning.methods import Pruner

# Optimizer steps that a stage should have at least; its default number of epochs follows from them.
_FINE_TUNE_STEPS = 1000
_TUNE_STEPS = 600
_PRUNE_STEPS = 3000
_WITHOUT_DATA = (
    *SHARING,
    *RUNNING,
    *("arch", "num_classes", "preprocess", "device"),
    *("quantizer", "bits", "bits_layers", "prune"),
)
_UNLABELLED = ("epochs", "batch_size")


def resolve(
    config: CompressConfig, source: Source, data: Examples | Given | None, note: Callable[[str], None]
) -> CompressConfig:
    """Return `config` with every None and auto replaced by a choice, and settings without effect at their defaults.

    note: called with a text that names the settings without effect, and why. Raises ConfigError for a setting that
    can't work with this source.
    """
    config.check()
    if config.max_drop is not None and (data is None or isinstance(source, TensorSource)):
        bare = isinstance(source, TensorSource)
        needs = "a network or an ONNX model, which can be run" if bare else "labelled data; give --data"
        raise ConfigError(f"--max-drop {config.max_drop:g}: needs {needs}, or leave --max-drop out")
    if not isinstance(source, TorchSource):
        effects = source.effects(data is not None)
        for flag, value in (("--prune", config.prune), ("--quantizer", config.quantizer)):
            if value.chosen:
                raise ConfigError(f"{flag} {value.name} {effects.refused}")
        used = [name for name in effects.used if name not in RATE_AWARE or rate_aware(config)]
        return untrained(config, used, note, effects.untrained)
    config = leave_out(config, _all_but(*PROGRAM), note, "the network is exported with its architecture's input shape")
    if source.checkpoint.kind == "module":
        config = leave_out(config, _all_but("arch", "num_classes"), note, "a module is its own architecture")
    config = resolve_network(config, source.network, data if isinstance(data, Examples) else None, note)
    if source.checkpoint.kind == "module":
        return replace(config, arch=None)  # the name of a module's class is no architecture
    return config


def _all_but(*names: str) -> list[str]:
    return [field.name for field in fields(CompressConfig) if field.name not in names]


def resolve_network(
    config: CompressConfig, network: "Network", examples: Examples | None, note: Callable[[str], None]
) -> CompressConfig:
    """Return `config` with the open settings of a network's training chosen; without data nothing is trained.

    If sub-models shall distill each other and the network has none, they are the network with --k shared values and the
    full-precision network. note: called with a text that names settings without effect. Raises DataError if the data
    has more classes than the network; ConfigError for a pruning method that needs data without it, or for a setting
    that changes nothing.
    """
    from qacomp.batches.images import ImageExamples
    from qacomp.training.device import choose_device, choose_precision
    from qacomp.training.distillation import with_lesson
    from qacomp.training.pruning.methods import pruner_of
    from qacomp.training.quantizers import quantizer_named

    device = choose_device(config.device)
    if config.prune.chosen:
        config = _with_rate(config, pruner_of(config.prune), examples is not None)
    trained = examples is not None or config.prune.chosen or config.quantizer.chosen
    kmeans = not rate_aware(config)
    if kmeans and config.min_agreement and (trained or isinstance(network.model, FlexibleModel)):
        raise ConfigError(
            "--min-agreement: works for plain sharing without data, without --prune and --quantizer, and for networks "
            "without sub-models; leave it out"
        )
    if examples is None:
        if config.quantizer.chosen and quantizer_named(config.quantizer).options.activations is not None:
            raise DataError(f"--quantizer {config.quantizer}: training learns the range of activations; give --data")
        return replace(_without_data(config, network, note), arch=network.arch)
    if examples.num_classes is not None and network.num_classes and examples.num_classes > network.num_classes:
        raise DataError(f"{examples.spec}: {examples.num_classes} classes, but the network has {network.num_classes}")
    config = without_image_settings(config, examples, note)
    config = with_quantizer(config, note)
    config = _with_sharing(config, isinstance(network.model, FlexibleModel))
    config = _with_epochs(config, examples.train.steps(config.batch_size))
    config = _with_rounding(config)
    augment, precision = config.augment, config.precision
    if not trains(config):
        augment, precision = "none", "fp32"
    if augment == "auto":
        images = isinstance(examples, ImageExamples) and examples.preprocessing.channels == 3
        augment = "crop-flip" if images else "none"
    augmentation(augment)  # an unknown one is an error before anything is trained
    if config.distill.chosen and trains(config):
        config = replace(config, distill=with_lesson(network.model, config.distill))
    return replace(config, augment=augment, precision=choose_precision(precision, device), arch=network.arch)


def with_quantizer(config: CompressConfig, note: Callable[[str], None]) -> CompressConfig:
    """Return `config` with the quantizer whose forward pass the regularizer needs, if it needs one; a note says so."""
    own = regularizer_options(config).own_quantizer
    if own is None or config.quantizer.chosen:
        return config
    note(f"--reg {config.reg}: bits are learned in the forward pass of --quantizer {own}")
    return replace(config, quantizer=MethodChoice(own)).check()


def without_image_settings(config: CompressConfig, examples: Examples, note: Callable[[str], None]) -> CompressConfig:
    """Return `config` without the settings that only images of a data spec have, if the data is the user's own."""
    from qacomp.batches.images import ImageExamples
    from qacomp.batches.loaders import LoaderBatches

    if isinstance(examples, ImageExamples):
        return config
    config = leave_out(config, _all_but("preprocess", "augment"), note, f"{examples.spec}: is fed as it comes")
    if isinstance(examples.train, LoaderBatches):
        config = leave_out(config, _all_but("batch_size"), note, f"{examples.spec}: its batches have the loader's size")
    return config


def _without_data(config: CompressConfig, network: "Network", note: Callable[[str], None]) -> CompressConfig:
    """Return `config` with what needs labels left out. Raises ConfigError if there is nothing to train on either."""
    if not trains_unlabelled(config):
        how = "by rate" if rate_aware(config) else "by k-means alone"
        why = f"no data: no fine-tuning and no tuning on labels, weights are shared {how}; give --data"
        return untrained(config, (*_WITHOUT_DATA, *(RATE_AWARE if rate_aware(config) else ())), note, why)
    if limited(config):
        raise ConfigError(
            f"--epochs {config.epochs}: training without data is judged by a size or a quality; give --target-size or "
            "--quality instead of --max-drop and --min-agreement, or --epochs 0"
        )
    from qacomp.calibration.synthetic import has_statistics

    if config.calibration is None and not has_statistics(network.model):
        raise ConfigError(
            f"--epochs {config.epochs}: without data the network makes images for itself from the statistics of its "
            "batch norms, and it has none; give --calibration with inputs, or --data"
        )
    why = "no data: weights are trained towards the original's outputs, without labels; give --data"
    found = untrained(config, (*_WITHOUT_DATA, *RATE_AWARE, *_UNLABELLED), note, why)
    return replace(found, epochs=config.epochs)


def _with_rate(config: CompressConfig, pruner: "Pruner", trained: bool) -> CompressConfig:
    """Return `config` with the share of parameters to prune chosen; trained: there is data."""
    if pruner.needs_data and not (trained and pruner.options.epochs != 0):
        raise ConfigError(f"--prune {pruner.name} trains while it prunes; give --data, and epochs above 0")
    if pruner.options.rate is not None or pruner.default_rate is None:
        return config
    return replace(config, prune=config.prune.filled(rate=pruner.default_rate))


def untrained(config: CompressConfig, used: Collection[str], note: Callable[[str], None], why: str) -> CompressConfig:
    """Return `config` for a run without training: only the settings `used` stay; a note names the others, and `why`."""
    way = RATE if rate_aware(config) else AFTER  # before the settings that ask for k-means may be left out
    config = leave_out(config, used, note, why)
    config = replace(
        config,
        epochs=0,
        tune_epochs=0,
        sharing=config.sharing if config.sharing.name == way.name else way,
        distill=NO_METHOD,
    )
    config = replace(config, augment="none", precision="fp32")
    return _with_target(_with_rounding(with_k(config)))


def with_k(config: CompressConfig) -> CompressConfig:
    """Return `config` with `k` chosen, where it has an effect: the finest of the levels, or the default of k-means."""
    if config.levels is not None:
        return replace(config, k=config.levels[-1])
    chosen = replace(config, k=config.shared_values)
    return chosen if all(need.holds(chosen) for need in declarations(config)["k"].needs) else config


def _with_target(config: CompressConfig) -> CompressConfig:
    """Return `config` with the quality chosen, where weights are shared by rate and no size is asked for."""
    if not rate_aware(config) or limited(config) or config.target_size is not None or config.quality != "auto":
        return config
    return replace(config, quality=QUALITY)


def _with_rounding(config: CompressConfig) -> CompressConfig:
    """Return `config` with auto rounding chosen: balanced where k-means alone assigns weights, else nearest."""
    if config.rounding != "auto":
        return config
    return replace(config, rounding="balanced" if rounds_freely(config) else "nearest")


def _with_sharing(config: CompressConfig, flexible: bool) -> CompressConfig:
    """Return `config` with `levels` and `sharing` chosen; flexible: the network has sub-models of its own."""
    if config.levels is None and assisted(config) and not flexible:
        config = replace(config, levels=(config.shared_values,)).check()
    asked = replace(config, distill=MethodChoice("kd")) if flexible else config
    if rate_aware(config) and config.sharing.name != RATE.name:
        config = replace(config, sharing=RATE)
    if sharing_way(config).in_training is None:
        config = replace(config, sharing=MethodChoice("straight-through") if shares_in_training(asked) else AFTER)
    config = _with_target(with_k(config))
    check_effects(config)
    return config


def _with_epochs(config: CompressConfig, steps: int) -> CompressConfig:
    """Return `config` with the epochs of each stage chosen; steps: optimizer steps in an epoch."""
    epochs, tune_epochs = config.epochs, config.tune_epochs
    if not fine_tunes(config):
        epochs = 0  # by rate too, where --epochs asks for training
    elif epochs is None:
        epochs = min(30, max(3, math.ceil(_FINE_TUNE_STEPS / steps)))
    if tune_epochs is None and config.quantizer.chosen:
        tune_epochs = 0  # tuning would move each value by itself, and the quantizer's grid would become uneven
    elif tune_epochs is None:
        tune_epochs = min(20, max(2, math.ceil(_TUNE_STEPS / steps)))
    config = replace(config, epochs=epochs, tune_epochs=tune_epochs)
    if not config.prune.chosen:
        return config
    prune_epochs = min(40, max(4, math.ceil(_PRUNE_STEPS / steps)))
    return replace(config, prune=config.prune.filled(epochs=prune_epochs))
