"""The options of `qacomp compress`, one group a heading of its --help. Each is a field of CompressConfig."""

import click

from qacomp.cli.options import LayerNumbers, Numbers, Size
from qacomp.cli.sections import section, together

_share = section("Sharing")
sharing_options = together(
    _share("--k", "k", type=LayerNumbers(), multiple=True, help="Shared values per layer: 8, or conv1=16,fc=4. [16]"),
    _share("--levels", type=Numbers(int), default=None, help="A progressive file: 4,16,64 in place of --k."),
    _share("--scope", type=click.Choice(["all", "conv", "dense"]), default=None, help="Which layers are shared. [all]"),
    _share(
        "--codebook",
        default=None,
        help="One a tensor, a channel, group:64 weights, or affine4: a channel on a 4-bit grid. [tensor]",
    ),
    _share("--include", multiple=True, help="Share these tensors alone, by name or pattern; of any size."),
    _share("--exclude", multiple=True, help="Leave these tensors alone, by name or pattern."),
    _share("--min-size", type=int, default=None, help="Tensors with fewer values aren't shared. [256]"),
    _share(
        "--min-agreement",
        type=float,
        default=None,
        help="Without data: cosine of outputs for which tensors may get more values than --k; 0: none."
        " Default: 0.9999 from --k 256 on, where the model runs.",
    ),
    _share(
        "--sharing",
        type=click.Choice(["auto", "after", "straight-through"]),
        default=None,
        help="After the fine-tuning, or in its forward pass; auto: the latter with --reg or --levels. [auto]",
    ),
    _share(
        "--rounding",
        type=click.Choice(["auto", "nearest", "balanced"]),
        default=None,
        help="Of k-means: to the nearest value, or so that errors cancel in each channel. Default: balanced where"
        " nothing is fine-tuned.",
    ),
    _share("--entropy", type=float, default=None, help="Straight-through: how much cheaper indices count. [0]"),
    _share(
        "--batch-norm",
        type=click.Choice(["keep", "re-estimate"]),
        default=None,
        help="Its statistics after sharing. [keep]",
    ),
    _share(
        "--side",
        type=click.Choice(["fp16", "exact"]),
        default=None,
        help="Precision of codebooks, biases and batch norm. [fp16]",
    ),
)

_reg = section("Regularizer of the fine-tuning")
regularizer_options = together(
    _reg("--reg", default=None, help="none, sin, cos, min, exp, sinreq. [none]"),
    _reg(
        "--strength",
        type=LayerNumbers(float),
        multiple=True,
        help="The papers' λ, one for all layers, or conv1=2. Default: balanced, see --pull.",
    ),
    _reg("--pull", type=float, default=None, help="How far each layer's λ pulls its weights to their levels. [4]"),
    _reg("--warmup", type=float, default=None, help="Fraction of the steps over which λ rises from 0. [0.5]"),
    _reg("--schedule", type=click.Choice(["warmup", "constant", "tanh"]), default=None, help="How λ rises. [warmup]"),
    _reg(
        "--init",
        type=click.Choice(["kmeans", "quantile", "uniform"]),
        default=None,
        help="Where the learned representatives (of min and exp) start. [kmeans]",
    ),
    _reg(
        "--range",
        type=click.Choice(["layer", "global", "learned"]),
        default=None,
        help="Interval of sin's and cos's levels: each layer's, one for all, or learned. [layer]",
    ),
    _reg("--slices", type=int, default=None, help="A step's penalty looks at one part in so many of a layer. [1]"),
    _reg(
        "--domain",
        type=click.Choice(["auto", "dorefa", "wrpn", "dorefa-raw", "wrpn-raw"]),
        default=None,
        help="Whose levels sinreq's zeros are; -raw: the paper's formula. Default: the quantizer's.",
    ),
    _reg("--learn-bits", is_flag=True, default=None, help="sinreq: train each layer's bits."),
    _reg("--bits-penalty", type=float, default=None, help="What a learned bit costs in the loss. [0.03]"),
)

_quantize = section("Quantizer, in place of shared values")
quantizer_options = together(
    _quantize("--quantizer", default=None, help="Quantize in the forward pass: none, dorefa or wrpn. [none]"),
    _quantize("--bits", type=LayerNumbers(), multiple=True, help="The quantizer's: 4, or conv1=5,fc=3. [4]"),
    _quantize("--ends", default=None, help="Bits of the first and last layer: same, full (precision), or 8. [same]"),
    _quantize(
        "--quantizer-scale",
        type=click.Choice(["layer", "unit"]),
        default=None,
        help="Levels in each layer's own units, or in [−1, 1] as in the papers. [layer]",
    ),
    _quantize("--activations", type=int, default=None, help="Bits of the ReLUs' outputs. Default: not quantized."),
)

