"""The options of `qacomp compress`, one group a heading of its --help. Each is a field of CompressConfig."""

import click

from qacomp.cli.options import (
    LayerNumbers,
    Numbers,
    data_option,
    device_option,
    precision_option,
    preprocessing_options,
    running_options,
)
from qacomp.cli.sections import section

sharing_options = section(
    "Sharing",
    click.option(
        "--k", "k", type=LayerNumbers(), multiple=True, help="Shared values per layer: 8, or conv1=16,fc=4. [16]"
    ),
    click.option("--levels", type=Numbers(int), default=None, help="A progressive file: 4,16,64 in place of --k."),
    click.option(
        "--scope", type=click.Choice(["all", "conv", "dense"]), default=None, help="Which layers are shared. [all]"
    ),
    click.option(
        "--codebook",
        default=None,
        help="One a tensor, a channel, group:64 weights, or on grids of 2, 4 or 8 bits: affine4, one a channel,"
        " affine4:32, one for 32 inputs of it. [tensor]",
    ),
    click.option("--include", multiple=True, help="Share these tensors alone, by name or pattern; of any size."),
    click.option("--exclude", multiple=True, help="Leave these tensors alone, by name or pattern."),
    click.option("--min-size", type=int, default=None, help="Tensors with fewer values aren't shared. [256]"),
    click.option(
        "--min-agreement",
        type=float,
        default=None,
        help="Without data: cosine of outputs for which tensors may get more values than --k; 0: none."
        " Default: 0.9999 from --k 256 on, where the model runs.",
    ),
    click.option(
        "--sharing",
        type=click.Choice(["auto", "after", "straight-through"]),
        default=None,
        help="After the fine-tuning, or in its forward pass; auto: the latter with --reg or --levels. [auto]",
    ),
    click.option(
        "--rounding",
        type=click.Choice(["auto", "nearest", "balanced"]),
        default=None,
        help="Of k-means: to the nearest value, or so that errors cancel in each channel. Default: balanced where"
        " nothing is fine-tuned.",
    ),
    click.option("--entropy", type=float, default=None, help="Straight-through: how much cheaper indices count. [0]"),
    click.option(
        "--batch-norm",
        type=click.Choice(["keep", "re-estimate"]),
        default=None,
        help="Its statistics after sharing. [keep]",
    ),
    click.option(
        "--side",
        type=click.Choice(["fp16", "exact"]),
        default=None,
        help="Precision of codebooks, biases and batch norm. [fp16]",
    ),
)

regularizer_options = section(
    "Regularizer of the fine-tuning",
    click.option("--reg", default=None, help="none, sin, cos, min, exp, sinreq. [none]"),
    click.option(
        "--strength",
        type=LayerNumbers(float),
        multiple=True,
        help="The papers' λ, one for all layers, or conv1=2. Default: balanced, see --pull.",
    ),
    click.option(
        "--pull", type=float, default=None, help="How far each layer's λ pulls its weights to their levels. [4]"
    ),
    click.option("--warmup", type=float, default=None, help="Fraction of the steps over which λ rises from 0. [0.5]"),
    click.option(
        "--schedule", type=click.Choice(["warmup", "constant", "tanh"]), default=None, help="How λ rises. [warmup]"
    ),
    click.option(
        "--init",
        type=click.Choice(["kmeans", "quantile", "uniform"]),
        default=None,
        help="Where the learned representatives (of min and exp) start. [kmeans]",
    ),
    click.option(
        "--range",
        type=click.Choice(["layer", "global", "learned"]),
        default=None,
        help="Interval of sin's and cos's levels: each layer's, one for all, or learned. [layer]",
    ),
    click.option(
        "--slices", type=int, default=None, help="A step's penalty looks at one part in so many of a layer. [1]"
    ),
    click.option(
        "--domain",
        type=click.Choice(["auto", "dorefa", "wrpn", "dorefa-raw", "wrpn-raw"]),
        default=None,
        help="Whose levels sinreq's zeros are; -raw: the paper's formula. Default: the quantizer's.",
    ),
    click.option("--learn-bits", is_flag=True, default=None, help="sinreq: train each layer's bits."),
    click.option("--bits-penalty", type=float, default=None, help="What a learned bit costs in the loss. [0.03]"),
)

quantizer_options = section(
    "Quantizer, in place of shared values",
    click.option("--quantizer", default=None, help="Quantize in the forward pass: none, dorefa or wrpn. [none]"),
    click.option("--bits", type=LayerNumbers(), multiple=True, help="The quantizer's: 4, or conv1=5,fc=3. [4]"),
    click.option("--ends", default=None, help="Bits of the first and last layer: same, full (precision), or 8. [same]"),
    click.option(
        "--quantizer-scale",
        type=click.Choice(["layer", "unit"]),
        default=None,
        help="Levels in each layer's own units, or in [−1, 1] as in the papers. [layer]",
    ),
    click.option("--activations", type=int, default=None, help="Bits of the ReLUs' outputs. Default: not quantized."),
)

