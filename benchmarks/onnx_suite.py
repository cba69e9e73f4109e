"""ONNX in and out: look-up files, affine integers, agreement without data, graphs that come back, the report's page.

Real models lie beside the checkout (QACOMP_SHARED, or ../shared); what needs them is skipped without them.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from _onnx_inputs import FRAMES, IMAGES, speech_outputs, test_images
from _onnx_models import AGREEMENT, Compressed, compressed
from onnx import TensorProto, helper, numpy_helper
from result import Headline, Row, commit, in_turns, median, shared_folder, spread

from qacomp.evaluation.agreement import agreement, compare, run_all
from qacomp.evaluation.comparison import FP32_ACTIVATIONS
from qacomp.evaluation.feeds import drawn_again, generated_feeds
from qacomp.evaluation.session import open_session
from qacomp.formats import SharedTensor
from qacomp.onnx_options import OnnxOptions
from qacomp.onnx_output import write_onnx_file
from qacomp.sharing.kmeans import kmeans

Results = tuple[list[Row], dict[str, Headline]]
MODELS = {
    "silero_onnx": "silero_vad_16k_op15.onnx",
    "silero_safetensors": "silero_vad_16k.safetensors",
    "silero_jit": "silero_vad.jit",
    "dtln": "dtln_model_1.onnx",
}
NETWORKS = {"resnet20": "resnet20_cifar10j.pth", "resnet20_cifar10": "akamaster_resnet20-12fca82f.th"}
WORK = Path(__file__).parent / "work" / "onnx"
LOADS = 15
SIDE, LAYERS = 2048, 4
SCALES = (1.0, 0.1)  # of the generated inputs: loud and quiet
FEEDS = 8
LIGHT = ("squeezenet", "shufflenet", "densenet121", "inception_v1")  # graphs that the package onnx brings


def run(size: str, seeds: int) -> Results:
    """All parts; `size` and `seeds` change nothing: the inputs are drawn from fixed seeds."""
    rows: list[Row] = []
    headlines: dict[str, Headline] = {}
    for part in (look_up, affine, round_trips, report):
        more, figures = part() if part is look_up else kept(part.__name__, part)
        rows += more
        headlines |= figures
    return rows, headlines


def kept(name: str, make: Callable[[], Results]) -> Results:
    """What `make` gives, or gave when this commit was measured before: a run that is broken off goes on from there."""
    path = WORK / f"{name}.json"
    key = commit()
    if path.exists():
        stored = json.loads(path.read_text())
        if stored["commit"] == key:
            return [Row(**r) for r in stored["rows"]], {k: Headline(**h) for k, h in stored["headlines"].items()}
    rows, headlines = make()
    WORK.mkdir(parents=True, exist_ok=True)
    figures = {k: asdict(h) for k, h in headlines.items()}
    path.write_text(json.dumps({"commit": key, "rows": [asdict(r) for r in rows], "headlines": figures}))
    return rows, headlines


def look_up() -> Results:
    """Every model at K = 16, 64, 256: agreement with the original, and the look-up file beside the dense one."""
    folder = shared_folder()
    if folder is None:
        return [], {}
    cases = [(name, file, k, None) for k in (16, 64, 256) for name, file in MODELS.items()]
    cases += [(name, file, 256, "resnet20") for name, file in NETWORKS.items()]
    rows: list[Row] = []
    for name, file, k, arch in cases:
        path = folder / "ckpt" / file
        rows += kept(f"{name}_k{k}", lambda n=name, p=path, k=k, a=arch: ([_looked_up(n, p, k, a)], {}))[0]
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


def _looked_up(name: str, path: Path, k: int, arch: str | None = None) -> Row:
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        model = compressed(path, k, here, arch)
        feeds = _feeds(model)
        dense, lut = here / "dense.onnx", here / "lut.onnx"
        onnx.save(model.dense, dense)
        written = write_onnx_file(model.dense, model.weights, lut, OnnxOptions("lut"), measure=False)
        difference = compare(run_all(dense, feeds), run_all(lut, feeds), "")
        before = here / "original.onnx"
        onnx.save(model.original, before)
        if arch is None:
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
    graph = "its own graph" if model.own_graph else "its weights in the graph of silero's ONNX file"
    return Row(f"{name}_k{k}", f"{path.name}, K = {k}, no data, {graph}", {"k": k, "arch": arch}, results)


def _feeds(model: Compressed) -> list[dict[str, Any]]:
    first = generated_feeds(open_session(model.dense))
    return [first, *(drawn_again(first, i, SCALES[i % len(SCALES)]) for i in range(1, FEEDS))]


def _images(path: Path) -> dict[str, Any]:
    network = _network(path)
    return {"input": network.preprocessing.apply(test_images(path.parents[1]))}


def _network(path: Path) -> Any:
    from qacomp.checkpoints import read_checkpoint
    from qacomp.config import CompressConfig
    from qacomp.network import build_network

    return build_network(read_checkpoint(path), CompressConfig(arch="resnet20"))


def _network_agreement(path: Path, dense: Path, feeds: Sequence[dict[str, Any]]) -> Any:
    """A PyTorch network has no ONNX file of its own: its logits come from PyTorch."""
    from qacomp.evaluation.accuracy import torch_logits

    model = _network(path).model
    original = [{"logits": torch_logits(model, next(iter(feed.values())))} for feed in feeds]
    return compare(original, run_all(dense, feeds), "")


def affine() -> Results:
    """A stack of 2048 x 2048 products with K = 16, int4 and dense, by batch and accuracy level; memory of a process."""
    dense_model, weights = _stack()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        files = {"dense": here / "dense.onnx"}
        onnx.save(dense_model, files["dense"])
        for bits in (4, 8, 2):
            files[f"int{bits}"] = here / f"int{bits}.onnx"
            made = write_onnx_file(
                dense_model, weights, files[f"int{bits}"], OnnxOptions("affine", bits), measure=False
            )
            assert made.fused == LAYERS
        sessions = {name: open_session(path, threads=1) for name, path in files.items()}
        fp32 = {
            f"{n}_fp32": open_session(p, threads=1, settings=FP32_ACTIVATIONS) for n, p in files.items() if n != "dense"
        }
        for batch in (1, 8, 64):
            feed = {"x": np.random.default_rng(batch).standard_normal((batch, SIDE)).astype(np.float32)}
            tasks = {n: lambda s=s, f=feed: s.run(None, f) for n, s in (sessions | fp32).items()}
            times = in_turns(tasks, 15)
            outputs = {n: s.run(None, feed)[0] for n, s in (sessions | fp32).items()}
            for name in tasks:
                if name != "dense":
                    ratios = [a / b for a, b in zip(times["dense"], times[name], strict=True)]
                    error = np.abs(outputs[name] - outputs["dense"]).max() / np.abs(outputs["dense"]).max()
                    results = {"speedup": median(ratios), "speedup_sd": spread(ratios), "max_error": float(error)}
                    results["cosine"] = _cosine(outputs[name], outputs["dense"])
                    results["ms"] = {"own": 1e3 * median(times[name]), "dense": 1e3 * median(times["dense"])}
                    text = (
                        f"{LAYERS} products of {SIDE} x {SIDE}, batch {batch}; error against the dense file's outputs"
                    )
                    rows.append(Row(f"affine_{name}_batch{batch}", text, {"batch": batch}, results))
        sizes = {name: path.stat().st_size for name, path in files.items()}
        memory = {name: [_memory(path) for _ in range(3)] for name, path in files.items() if name in ("dense", "int4")}
    ratio = median(memory["int4"]) / median(memory["dense"])
    rows.append(Row("affine_memory", "private memory of a process, session open and run once", {}, {"mib": memory}))
    rows.append(Row("affine_bytes", "files", {}, sizes))
    found = {row.name: row.results for row in rows}
    one, level = found["affine_int4_batch1"], found["affine_int4_fp32_batch1"]
    more = {batch: found[f"affine_int4_batch{batch}"]["speedup"] for batch in (8, 64)}
    note = (
        f"{LAYERS} products of {SIDE} x {SIDE}, batch 1, CPU time in turns, onnxruntime's default accuracy level; "
        f"{more[8]:.2g}x at batch 8, {more[64]:.2g}x at 64; "
        f"at level 0 {level['speedup']:.2g}x; cosine of outputs {one['cosine']:.4f} and {level['cosine']:.4f}"
    )
    return rows, {
        "affine_int4_speedup": Headline(one["speedup"], "x", "> 1.5", note, one["speedup_sd"]),
        "affine_int4_memory_ratio": Headline(
            ratio, "x", "< 0.6", "private memory of a process with the session open and run once, int4 over dense"
        ),
    }


def _stack() -> tuple[onnx.ModelProto, dict[str, SharedTensor]]:
    rng = np.random.default_rng(0)
    nodes, weights, value = [], {}, "x"
    for layer in range(LAYERS):
        matrix = (rng.standard_normal((SIDE, SIDE)) / np.sqrt(SIDE)).astype(np.float32)
        clusters = kmeans(matrix, 16)
        weights[f"w{layer}"] = SharedTensor(clusters.codebook, clusters.indices)
        nodes.append(helper.make_node("MatMul", [value, f"w{layer}"], [f"p{layer}"]))
        nodes.append(helper.make_node("Relu", [f"p{layer}"], [f"a{layer}"]))
        value = f"a{layer}"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", SIDE]) for name in ("x", value)]
    tensors = [numpy_helper.from_array(w.dense(), name) for name, w in weights.items()]
    graph = helper.make_graph(nodes, "stack", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), weights


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    x, y = a.reshape(-1).astype(np.float64), b.reshape(-1).astype(np.float64)
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


_MEMORY = """
import sys
import numpy as np
import onnxruntime
def private():
    return sum(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(("RssAnon", "RssShmem"))) / 1024
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
before = private()
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
session.run(None, {"x": np.zeros((1, 2048), np.float32)})
print(private() - before)
"""


def _memory(path: Path) -> float:
    """MiB that a process needs for the file once it has run."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", _MEMORY, str(path)], capture_output=True, text=True, check=True, timeout=120
    )
    return float(done.stdout)


