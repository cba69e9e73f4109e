"""Affine grids of the suite onnx that weights are put on at compress time (`--codebook affine4:32`)."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from _onnx_affine import cosine, normal_matrices, stack
from result import Results, Row, in_turns, median, spread

from qacomp.api import compress
from qacomp.exporting.decode import decode_file
from qacomp.exporting.onnx_options import OnnxOptions
from qacomp.graphs.reading import read_onnx
from qacomp.options.config import CompressConfig
from qacomp.runtime.comparison import FP32_ACTIVATIONS
from qacomp.runtime.session import open_session

KINDS = ("affine2:16", "affine4", "affine4:32", "affine8", "affine8:32")
SIDE, LAYERS = 1024, 4


def grids() -> Results:
    """Each kind: bits a weight in the container, outputs against the original's at both accuracy levels, speed."""
    dense = stack(normal_matrices(SIDE, LAYERS))
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        original = here / "original.onnx"
        onnx.save(dense, original)
        feed = {"x": np.random.default_rng(1).standard_normal((1, SIDE)).astype(np.float32)}
        before = open_session(original, threads=1)
        wanted = before.run(None, feed)[0]
        for kind in KINDS:
            container, output = here / "m.qac", here / "m.onnx"
            settings = CompressConfig(codebook=kind)
            result = compress(read_onnx(original), None, settings, container)
            made = decode_file(container, output, onnx=OnnxOptions("affine"))
            sessions = {
                "default": open_session(output, threads=1),
                "fp32": open_session(output, threads=1, settings=FP32_ACTIVATIONS),
            }
            tasks = {n: lambda s=s: s.run(None, feed) for n, s in (sessions | {"dense": before}).items()}
            times = in_turns(tasks, 15)
            ratios = {n: [a / b for a, b in zip(times["dense"], times[n], strict=True)] for n in sessions}
            results = {
                "bits_per_weight": result.bits_per_weight,
                "file_ratio": made.output_bytes / original.stat().st_size,
                "weights_max_abs_error": made.max_abs_error,
                "cosine": {n: cosine(s.run(None, feed)[0], wanted) for n, s in sessions.items()},
                "speedup": {n: median(r) for n, r in ratios.items()},
                "speedup_sd": {n: spread(r) for n, r in ratios.items()},
            }
            text = f"{LAYERS} products of {SIDE} x {SIDE}, normal weights, --codebook {kind}, batch 1"
            rows.append(Row(f"grid_{kind.replace(':', '_')}", text, {"codebook": kind}, results))
    return rows, {}
