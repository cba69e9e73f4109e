"""The settings of a compression as keywords, for editors and type checkers.

Generated from the declarations in `qacomp.options` by `python -m qacomp.options.keywords`; not edited by hand.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from qacomp.options.method import MethodLike


class Settings(TypedDict, total=False):
    """Keywords of `qacomp.compress`, fields of `CompressConfig`, and keys of a TOML file."""

    k: int
    """Number of shared values in each layer: 8, or 8,conv1=16,fc*=4."""
    k_layers: Mapping[str, int]
    """Layer or pattern -> its own k."""
    levels: Sequence[int] | None
    """Write a progressive file, in place of --k: 4,16,64 are the shared values of its levels."""
    scope: str
    """Which layers are shared."""
    codebook: str
    """What one codebook serves: a tensor, a channel, group:64 (so many weights of a channel), or a grid of 2, 4 or
    8 bits for each channel (affine4) or for 32 inputs of it (affine4:32).
    """
    include: Sequence[str]
    """Share only these tensors, of any size: a name or a pattern."""
    exclude: Sequence[str]
    """Keep these tensors exactly: a name or a pattern."""
    min_size: int
    """Tensors with fewer values aren't shared."""
    min_agreement: float | None
    """Without data: the cosine that the outputs must reach. Tensors get more values than --k until they do; 0
    turns that off.
    """
    sharing: MethodLike
    """Share after the fine-tuning, or in its forward pass already (straight-through); auto: as the rest asks."""
    rounding: str
    """How k-means rounds: to the nearest value, or balanced, so that the errors of a channel cancel."""
    batch_norm: str
    """Statistics of batch norm after sharing."""
    stored_precision: str
    """Precision of codebooks, biases and norms in the file, where it holds them."""
    codec: str | None
    """Try this codec of an installed package too; only a reader that has the package reads the file then."""
    target_size: str | None
    """Size of the file: 100KB, 100000, 12x (smaller than fp32) or 1.5bpw (bits a weight)."""
    quality: str
    """How much the outputs may change: high, balanced or small."""
    calibration: str | None
    """Data whose inputs the steps are chosen on, such as npz:FILE; labels aren't used."""
    reg: MethodLike
    """Fine-tune with a regularizer that gathers each layer's weights into clusters: sin, cos, min, exp, sinreq."""
    strength: float | None
    """The papers' λ, one for all layers, or conv1=2 for one."""
    strength_layers: Mapping[str, float]
    """Layer or pattern -> its own strength."""
    pull: float
    """How strongly each layer's λ pulls weights to their shared values."""
    schedule: str
    """How λ rises."""
    warmup: float
    """Fraction of the steps in which λ rises from 0."""
    slices: int
    """Divide each layer into so many parts; a step's penalty looks at one of them."""
    quantizer: MethodLike
    """Quantize the weights in the forward pass of the fine-tuning: dorefa or wrpn."""
    bits: int
    """Bits of the quantizer: 4, or 4,conv1=5."""
    bits_layers: Mapping[str, int]
    """Layer or pattern -> its own bits."""
    activations: int | None
    """Bits of the ReLUs' outputs."""
    distill: MethodLike
    """Learn from the original network's outputs (kd), or as sub-models of which the original is the largest: from
    it (ipkd), from the next larger one (ta-1) or from all larger ones (ta-m).
    """
    prune: MethodLike
    """Prune and retrain first: filters by EPruning's search (energy), or weights or filters by magnitude."""
    prune_rate: float | None
    """Share of the parameters that goes."""
    prune_epochs: int | None
    """Epochs of pruning and retraining."""
    epochs: int | None
    """Epochs of fine-tuning."""
    tune_epochs: int | None
    """Epochs of tuning the shared values."""
    batch_size: int
    """Images in a training step."""
    lr: float
    """Learning rate of fine-tuning."""
    lr_levels: float | None
    """Learning rate of learned shared values."""
    lr_tune: float
    """Learning rate of tuning."""
    optimizer: MethodLike
    """Optimizer of fine-tuning and pruning: sgd; adam, adamw (--lr of about 0.001); adadelta (--lr of about 1)."""
    weight_decay: float
    """Weight decay of fine-tuning."""
    augment: str
    """How training images are varied."""
    seed: int
    """Seed of everything random; the same seed gives the same bytes."""
    device: str
    """Where torch computes."""
    precision: str
    """Precision of training's matrix products."""
    arch: str | None
    """Architecture of a plain state dict: lenet5, resnet20, ..."""
    num_classes: int | None
    """Number of classes of a plain state dict."""
    input: Sequence[str]
    """Export a TorchScript archive or a pickled module (--trust-pickle) to ONNX with an input of this shape: 1,576
    or batch,3,32,32 or 1,77:int64. Once for each of its inputs.
    """
    submodule: str | None
    """Dotted name of the part of such a file to export."""
    key: str | None
    """Dotted key of the weights in a checkpoint with several networks, such as g_ema; '.' takes all tensors."""
    metric: str
    """Metric of ONNX models: accuracy, mse, cosine or module:function."""
    size: tuple[int, int] | None
    """Height and width of the input: 32 or 32x48."""
    mean: Sequence[float] | None
    """Mean of each input channel, as fractions of 1: 0.485,0.456,0.406."""
    std: Sequence[float] | None
    """Standard deviation of each input channel: 0.229,0.224,0.225."""
    run_seconds: float
    """Seconds that loading a model, and each of its runs, may take; ten times as many in all, and sixty times on
    your data. Past them nothing is measured.
    """
    run_memory: str
    """Memory that a model may take beside its weights while it runs. Past it nothing is measured."""