def round_trips() -> Results:
    """ONNX in, compressed, decoded dense: the same bytes but for the weights' values."""
    from onnx.backend.test import __file__ as packaged

    light = Path(packaged).parent / "data" / "light"
    files = [light / f"light_{name}.onnx" for name in LIGHT]
    folder = shared_folder()
    if folder is not None:
        files += [folder / "ckpt" / name for name in MODELS.values() if name.endswith(".onnx")]
    rows = [Row(f"round_trip_{file.stem}", file.name, {"k": 16}, _round_trip(file)) for file in files if file.exists()]
    good = sum(all(row.results.values()) for row in rows)
    note = f"{good} of {len(rows)}: equal without the values of weights, checker passes, same opset: "
    note += ", ".join(row.description for row in rows)
    return rows, {"onnx_roundtrip_models": Headline(float(good), "models", f"all {len(rows)}", note)}


def _round_trip(path: Path) -> dict[str, bool]:
    from qacomp.config import CompressConfig
    from qacomp.decoding import decode
    from qacomp.model_files import read_model
    from qacomp.onnx_graph.values import DATA_FIELDS
    from qacomp.onnx_graph.walk import sites
    from qacomp.pipeline import compress
    from qacomp.progress import SilentProgress

    with tempfile.TemporaryDirectory() as scratch:
        container, output = Path(scratch) / "m.qac", Path(scratch) / "m.onnx"
        compress(read_model(path), CompressConfig(k=16), None, container, SilentProgress())
        decode(container, output, measure=False)
        before, after = onnx.load(path), onnx.load(output)
    opsets = [(i.domain, i.version) for i in before.opset_import] == [(i.domain, i.version) for i in after.opset_import]
    try:
        onnx.checker.check_model(after)
        checked = True
    except onnx.checker.ValidationError:
        checked = False
    for one, two in zip(list(sites(before)), list(sites(after)), strict=True):
        for tensor in (one.tensor, two.tensor):
            for field in DATA_FIELDS:
                tensor.ClearField(field)
    same = before.SerializeToString(deterministic=True) == after.SerializeToString(deterministic=True)
    return {"same_graph": same, "checker_passes": checked, "same_opset": opsets}


