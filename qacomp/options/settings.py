"""The settings of a training and of a compression as keywords, for editors and type checkers.

Generated from the declarations in `qacomp.options` by `python -m qacomp.options.keywords`; not edited by hand.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from qacomp.options.method import MethodLike
from qacomp.options.parts import PartsLike


class TrainSettings(TypedDict, total=False):
    """Keywords of `qacomp.train`: the settings of `qacomp train`."""

    k: int | None
    """Share by k-means, with so many shared values in each layer: 8, or 8,conv1=16,fc*=4. Without --k, and without
    other options of k-means, weights are shared by rate.
    """
    k_layers: Mapping[str, int]
    """Values of k by layer: name or pattern -> value."""
    scope: str
    """Kind of layers to share."""
    include: Sequence[str]
    """Share only tensors with this name or pattern, of any size."""
    exclude: Sequence[str]
    """Store tensors with this name or pattern exactly."""
    min_size: int
    """Don't share tensors with fewer values than this."""
    sharing: MethodLike
    """Share after the fine-tuning by k-means, in its forward pass (straight-through), or by rate; auto: by the
    other settings.
    """
    reg: MethodLike
    """Fine-tune with a regularizer that pulls each layer's weights into clusters: sin, cos, min, exp, sinreq."""
    strength: float | None
    """λ of the papers: one number for all layers, or conv1=2 for a single layer."""
    strength_layers: Mapping[str, float]
    """Values of strength by layer: name or pattern -> value."""
    pull: float
    """Strength of the balanced λ: how strongly weights are pulled to their shared values."""
    schedule: MethodLike
    """Schedule of λ: a linear warmup from 0, constant, or a rise along tanh."""
    quantizer: MethodLike
    """Quantize the weights in the forward pass of the fine-tuning: dorefa or wrpn."""
    bits: int
    """Bits of a quantized weight: 4, or 4,conv1=5."""
    bits_layers: Mapping[str, int]
    """Values of bits by layer: name or pattern -> value."""
    distill: MethodLike
    """Learn from the outputs of a teacher: the original network (kd) or, for each sub-model, the largest one
    (ipkd), the next larger one (ta-1) or all larger ones (ta-m).
    """
    prune: MethodLike
    """Prune and retrain first: filters with EPruning's search (energy), or weights or filters by magnitude."""
    epochs: int | None
    """Epochs of fine-tuning. Without --data, with --sharing rate, weights are trained towards the original's
    outputs, on images that the network makes for itself or on those of --calibration.
    """
    batch_size: int
    """Samples in a training step."""
    lr: float
    """Learning rate of fine-tuning."""
    lr_levels: float | None
    """Learning rate of learned shared values."""
    optimizer: MethodLike
    """Optimizer of fine-tuning and pruning: sgd; adam, adamw (--lr of about 0.001); adadelta (--lr of about 1)."""
    augment: str
    """Random changes of training images, in turn, such as crop,flip,cutout: crop (by up to 4 pixels), flip,
    cutout, module:function of your own, crop-flip (both of these), none.
    """
    seed: int
    """Seed of all random numbers; equal seeds give equal bytes."""
    device: str
    """Device of torch."""
    precision: str
    """Precision of matrix products in training."""
    num_classes: int | None
    """Number of classes of a state dict's network."""
    metric: str
    """Metric of outputs and targets: accuracy, mse, cosine, perplexity, similarity or module:function."""
    preprocess: PartsLike
    """Size and normalization of the input images: size=32,mean=0.485,0.456,0.406,std=0.229,0.224,0.225."""


class Settings(TrainSettings, total=False):
    """Keywords of `qacomp.compress`, fields of `CompressConfig`, and keys of a TOML file."""

    levels: Sequence[int] | None
    """Write a progressive file instead of using --k: 4,16,64 are the numbers of shared values of its levels."""
    codebook: str
    """One codebook for each tensor, channel or group of weights of a channel (group:64); or affine grids of 2, 4
    or 8 bits for each channel (affine4) or for each 32 inputs of it (affine4:32).
    """
    min_agreement: float | None
    """Lowest accepted cosine between the outputs and the original's: by rate the smallest file that keeps it; with
    --k and without data, tensors get more values than K until it is reached, and 0 turns this off.
    """
    rounding: str
    """Round weights to the nearest shared value, or balanced, so that the errors of a channel cancel out."""
    batch_norm: str
    """Keep or re-estimate batch norm statistics after sharing."""
    stored_precision: str
    """Precision of codebooks, biases and norms in the file; fp16 only where it loses little. By rate biases and
    norms have fp12 then.
    """
    codec: str | None
    """Also try this codec of an installed package, which a reader then needs; no-zstd,no-lzma: without these.
    with-mixing: fewer bytes, longer to read; --sharing rate has it, unless no-mixing is named.
    """
    target_size: str | None
    """Size of the file: 100KB, 100000, 12x (smaller than fp32) or 1.5bpw (bits per weight). 50KB,100KB: a
    progressive file, whose first 50 KB are a smaller model (level1).
    """
    quality: str
    """Quality of the outputs: high (least change), balanced, or small (smallest file)."""
    max_drop: float | None
    """The smallest file that loses at most so many points of accuracy on the validation part of --data; of another
    --metric, so much of it.
    """
    calibration: str | None
    """Calibration data on whose inputs step sizes are chosen, such as npz:FILE, or, for a folder, text:FILE or
    words (at random, no data); labels aren't used.
    """
    tune_epochs: int | None
    """Epochs of tuning the shared values."""
    lr_tune: float
    """Learning rate of tuning shared values."""
    arch: str | None
    """Architecture of a state dict: lenet5, resnet20, ... or a class or function of your own, module:Class or,
    with arguments, module:Class:width=32; none: compress weights alone, also those of a known network.
    """
    input: Sequence[str]
    """Export a TorchScript archive or a pickled module (--trust-pickle) to ONNX with an input of this shape: 1,576
    or batch,3,32,32 or 1,77:int64. Repeat the option for each input.
    """
    submodule: str | None
    """With --input: dotted name of the submodule to export."""
    key: str | None
    """Dotted key of the weights in a checkpoint with several networks, such as g_ema; '.' means all tensors."""
    run_limits: PartsLike
    """Limits of running a model: seconds=60,memory=4GB. A model that needs more isn't measured."""
