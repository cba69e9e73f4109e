"""Other forms of a model's weights, beside the front: int8 and zstd -19 by ourselves, NNCodec where it is installed.

Sizes count the same things as a container: the graph and all other tensors, as a container of the front has them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import QacompError
from qacomp.formats import open_file
from qacomp.formats.codecs.zstd import LEVEL, compress
from qacomp.options.config import CompressConfig
from qacomp.sharing.selection import Layer
from qacomp.sources.how_to_read import Reading
from qacomp.sources.open_any import open_source
from qacomp.stages.select import select_weights
from qacomp.sweeping.changed import Changed, changed_loss
from qacomp.sweeping.front import SweepPeer
from qacomp.sweeping.nncodec_peer import nncodec_python, nncodec_runs
from qacomp.sweeping.trials import SweepJob

_KEPT = (
    *("data", "metric", "preprocess", "include", "exclude", "min_size", "scope", "arch", "num_classes", "key"),
    *("input", "submodule", "run_limits", "seed", "device"),
)
"""The settings of the base that say which model, which weights and which data are meant."""
_QPS = (-38, -26, -20)
"""NNCodec's quantization parameters: its default, and two that make smaller files."""


@dataclass(frozen=True)
class _Beside:
    """What a peer stores too. weights: those that trials share, float32, with their axes; rest: bytes of all else."""

    weights: Mapping[str, NDArray[np.float32]]
    axes: Mapping[str, int]
    rest: int


def measured_peers(job: SweepJob, container: Path, note: Callable[[str], None]) -> list[SweepPeer]:
    """Measure the peers of a sweep's model; container: one of the front. note: called where one can't be measured."""
    config = CompressConfig().with_settings({name: getattr(job.base, name) for name in _KEPT}, "sweep")
    try:
        source, config, data = open_source(job.model, None, config, Reading(job.trust_pickle), note)
        layers = select_weights(source, config, lambda text: None).layers
        read = {weight.name: weight.read for weight in source.weights()}
        beside = _beside({layer.name: read[layer.name] for layer in layers}, layers, container)
        loss = changed_loss(source, config, data, job.loss_fn)
        peers = [_int8(beside, loss)]
        if nncodec_python() is not None:
            for run in nncodec_runs(beside.weights, _QPS):
                peers.append(SweepPeer(f"NNCodec, qp {run.qp}", run.bytes + beside.rest, loss(run.decoded)[1]))
    except QacompError as error:
        note(f"no peers: {error}")
        return []
    return peers


def int8_weights(weights: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round weights symmetrically to int8 for each output channel along `axis`; return integers and scales.

    The largest magnitude of a channel becomes 127; scales are in the weights' rank, with 1 but for the axis.
    """
    others = tuple(place for place in range(weights.ndim) if place != axis)
    scales = (np.abs(weights).max(axis=others, keepdims=True) / np.float32(127)).astype(np.float32)
    safe = np.where(scales > 0, scales, np.float32(1))
    return np.rint(weights / safe).astype(np.int8), scales


def _int8(beside: _Beside, loss: Callable[[Changed], tuple[str, float]]) -> SweepPeer:
    stored, decoded = [], {}
    for name, weights in beside.weights.items():
        integers, scales = int8_weights(weights, beside.axes[name])
        stored += [integers.tobytes(), scales.tobytes()]
        decoded[name] = integers * scales
    size = len(compress(b"".join(stored), LEVEL)) + beside.rest
    return SweepPeer(f"int8 per channel, zstd -{LEVEL}", size, loss(decoded)[1])


def _beside(read: Mapping[str, Callable[[], Any]], layers: tuple[Layer, ...], container: Path) -> _Beside:
    """Read the weights that have a place in the container, and count what else it holds, raw and compressed."""
    with open_file(container) as opened:
        names, graph = set(opened.names), opened.graph() or b""
        weights = {name: np.asarray(values(), np.float32) for name, values in read.items() if name in names}
        tied = {other for layer in layers for other in layer.tied}
        others = [opened.tensor(name).tobytes() for name in opened.names if name not in weights and name not in tied]
    rest = len(compress(b"".join(others), LEVEL)) + len(compress(graph, LEVEL))
    return _Beside(weights, {layer.name: layer.axis for layer in layers}, rest)
