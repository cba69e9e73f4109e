"""Options of what a checkpoint doesn't say itself: architecture, data, preprocessing, inputs."""

from dataclasses import dataclass

from qacomp.options import needs
from qacomp.options.declaration import Bounds, Option, option
from qacomp.options.metric_names import check_metric

_NETWORK = "Network and data"


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Which network the weights belong to, and on which data it is trained and measured."""

    arch: str | None = option(
        None,
        Option(
            "Architecture of a plain state dict: lenet5, resnet20, ...",
            _NETWORK,
            basic=True,
            registry="qacomp.models:list_models",
            metavar="NAME",
        ),
    )
    num_classes: int | None = option(
        None,
        Option(
            "Number of classes of a plain state dict.", _NETWORK, bounds=Bounds(1, 1 << 24), shown="its last layer's"
        ),
    )
    data: str | None = option(
        None,
        Option(
            "Data to train and to measure on: digits, mnist:DIR, cifar10:DIR, cifar100:DIR, npz:FILE, images:DIR or "
            "module:function.",
            _NETWORK,
            basic=True,
            metavar="SPEC",
            shown="what the file itself names",
        ),
    )
    input: tuple[str, ...] = option(
        (),
        Option(
            "Export a TorchScript archive or a pickled module (--trust-pickle) to ONNX with an input of this shape: "
            "1,576 or batch,3,32,32 or 1,77:int64. Once for each of its inputs.",
            _NETWORK,
            metavar="SHAPE",
        ),
    )
    submodule: str | None = option(
        None,
        Option("Dotted name of the part of such a file to export.", _NETWORK, needs=(needs.EXPORTED,), metavar="NAME"),
    )
    key: str | None = option(
        None,
        Option(
            "Dotted key of the weights in a checkpoint with several networks, such as g_ema; '.' takes all tensors.",
            _NETWORK,
            metavar="KEY",
        ),
    )
    metric: str = option(
        "auto",
        Option(
            "Metric of ONNX models: accuracy, mse, cosine or module:function.",
            _NETWORK,
            check=check_metric,
            metavar="NAME",
        ),
    )
    size: tuple[int, int] | None = option(
        None, Option("Height and width of the input: 32 or 32x48.", _NETWORK, metavar="SIZE")
    )
    mean: tuple[float, ...] | None = option(
        None,
        Option("Mean of each input channel, as fractions of 1: 0.485,0.456,0.406.", _NETWORK, metavar="X,..."),
    )
    std: tuple[float, ...] | None = option(
        None,
        Option("Standard deviation of each input channel: 0.229,0.224,0.225.", _NETWORK, metavar="X,..."),
    )
