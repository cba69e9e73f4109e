"""Look-up files of the suite onnx beside dense ones, and how near outputs are to the original's without data."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from _kept import kept
from _onnx_inputs import FRAMES, IMAGES, speech_outputs, test_images
from _onnx_models import AGREEMENT, MODELS, NETWORKS, Compressed, Model, compressed
from result import Headline, Results, Row, in_turns, median, shared_folder, spread

from qacomp.exporting.onnx_options import OnnxOptions
from qacomp.exporting.onnx_output import write_onnx_file
from qacomp.formats import SharedTensor
from qacomp.runtime.agreement import agreement, compare, run_all
from qacomp.runtime.feeds import generated_inputs
from qacomp.runtime.session import open_session

LOADS = 15
FEEDS = 8


def look_up(work: Path) -> Results:
    """Every model at K = 16, 64, 256: agreement with the original, and the look-up file beside the dense one.

    work: folder that keeps what is finished.
    """
    folder = shared_folder()
    if folder is None:
        return [], {}
    cases = [(name, model, k) for k in (16, 64, 256) for name, model in MODELS.items()]
    cases += [(name, model, 256) for name, model in NETWORKS.items()]
    rows: list[Row] = []
    for name, model, k in cases:
        path = folder / "ckpt" / model.file
        rows += kept(work, f"{name}_k{k}", lambda n=name, m=model, p=path, k=k: ([_looked_up(n, m, p, k)], {}))[0]
    lut = [row for row in rows if row.settings["arch"] is None]
    worst = {k: [r.results["file_ratio"] for r in lut if r.settings["k"] == k] for k in (16, 256)}
    covered = [r.results["file_ratio"] for r in lut if r.settings["k"] == 16 and r.results["coverage"] >= 0.95]
    loads = max(lut, key=lambda r: r.results["load_ratio"])
    fine = [r for r in rows if r.settings["k"] == 256]
    generated = min(fine, key=lambda r: r.results["noise_min_cosine"])
    real = min(fine, key=lambda r: r.results["min_cosine"])
    most = max(max(r.results["values"]) for r in fine)
    runs = f"{FEEDS} generated inputs, loud and quiet"
    return rows, {
        "lut_file_ratio_k16": Headline(max(covered), "x", "<= 0.16", "whole files, look-up over dense; the worst"),
        "lut_file_ratio_k256": Headline(max(worst[256]), "x", "<= 0.28", "whole files, look-up over dense; the worst"),
        "lut_max_abs_error": Headline(
            max(r.results["lut_max_abs_error"] for r in rows), "", "0", f"any output, all K and models, {runs}"
        ),
        "lut_load_time_ratio": Headline(
            loads.results["load_ratio"],
            "x",
            "<= 2",
            f"CPU time of opening the file, look-up over dense, median of {LOADS} in turns; the worst: {loads.name}",
            loads.results["load_ratio_sd"],
        ),
        "k256_min_cosine": Headline(
            min(generated.results["noise_min_cosine"], real.results["min_cosine"]),
            "",
            ">= 0.9999",
            f"worst output of {', '.join(r.name for r in fine)}: on {runs} (normal, states too) "
            f"{generated.results['noise_min_cosine']:.5f} ({generated.name}); on {FRAMES} frames of a synthetic voice "
            f"with the state carried on, or {IMAGES} test images, {real.results['min_cosine']:.5f} ({real.name}, "
            f"{real.results['worst_output']}); K = 256 under --min-agreement {AGREEMENT}, which gives tensors up to "
            f"{most:,} values, in the same look-up files",
        ),
    }


def _looked_up(name: str, source: Model, path: Path, k: int) -> Row:
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        model = compressed(source, path, k, here)
        feeds = _feeds(model, source.shape)
        dense, lut = here / "dense.onnx", here / "lut.onnx"
        onnx.save(model.dense, dense)
        written = write_onnx_file(model.dense, model.weights, lut, OnnxOptions("lut"))
        difference = compare(run_all(dense, feeds), run_all(lut, feeds), "")
        before = here / "original.onnx"
        onnx.save(model.original, before)
        if source.arch is None:
            agreed = compare(speech_outputs(before), speech_outputs(dense), "")
            noisy = agreement(before, dense, feeds, "")
        else:
            agreed, noisy = (_network_agreement(path, dense, f) for f in ([_images(path)], feeds))
        loads = in_turns(
            {n: lambda p=p: open_session(p, threads=1) for n, p in (("lut", lut), ("dense", dense))}, LOADS
        )
        ratios = [a / b for a, b in zip(loads["lut"], loads["dense"], strict=True)]
        results: dict[str, Any] = {
            "container_bytes": model.container_bytes,
            "dense_bytes": dense.stat().st_size,
            "lut_bytes": lut.stat().st_size,
            "file_ratio": lut.stat().st_size / dense.stat().st_size,
            "coverage": model.coverage,
            "values": sorted({len(w.codebook) for w in model.weights.values() if isinstance(w, SharedTensor)}),
            "weights_max_abs_error": written.max_abs_error,
            "lut_max_abs_error": difference.max_abs_error,
            "load_ratio": median(ratios),
            "load_ratio_sd": spread(ratios),
            "load_ms": {n: 1e3 * median(v) for n, v in loads.items()},
            "min_cosine": agreed.cosine,
            "worst_output": min(agreed.outputs, key=lambda o: o.cosine).name,
            "outputs": {o.name: {"cosine": o.cosine, "max_abs_error": o.max_abs_error} for o in agreed.outputs},
            "noise_min_cosine": noisy.cosine,
        }
    own = "its own graph" + (", exported" if source.input else "")
    graph = own if model.own_graph else "its weights in the graph of silero's ONNX file"
    return Row(f"{name}_k{k}", f"{path.name}, K = {k}, no data, {graph}", {"k": k, "arch": source.arch}, results)


def _feeds(model: Compressed, shape: tuple[int, ...] | None) -> list[dict[str, Any]]:
    session = open_session(model.dense)
    inputs = generated_inputs(model.dense, lambda feed: session.run(None, feed), input_shape=shape)
    return [inputs.feed(i, loud=i % 2 == 0) for i in range(FEEDS)]


def _images(path: Path) -> dict[str, Any]:
    network = _network(path)
    return {"input": network.preprocessing.apply(test_images(path.parents[1]))}


def _network(path: Path) -> Any:
    from qacomp.checkpoints import read_checkpoint
    from qacomp.options.config import CompressConfig
    from qacomp.sources.network import build_network

    return build_network(read_checkpoint(path), CompressConfig(arch="resnet20"))


def _network_agreement(path: Path, dense: Path, feeds: Sequence[dict[str, Any]]) -> Any:
    """A PyTorch network has no ONNX file of its own: its logits come from PyTorch."""
    from qacomp.evaluation.accuracy import torch_logits

    model = _network(path).model
    original = [{"logits": torch_logits(model, next(iter(feed.values())))} for feed in feeds]
    return compare(original, run_all(dense, feeds), "")