_train = section("Training")
training_options = together(
    _train("--epochs", type=int, default=None, help="Epochs of fine-tuning. Default: about 1,000 steps, 3 to 30."),
    _train("--tune-epochs", type=int, default=None, help="Epochs of cumulative tuning. Default: about 600 steps."),
    _train("--batch-size", type=int, default=None, help="Images a training step. [128]"),
    _train("--lr", type=float, default=None, help="Learning rate of fine-tuning. [0.02]"),
    _train(
        "--lr-levels", type=float, default=None, help="Learning rate of the learned representatives. Default: balanced."
    ),
    _train("--lr-tune", type=float, default=None, help="Learning rate of cumulative tuning. [0.001]"),
    _train("--momentum", type=float, default=None, help="Of fine-tuning. [0.9]"),
    _train("--weight-decay", type=float, default=None, help="Of fine-tuning. [0.0001]"),
    _train(
        "--augment",
        type=click.Choice(["auto", "none", "crop-flip"]),
        default=None,
        help="Of training images; auto: crop-flip for colour images. [auto]",
    ),
    _train("--seed", type=int, default=None, help="Of everything random; the same seed gives the same bytes. [0]"),
    _train("--device", type=click.Choice(["auto", "cpu", "cuda"]), default=None, help="Where to train. [auto]"),
    _train(
        "--precision",
        type=click.Choice(["auto", "fp32", "bf16"]),
        default=None,
        help="Of training's matrix products; auto: bf16 where there are matrix units for it. [auto]",
    ),
)

_distill = section("Distillation")
distillation_options = together(
    _distill(
        "--distill",
        type=click.Choice(["none", "kd", "ipkd", "ta-1", "ta-m"]),
        default=None,
        help="Learn from the original network (kd), or as sub-models of which that is the largest: from it, the next"
        " larger or all larger ones. [kd]",
    ),
    _distill("--distill-weight", type=float, default=None, help="Share of the teachers in the loss. [0.8, kd 0.9]"),
    _distill(
        "--temperature", type=float, default=None, help="Of the softened outputs. [2; exits 5, widths and levels 1]"
    ),
)

_prune = section("Pruning")
pruning_options = together(
    _prune(
        "--prune",
        type=click.Choice(["none", "energy", "magnitude"]),
        default=None,
        help="Prune and retrain before all else. [none]",
    ),
    _prune(
        "--prune-rate",
        type=float,
        default=None,
        help="Share of the parameters that goes. Default: magnitude 0.5; energy finds its own.",
    ),
    _prune(
        "--prune-unit", type=click.Choice(["weight", "filter"]), default=None, help="What magnitude prunes. [weight]"
    ),
    _prune(
        "--prune-scope",
        type=click.Choice(["layer", "global"]),
        default=None,
        help="Rank magnitudes within each layer, or over all. [layer]",
    ),
    _prune(
        "--prune-epochs", type=int, default=None, help="Epochs of pruning and retraining. Default: about 3,000 steps."
    ),
    _prune(
        "--prune-objective",
        type=click.Choice(["energy", "cross-entropy"]),
        default=None,
        help="What energy pruning's states are judged by. [energy]",
    ),
    _prune(
        "--prune-start",
        type=click.Choice(["magnitude", "random"]),
        default=None,
        help="Energy pruning's first states: near magnitude's, or the paper's. [magnitude]",
    ),
    _prune(
        "--prune-parents",
        type=click.Choice(["rescore", "keep"]),
        default=None,
        help="Score states again on every batch, or let them keep their score as in the paper. [rescore]",
    ),
    _prune("--population", type=int, default=None, help="States that evolve in energy pruning. [8]"),
    _prune("--stagnation", type=int, default=None, help="Epochs until the best state is frozen. Default: a third."),
)

_data = section("Network and data")
network_options = together(
    _data("--arch", default=None, help="Architecture of a plain state dict: lenet5, resnet20, ..."),
    _data("--num-classes", type=int, default=None, help="Of a plain state dict. Default: its last layer's."),
    _data(
        "--data",
        metavar="SPEC",
        default=None,
        help="digits, mnist:DIR, cifar10:DIR, cifar100:DIR, npz:FILE, images:DIR or module:function."
        " Default: what the file itself names.",
    ),
    _data("--metric", default=None, help="Of ONNX models: accuracy, mse, cosine or module:function. [auto]"),
    _data("--size", type=Size(), default=None, help="Input height and width: 32 or 32x48."),
    _data(
        "--mean",
        type=Numbers(float),
        default=None,
        help="Mean of the input's channels, as fractions of 1: 0.485,0.456,0.406.",
    ),
    _data("--std", type=Numbers(float), default=None, help="Standard deviation of them: 0.229,0.224,0.225."),
)
