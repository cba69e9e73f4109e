"""Declare the options for what a checkpoint may not record: architecture, data, preprocessing, inputs."""

from dataclasses import dataclass

from qacomp.options import needs
from qacomp.options.declaration import Bounds, Option, option
from qacomp.options.metric_names import check_metric
from qacomp.options.preprocess import PreprocessOptions

NO_ARCHITECTURE = "none"
"""The word for --arch with which a state dict's weights are compressed alone."""
_NETWORK = "Network and data"


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """The network to which the weights belong, and the data on which it is trained and measured."""

    arch: str | None = option(
        None,
        Option(
            "Architecture of a state dict: lenet5, resnet20, ... or a class or function of your own, module:Class or, "
            "with arguments, module:Class:width=32; none: compress weights alone, also those of a known network.",
            _NETWORK,
            brief="Network of a state dict: resnet20, ... or module:Class",
            registry="qacomp.models:list_models",
            metavar="NAME",
            shown="the file's, or one that all names and shapes fit",
        ),
    )
    num_classes: int | None = option(
        None,
        Option(
            "Number of classes of a state dict's network.",
            _NETWORK,
            bounds=Bounds(1, 1 << 24),
            shown="its last layer's",
        ),
    )
    data: str | None = option(
        None,
        Option(
            "Data for training and measuring: digits, mnist:DIR, cifar10:DIR, cifar100:DIR, npz:FILE, images:DIR or "
            "module:function.",
            _NETWORK,
            brief="Data: digits, npz:FILE, images:DIR, cifar10:DIR, ...",
            metavar="SPEC",
            shown="the data that the model file names",
        ),
    )
    input: tuple[str, ...] = option(
        (),
        Option(
            "Export a TorchScript archive or a pickled module (--trust-pickle) to ONNX with an input of this shape: "
            "1,576 or batch,3,32,32 or 1,77:int64. Repeat the option for each input.",
            _NETWORK,
            metavar="SHAPE",
        ),
    )
    submodule: str | None = option(
        None,
        Option(
            "With --input: dotted name of the submodule to export.", _NETWORK, needs=(needs.EXPORTED,), metavar="NAME"
        ),
    )
    key: str | None = option(
        None,
        Option(
            "Dotted key of the weights in a checkpoint with several networks, such as g_ema; '.' means all tensors.",
            _NETWORK,
            metavar="KEY",
        ),
    )
    metric: str = option(
        "auto",
        Option(
            "Metric of outputs and targets: accuracy, mse, cosine, perplexity, similarity or module:function.",
            _NETWORK,
            check=check_metric,
            metavar="NAME",
        ),
    )
    preprocess: PreprocessOptions = option(
        PreprocessOptions(),
        Option(
            "Size and normalization of the input images: size=32,mean=0.485,0.456,0.406,std=0.229,0.224,0.225.",
            _NETWORK,
            parts=PreprocessOptions,
            shown="from the file or the architecture",
        ),
    )
