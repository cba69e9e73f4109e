"""Declare the options of training: epochs, learning rates, optimizer, device."""

from dataclasses import dataclass

from qacomp.options import needs
from qacomp.options.declaration import NOT_NEGATIVE, POSITIVE, Option, option
from qacomp.options.method import MethodChoice

_TRAINING = "Training"
SGD = MethodChoice("sgd")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The training of weights (fine-tuning) and of shared values (tuning)."""

    epochs: int | None = option(
        None,
        Option(
            "Epochs of fine-tuning. Without --data, with --sharing rate, weights are trained towards the original's "
            "outputs, on images that the network makes for itself or on those of --calibration.",
            _TRAINING,
            brief="Epochs of fine-tuning",
            bounds=NOT_NEGATIVE,
            needs=(needs.FINE_TUNED,),
            idle=0,
            shown="about 1,000 steps, 3 to 30 epochs",
        ),
    )
    tune_epochs: int | None = option(
        None,
        Option(
            "Epochs of tuning the shared values.",
            _TRAINING,
            brief="Epochs of tuning the shared values",
            bounds=NOT_NEGATIVE,
            idle=0,
            shown="about 600 steps",
        ),
    )
    batch_size: int = option(
        128, Option("Samples in a training step.", _TRAINING, bounds=POSITIVE, needs=(needs.IN_BATCHES,))
    )
    lr: float = option(
        0.02,
        Option("Learning rate of fine-tuning.", _TRAINING, bounds=POSITIVE, needs=(needs.FINE_TUNED_OR_PRUNED,)),
    )
    lr_levels: float | None = option(
        None,
        Option(
            "Learning rate of learned shared values.",
            _TRAINING,
            bounds=POSITIVE,
            needs=(needs.LEARNED_LEVELS,),
            shown="balanced",
        ),
    )
    lr_tune: float = option(
        0.001, Option("Learning rate of tuning shared values.", _TRAINING, bounds=POSITIVE, needs=(needs.TUNED,))
    )
    optimizer: MethodChoice = option(
        SGD,
        Option(
            "Optimizer of fine-tuning and pruning: sgd; adam, adamw (--lr of about 0.001); adadelta (--lr of about 1).",
            _TRAINING,
            methods="qacomp.training.optimizers:OPTIMIZERS",
            needs=(needs.FINE_TUNED_OR_PRUNED,),
        ),
    )
    augment: str = option(
        "auto",
        Option(
            "Random changes of training images, in turn, such as crop,flip,cutout: crop (by up to 4 pixels), flip, "
            "cutout, module:function of your own, crop-flip (both of these), none.",
            _TRAINING,
            needs=(needs.TRAINED,),
            idle="none",
            shown="crop-flip for colour images",
        ),
    )
    seed: int = option(
        0,
        Option(
            "Seed of all random numbers; equal seeds give equal bytes.",
            _TRAINING,
            brief="Equal seeds give equal bytes",
            bounds=NOT_NEGATIVE,
        ),
    )
    device: str = option("auto", Option("Device of torch.", _TRAINING, choices=("auto", "cpu", "cuda"), idle="cpu"))
    precision: str = option(
        "auto",
        Option(
            "Precision of matrix products in training.",
            _TRAINING,
            choices=("auto", "fp32", "bf16"),
            needs=(needs.TRAINED,),
            idle="fp32",
            shown="bf16 if the processor has matrix units for it",
        ),
    )
