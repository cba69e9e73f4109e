"""MSDNet's and slimmable MobileNet's published counts, and each sub-model's ONNX against it in PyTorch."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from result import Headline, Row
from torch import nn

from qacomp.evaluation.accuracy import onnx_logits, torch_logits
from qacomp.evaluation.macs import count_macs, count_parameters
from qacomp.exporting.onnx_model import onnx_model
from qacomp.formats import Writer, open_file
from qacomp.models import create_model, model_info
from qacomp.models.flexible import FlexibleModel
from qacomp.sources.network import Network
from qacomp.sources.torch_weights import select_layers
from qacomp.stages.pack_network import pack_network
from qacomp.training.share_network import share_network

SHAPE = (3, 32, 32)
MSDNET_PARAMETERS, MSDNET_MMACS = 2_986_690, (14.96, 21.70, 28.78, 34.79, 41.68, 46.33, 51.88)
WIDTH_PARAMETERS, WIDTH_MMACS = (215_642, 823_722, 1_824_250, 3_217_226), (3.33, 12.17, 26.51, 46.35)


def counts() -> tuple[list[Row], dict[str, Headline]]:
    """Parameters and multiply-accumulates beside the published ones."""
    rows, equal = [], True
    for arch, mmacs in (("msdnet", MSDNET_MMACS), ("slimmable_mobilenet", WIDTH_MMACS)):
        model = create_model(arch)
        assert isinstance(model, FlexibleModel)
        parts = [model.submodel(name) for name in model.submodel_names]
        parameters = [count_parameters(part) for part in parts]
        found = [round(count_macs(part, SHAPE) / 1e6, 2) for part in parts]
        published = count_parameters(model) == MSDNET_PARAMETERS
        if arch != "msdnet":
            published = tuple(parameters) == WIDTH_PARAMETERS
        equal = equal and published and tuple(found) == mmacs
        results = {"parameters": parameters, "mmacs": found, "names": list(model.submodel_names)}
        rows.append(Row(f"counts_{arch}", f"{arch}: each sub-model alone", {}, results))
    note = "parameters and MMACs of MSDNet's 7 exits and slimmable MobileNet's 4 widths, to the published digit"
    return rows, {"counts_equal": Headline(float(equal), "", "= 1", note)}


def exports() -> tuple[list[Row], float]:
    """Both networks, shared at K = 16, through a container: each sub-model cut out of it, against PyTorch."""
    rows, worst = [], 0.0
    x = np.random.default_rng(0).normal(size=(64, *SHAPE)).astype(np.float32)
    for arch in ("msdnet", "slimmable_mobilenet"):
        torch.manual_seed(0)
        model: nn.Module = create_model(arch)
        assert isinstance(model, FlexibleModel)
        with torch.no_grad():
            model.forward_all(torch.from_numpy(x))  # in training mode: batch norm gets statistics
        info = model_info(arch)
        network = Network(model.eval(), arch, 10, SHAPE, info.preprocessing)
        selection = select_layers(model, "all", 16, {})
        share_network(model, selection, {}, lambda text: None)
        package = pack_network(network, selection, "fp16")
        errors, sizes = [], []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "flexible.qac"
            with Writer(path, graph=package.graph) as writer:
                for tensor, value in package.tensors.items():
                    if tensor in package.cuts:
                        writer.cut()
                    writer.add(tensor, value, "fp16")
            with open_file(path) as container:
                for name, part in package.submodels.items():
                    made = onnx_model(container, submodel=name)
                    ours, theirs = onnx_logits(made, x), torch_logits(part, x)
                    assert np.array_equal(ours.argmax(1), theirs.argmax(1))
                    errors.append(float(np.abs(ours.astype(np.float64) - theirs).max()))
                    sizes.append(made.ByteSize())
            size = path.stat().st_size
        results = {"max_abs_error": errors, "onnx_bytes": sizes, "container_bytes": size}
        rows.append(Row(f"exports_{arch}", f"{arch}, K = 16: all sub-models from one file", {"k": 16}, results))
        worst = max(worst, *errors)
    return rows, worst