def report() -> Results:
    """The report of a compression in a headless browser: light, dark, on a phone, without JavaScript."""
    from browser import find_browser, open_browser

    from qacomp.config import CompressConfig
    from qacomp.model_files import read_model
    from qacomp.pipeline import compress
    from qacomp.progress import SilentProgress
    from qacomp.report import write_report

    folder, browser_path = shared_folder(), find_browser()
    bar = "0"
    if folder is None or browser_path is None:
        missing = "real checkpoints" if folder is None else "headless browser"
        return [], {"report_console_errors": Headline(None, "errors", bar, f"skipped: no {missing} here")}
    rows = []
    with tempfile.TemporaryDirectory() as scratch, open_browser(browser_path) as browser:
        here = Path(scratch)
        for name, file in MODELS.items():
            container, page = here / f"{name}.qac", here / f"{name}.html"
            result = compress(
                read_model(folder / "ckpt" / file), CompressConfig(k=16), None, container, SilentProgress()
            )
            write_report(page, container, result)
            for how in ({}, {"dark": True}, {"width": 360}, {"scripts": False}):
                seen = browser.visit(page, **how)
                results = {"errors": len(seen.errors), "requests": len(seen.requests), "bytes": page.stat().st_size}
                rows.append(Row(f"report_{name}_{len(rows)}", f"report of {file}", dict(how), results))
    errors = sum(row.results["errors"] for row in rows)
    note = (
        f"errors and warnings on the console, {len(rows)} visits: {len(MODELS)} reports; light, dark, phone, no scripts"
    )
    return rows, {"report_console_errors": Headline(float(errors), "errors", bar, note)}