training_options = section(
    "Training",
    click.option(
        "--epochs", type=int, default=None, help="Epochs of fine-tuning. Default: about 1,000 steps, 3 to 30."
    ),
    click.option(
        "--tune-epochs", type=int, default=None, help="Epochs of cumulative tuning. Default: about 600 steps."
    ),
    click.option("--batch-size", type=int, default=None, help="Images a training step. [128]"),
    click.option("--lr", type=float, default=None, help="Learning rate of fine-tuning. [0.02]"),
    click.option(
        "--lr-levels", type=float, default=None, help="Learning rate of the learned representatives. Default: balanced."
    ),
    click.option("--lr-tune", type=float, default=None, help="Learning rate of cumulative tuning. [0.001]"),
    click.option("--momentum", type=float, default=None, help="Of fine-tuning. [0.9]"),
    click.option("--weight-decay", type=float, default=None, help="Of fine-tuning. [0.0001]"),
    click.option(
        "--augment",
        type=click.Choice(["auto", "none", "crop-flip"]),
        default=None,
        help="Of training images; auto: crop-flip for colour images. [auto]",
    ),
    click.option(
        "--seed", type=int, default=None, help="Of everything random; the same seed gives the same bytes. [0]"
    ),
    device_option,
    precision_option,
)

distillation_options = section(
    "Distillation",
    click.option(
        "--distill",
        type=click.Choice(["none", "kd", "ipkd", "ta-1", "ta-m"]),
        default=None,
        help="Learn from the original network (kd), or as sub-models of which that is the largest: from it, the next"
        " larger or all larger ones. [kd]",
    ),
    click.option("--distill-weight", type=float, default=None, help="Share of the teachers in the loss. [0.8, kd 0.9]"),
    click.option(
        "--temperature", type=float, default=None, help="Of the softened outputs. [2; exits 5, widths and levels 1]"
    ),
)

pruning_options = section(
    "Pruning",
    click.option(
        "--prune",
        type=click.Choice(["none", "energy", "magnitude"]),
        default=None,
        help="Prune and retrain before all else. [none]",
    ),
    click.option(
        "--prune-rate",
        type=float,
        default=None,
        help="Share of the parameters that goes. Default: magnitude 0.5; energy finds its own.",
    ),
    click.option(
        "--prune-unit", type=click.Choice(["weight", "filter"]), default=None, help="What magnitude prunes. [weight]"
    ),
    click.option(
        "--prune-scope",
        type=click.Choice(["layer", "global"]),
        default=None,
        help="Rank magnitudes within each layer, or over all. [layer]",
    ),
    click.option(
        "--prune-epochs", type=int, default=None, help="Epochs of pruning and retraining. Default: about 3,000 steps."
    ),
    click.option(
        "--prune-objective",
        type=click.Choice(["energy", "cross-entropy"]),
        default=None,
        help="What energy pruning's states are judged by. [energy]",
    ),
    click.option(
        "--prune-start",
        type=click.Choice(["magnitude", "random"]),
        default=None,
        help="Energy pruning's first states: near magnitude's, or the paper's. [magnitude]",
    ),
    click.option(
        "--prune-parents",
        type=click.Choice(["rescore", "keep"]),
        default=None,
        help="Score states again on every batch, or let them keep their score as in the paper. [rescore]",
    ),
    click.option("--population", type=int, default=None, help="States that evolve in energy pruning. [8]"),
    click.option(
        "--stagnation", type=int, default=None, help="Epochs until the best state is frozen. Default: a third."
    ),
)

network_options = section(
    "Network and data",
    click.option("--arch", default=None, help="Architecture of a plain state dict: lenet5, resnet20, ..."),
    click.option("--num-classes", type=int, default=None, help="Of a plain state dict. Default: its last layer's."),
    data_option,
    click.option(
        "--input",
        multiple=True,
        metavar="SHAPE",
        help="Export a TorchScript archive or pickled module (--trust-pickle) to ONNX with an input of this shape:"
        " 1,576 or batch,3,32,32 or 1,77:int64. Once for each of its inputs.",
    ),
    click.option("--submodule", default=None, help="Of such a file, the part to export: its dotted name."),
    click.option("--metric", default=None, help="Of ONNX models: accuracy, mse, cosine or module:function. [auto]"),
    preprocessing_options,
    running_options,
)
