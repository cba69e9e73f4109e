"""Round the weights of a large model on texts before its tensors are packed: block by block, with compensation.

What is rounded waits in the folder of the run's pieces, as indices of one or two bytes, so that workers only code it.
"""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from qacomp.calibration.weights_alone import WeightsAlone
from qacomp.errors import ConfigError
from qacomp.formats import BFLOAT16, SharedTensor, bfloat16_to_float32
from qacomp.options.config import CompressConfig
from qacomp.rate.calibrated import Moment, MomentsByBlock
from qacomp.rate.compensated_within import compensated_within
from qacomp.rate.compensation import factorized
from qacomp.rate.steps import WeightOnGrid
from qacomp.sharing.selection import Selection
from qacomp.sharing.share import unfit
from qacomp.sources.source import PlainSource
from qacomp.stages.rounded_files import keep_for, rounded_path, write_rounded
from qacomp.stages.run import Run


def rounded_on_texts(
    source: PlainSource, selection: Selection, config: CompressConfig, error: float, run: Run
) -> tuple[dict[str, Path], str]:
    """Round every selected weight whose inputs are known; return files of the rounded ones, and on what, as text.

    error: of outputs, relative to their squares. Nothing is rounded without --calibration. Raises ConfigError for
    workers that don't see this machine's files, and DataError for texts that don't fit.
    """
    if config.calibration is None:
        return {}, WeightsAlone.text
    folder = run.pieces
    assert folder is not None  # the pipeline gives one to each large source
    if run.workers.scheduler:
        raise ConfigError(
            "--calibration: of a model of 1 GiB or more it needs workers of this machine; give --workers N"
        )
    shapes = {layer.name: layer.shape for layer in selection.layers}
    model = source.calibration(list(shapes), config, run.note)
    if not isinstance(model, MomentsByBlock):
        run.note(
            "--calibration has no effect: 1 GiB of weights or more are shared tensor by tensor; give --target-size"
        )
        return {}, WeightsAlone.text
    folder.open()
    keep_for(folder.path, model.digest)
    read = {weight.name: weight.read for weight in source.weights()}
    files = {name: rounded_path(folder.path, name) for name in shapes}
    missing = {name: shape for name, shape in shapes.items() if not files[name].is_file()}
    with run.progress.task("blocks", model.batches) as task:
        for moments in model.each_moment(missing, task.advance):
            for name, moment in moments.items():
                if (shared := _rounded(read[name](), moment, error)) is not None:
                    write_rounded(files[name], shared)
    run.note(f"calibrated on {model.text}, block by block")
    return {name: path for name, path in files.items() if path.is_file()}, model.text


def _rounded(array: NDArray[Any], moment: Moment, error: float) -> SharedTensor | None:
    wide = bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
    if unfit(wide):
        return None
    return compensated_within(WeightOnGrid(wide, moment.view, factorized(moment.values)), error)
