"""One step of the suite `scale` in a process of its own; prints what it measured as JSON."""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from qacomp.formats import bfloat16_from_float32

SHARD = 8  # tensors of a shard


def make(folder: Path, mib: int, tensor: int) -> dict[str, Any]:
    """Make a folder of shards: bell-shaped weights whose channels differ, as in a language model."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    rng = np.random.default_rng(0)
    count = max(1, (mib << 19) // tensor)
    for first in range(0, count, SHARD):
        state = {}
        for n in range(first, min(first + SHARD, count)):
            bits = weights(rng, tensor).view(np.uint16).astype(np.int32)
            state[f"layers.{n}.weight"] = torch.from_numpy(bits).to(torch.uint16).view(torch.bfloat16)
        save_file(state, folder / f"model-{first // SHARD:05}.safetensors", {"format": "pt"})
    (folder / "config.json").write_text("{}")
    return {"values": count * tensor}


def weights(rng: np.random.Generator, count: int) -> Any:
    """bfloat16 weights of 2048 columns."""
    values = rng.standard_normal((count // 2048, 2048), np.float32) * np.float32(0.02)
    values *= np.exp(rng.standard_normal(2048, np.float32) * np.float32(0.2))
    return bfloat16_from_float32(values)


def compress(folder: Path, output: Path, workers: str, k: str = "") -> dict[str, Any]:
    """Compress a folder as a large one: by rate, or with k shared values a tensor."""
    import qacomp
    from qacomp.sources import folder_source

    folder_source._LARGE = 0  # type: ignore[attr-defined, unused-ignore]
    start, before = time.perf_counter(), cpu()
    result = qacomp.compress(folder, output=output, workers=workers, **({"k": int(k)} if k else {}))
    return {
        "seconds": time.perf_counter() - start,
        "bytes": result.container_bytes,
        "bits_per_weight": result.bits_per_weight,
        "peak_mib": peak(resource.RUSAGE_SELF),
        "worker_peak_mib": peak(resource.RUSAGE_CHILDREN),
        "cpu_seconds": cpu() - before,  # of this process and of the pool's, which have ended
    }


def decode(container: Path, folder: Path, workers: str) -> dict[str, Any]:
    """Decode a container to a folder."""
    from qacomp.exporting.decode import decode_file
    from qacomp.workers.choice import workers_of

    start = time.perf_counter()
    decode_file(container, folder, workers=workers_of(workers))
    return {"seconds": time.perf_counter() - start, "peak_mib": peak(resource.RUSAGE_SELF)}


def piece(count: int) -> dict[str, Any]:
    """Share and code weights that are in memory."""
    from qacomp.options.config import CompressConfig
    from qacomp.sharing.selection import Layer
    from qacomp.stages.pieces import PackingRules, PieceTask, TensorTask, write_piece

    array = weights(np.random.default_rng(0), count)
    layer = Layer("w", "dense", array.shape, 16)
    with tempfile.TemporaryDirectory() as folder:
        task = TensorTask("w", lambda: array, count, layer)
        job = PieceTask(0, (task,), PackingRules(CompressConfig(), 0.01), Path(folder))
        start = time.process_time()
        write_piece(job)
        return {"mweights_s": count / (time.process_time() - start) / 1e6}


def cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def peak(who: int) -> float:
    """Largest resident memory in MiB; of this process without what its parent held before, where Linux tells it."""
    status = Path("/proc/self/status")
    if who == resource.RUSAGE_SELF and status.is_file():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) / 1024
    return resource.getrusage(who).ru_maxrss / 1024


if __name__ == "__main__":
    step, *words = sys.argv[1:]
    if step == "make":
        found = make(Path(words[0]), int(words[1]), int(words[2]))
    elif step == "piece":
        found = piece(int(words[0]))
    else:
        found = {"compress": compress, "decode": decode}[step](Path(words[0]), Path(words[1]), *words[2:])
    print(json.dumps(found))
