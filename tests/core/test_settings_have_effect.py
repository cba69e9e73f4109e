"""No setting is ignored in silence: in every mode, each one changes the outcome, is refused, or is named in a note."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_trial import Written, images, network, outcome
from torch import nn

from qacomp import pipeline
from qacomp.errors import ConfigError, QacompError
from qacomp.formats import open_file
from qacomp.graphs.reading import OnnxFile, parse_onnx
from qacomp.options import checking
from qacomp.options.config import CompressConfig
from qacomp.options.declaration import declarations, flag
from qacomp.options.method_table import method_table
from qacomp.progress import SilentProgress
from qacomp.sources.onnx_source import OnnxSource
from qacomp.sources.tensor_source import TensorSource
from qacomp.stages.job import Job
from qacomp.stages.run import Run
from qacomp.training.history import WeightHistory
from qacomp.training.ladder import PrecisionLadder
from qacomp.training.resume import ResumeStore

SMALL: dict[str, Any] = {"min_size": 1, "seed": 1}
TUNED = SMALL | {"k": 4, "tune_epochs": 1, "batch_size": 16}
BY_RATE: dict[str, Any] = {"tuned": False, "trellis": "true"}
TRAINED = TUNED | {"epochs": 1}
MODES: dict[str, dict[str, Any]] = {
    "tuned": TUNED,
    "exp": TRAINED | {"reg": "exp"},
    "cos, one strength": TRAINED | {"reg": "cos", "strength": 0.5, "sharing": "after"},
    "straight-through": TRAINED | {"sharing": "straight-through"},
    "learned bits": SMALL | {"batch_size": 16, "epochs": 1, "reg": "sinreq:learn_bits=true", "quantizer": "dorefa"},
    "rate": SMALL | {"sharing": "rate", "tune_epochs": 0},
    "levels": TRAINED | {"levels": (2, 4), "reg": "exp"},
    "magnitude": SMALL | {"k": 4, "prune": "magnitude:epochs=0", "tune_epochs": 0},
    "energy": SMALL | {"k": 4, "batch_size": 16, "prune": "energy:epochs=3,rate=0.4", "tune_epochs": 0},
}
CONDITIONAL = {name for name, declared in declarations(CompressConfig).items() if declared.needs}
INPUTS = {"arch", "num_classes", "data", "input", "submodule", "key", "metric", "preprocess"}
"""What the network is built from: below, and in the tests of preprocessing."""
RUNNING = {"run_limits"}  # what a model may take while it runs: tests/core/test_sandbox.py
OTHER: dict[str, Any] = {
    "arch": "lenet5",
    "num_classes": 7,
    "data": "digits",
    "input": ("1,8",),
    "submodule": "part",
    "key": "g_ema",
    "metric": "mse",
    "preprocess": "size=7x7,mean=0.3,std=0.7",
    "reg": "exp",
    "k": 5,
    "k_layers": {"4": 3},
    "levels": (3, 5),
    "scope": "conv",
    "codebook": "channel",
    "include": ("4",),
    "exclude": ("4",),
    "min_size": 100,
    "min_agreement": 0.9999,
    "rounding": "nearest",
    "sharing": "straight-through",
    "target_size": "3KB",
    "quality": "small",
    "max_drop": 60.0,
    "calibration": "digits",
    "strength": 3.0,
    "strength_layers": {"4": 2.0},
    "pull": 9.0,
    "schedule": "constant",
    "quantizer": "wrpn",
    "bits": 3,
    "bits_layers": {"4": 5},
    "epochs": 2,
    "tune_epochs": 2,
    "batch_size": 5,
    "lr": 0.3,
    "lr_levels": 0.2,
    "lr_tune": 0.3,
    "optimizer": "sgd:momentum=0.3",
    "distill": "ipkd",
    "augment": "crop-flip",
    "stored_precision": "exact",
    "codec": "lzma",
    "seed": 3,
    "device": "cpu",
    "precision": "bf16",
    "batch_norm": "re-estimate",
    "prune": "magnitude",
    "run_limits": "seconds=9,memory=1GB",
}

DESCENT: dict[str, Any] = {"weight_decay": 0.2, "schedule": "step", "clip": 0.01}
HYPERPARAMETERS: dict[str, dict[str, dict[str, Any]]] = {
    "sharing": {"auto": {}, "after": {}, "straight-through": {"entropy": 20.0}, "rate": BY_RATE},
    "reg": {
        "sin": {"slices": 2, "range": "global"},
        "cos": {"slices": 2, "range": "learned"},
        "min": {"slices": 2, "init": "uniform"},
        "exp": {"slices": 2, "init": "quantile"},
        "sinreq": {"slices": 2, "domain": "wrpn-raw", "learn_bits": True, "bits_penalty": 0.0, "bits_count": "layers"},
    },
    "schedule": {"constant": {}, "warmup": {"fraction": 0.9}, "tanh": {"width": 3.0}},
    "quantizer": {name: {"scale": "unit", "ends": "full", "activations": 4} for name in ("dorefa", "wrpn")},
    "distill": {name: {"weight": 0.3, "temperature": 3.0, "loss": "mse"} for name in ("kd", "ipkd", "ta-1", "ta-m")},
    "prune": {
        "magnitude": {"rate": 0.7, "epochs": 2, "unit": "filter", "scope": "global"},
        "energy": {"rate": 0.7, "epochs": 2, "objective": "cross-entropy", "start": "random", "parents": "keep"}
        | {"active": 0.8, "mutation": 0.3, "crossover": 0.3, "population": 5, "stagnation": 2},
    },
    "optimizer": {
        "sgd": DESCENT | {"momentum": 0.3, "nesterov": True},
        "adam": DESCENT | {"beta1": 0.3, "beta2": 0.5},
        "adamw": DESCENT | {"beta1": 0.3, "beta2": 0.5},
        "adadelta": DESCENT | {"rho": 0.3},
    },
}
"""Another value of each hyper-parameter of each method, by setting."""
BESIDE: dict[str, dict[str, Any]] = {
    "sinreq:bits_penalty": {"learn_bits": True},
    "sinreq:bits_count": {"learn_bits": True},
    "energy:active": {"start": "random", "population": 4, "epochs": 3},
    "energy": {"population": 4, "epochs": 3},  # a small one is quick
}
"""What a hyper-parameter, or each one of a method, needs beside it."""

METHOD_MODES: dict[str, dict[str, Any]] = {
    "rate": {"k": None, "tune_epochs": 0, "epochs": 0, "batch_size": CompressConfig().batch_size},
    "sinreq": {"k": None},
    "dorefa": {"k": None, "tune_epochs": None},
    "wrpn": {"k": None, "tune_epochs": None},
    "kd": {"epochs": None},
    "magnitude": {"tune_epochs": 0, "epochs": None},
    "energy": {"tune_epochs": 0, "epochs": None},
}
OF_A_REGULARIZER = ("sgd", "adam", "adamw", "adadelta", "warmup", "tanh")
METHOD_MODES |= {name: {"reg": "exp", "strength": 1.0} for name in OF_A_REGULARIZER}
"""The other settings of a method's trial, where it needs some."""


def stop(
    job: Job, models: tuple[nn.Module, nn.Module], weights: WeightHistory, ladder: PrecisionLadder | None = None
) -> None:
    raise Written(job, ladder or models[1])


@pytest.fixture(autouse=True)
def nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in ("train", "network_on_grids"):
        monkeypatch.setattr(f"qacomp.stages.{stage}.measured_network", stop)
    monkeypatch.setattr("qacomp.stages.network_on_grids.NetworkOnGrids.rest", lambda task: 2000)  # it would measure
    monkeypatch.setattr(ResumeStore, "save", lambda *args, **how: None)
    monkeypatch.setattr("qacomp.calibration.tuning.STEPS", 20)  # a setting that matters does so in few steps
    monkeypatch.setattr("qacomp.stages.trial_log._MOST", 0)  # bytes of scales that a report shows


def others(mode: Mapping[str, Any], names: Iterator[str] | set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(setting, the mode with another value of it), for every setting of `names` that the mode doesn't give."""
    for name in sorted(names):
        if mode.get(name) != OTHER[name]:
            yield name, {**mode, name: OTHER[name]}


def test_every_setting_has_another_value_here() -> None:
    defaults = CompressConfig().plain()
    assert sorted(OTHER) == sorted(field.name for field in fields(CompressConfig))
    assert not [name for name, value in OTHER.items() if value == defaults[name]]


@pytest.mark.parametrize("mode", MODES)
def test_a_setting_changes_the_outcome_or_is_refused(mode: str) -> None:
    """What settings need beside them is declared with them; all the rest must matter in one mode at least."""
    no_outcome = {"stored_precision", "codec", "device"}
    names = set(OTHER) - INPUTS - RUNNING - no_outcome if mode == "exp" else CONDITIONAL - {"distill"}
    before, job = outcome(MODES[mode], images())
    silent = []
    for name, settings in others(MODES[mode], names):
        if job.config.plain()[name] == OTHER[name]:  # it asks for what was chosen anyway
            continue
        try:
            after, _ = outcome(settings, images())
        except ConfigError:
            continue
        if after == before:
            silent.append(name)
    assert not silent


@pytest.mark.parametrize("mode", ["tuned", "exp", "straight-through"])
def test_what_is_refused_would_have_no_effect(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The declared needs aren't too strict: without them, what they refuse changes nothing."""
    before, _ = outcome(MODES[mode], images())
    refused = []
    by_name = {"epochs"}  # fine-tuning on the task alone must be asked for, with --sharing after
    for name, settings in others(MODES[mode], CONDITIONAL - {"bits", "bits_layers"} - by_name):
        try:
            CompressConfig(**settings).check()
        except ConfigError as error:
            if str(error).startswith(f"{flag(name)}:"):
                refused.append((name, settings))
    assert refused
    free = {name: replace(declared, needs=()) for name, declared in declarations(CompressConfig).items()}
    monkeypatch.setattr(checking, "declarations", lambda config: free)
    for name, settings in refused:
        assert outcome(settings, images())[0] == before, name


def test_every_hyperparameter_has_another_value_here() -> None:
    declared = declarations(CompressConfig)
    assert list(HYPERPARAMETERS) == [name for name, option in declared.items() if option.methods is not None]
    for setting, methods in HYPERPARAMETERS.items():
        each = [(method, found.name) for method, found in method_table(declared[setting]).each()]
        assert sorted(each) == sorted((method, name) for method, given in methods.items() for name in given)


@pytest.mark.parametrize(
    ("setting", "method"), [(setting, method) for setting, methods in HYPERPARAMETERS.items() for method in methods]
)
def test_a_hyperparameter_changes_the_outcome(setting: str, method: str) -> None:
    mode = TRAINED | METHOD_MODES.get(method, {})
    plain: dict[str, Any] = {}  # outcomes by what stands beside
    for name, value in HYPERPARAMETERS[setting][method].items():
        beside = BESIDE.get(f"{method}:{name}", BESIDE.get(method, {}))
        before, after = (mode | {setting: {"name": method} | beside | more} for more in ({}, {name: value}))
        if str(beside) not in plain:
            plain[str(beside)] = outcome(before, images())[0]
        assert plain[str(beside)] != outcome(after, images())[0], name


def test_without_data_what_needs_training_is_named() -> None:
    mode = SMALL | {"k": 4, "reg": "exp"}
    before, _ = outcome(mode, None)
    unseen = {"stored_precision", "codec", "device", "seed"}
    for name, settings in others(mode, set(OTHER) - INPUTS - RUNNING - unseen):
        try:
            after, job = outcome(settings, None)
        except QacompError:
            continue
        assert after != before or any(flag(name) in note for note in job.run.notes), name


def onnx_source() -> OnnxFile:
    rng = np.random.default_rng(0)
    values = {"4": rng.normal(size=(8, 12)), "5": rng.normal(size=(12, 4))}
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    nodes = [helper.make_node("MatMul", ["x", "4"], ["h"]), helper.make_node("MatMul", ["h", "5"], ["y"])]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, s]) for n, s in (("x", 8), ("y", 4))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return parse_onnx(model.SerializeToString(), Path("model.onnx"), "onnx")


@pytest.mark.parametrize("way", [{"k": 4, "reg": "exp"}, {"sharing": "rate"}], ids=["k-means", "rate"])
@pytest.mark.parametrize("kind", ["tensors", "onnx"])
def test_without_a_network_what_needs_one_is_named(kind: str, way: dict[str, Any], tmp_path: Path) -> None:
    source = OnnxSource(onnx_source()) if kind == "onnx" else TensorSource(network()[0])

    def stored(settings: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
        output = tmp_path / "out.qac"
        done = pipeline.compress(source, CompressConfig(**settings), None, Run(SilentProgress(), output))
        with open_file(output) as container:
            tensors = {name: container.tensor(name).tobytes() for name in container.names}
            return (tensors, [container.info(name).k for name in container.names]), done.notes

    mode = SMALL | way
    before, _ = stored(mode)
    unseen = {"data", "arch", "seed", "device", "key"} | (RUNNING if kind == "onnx" else set())
    if kind == "onnx" and "sharing" in way:
        unseen.add("stored_precision")  # fp16 holds these multiples of a step of few bits exactly
    for name, settings in others(mode, set(OTHER) - unseen):
        if not checking.given(CompressConfig(**settings), [name]):  # it asks for nothing beside this mode
            continue
        try:
            after, notes = stored(settings)
        except QacompError:
            continue
        assert after != before or any(flag(name) in note for note in notes), name


@pytest.mark.parametrize("mode", MODES)
def test_the_settings_that_a_container_names_can_be_given_again(mode: str) -> None:
    """What was chosen for open settings is refused by none of the checks, and leaves nothing to choose."""
    before, job = outcome(MODES[mode], images())
    again, repeated = outcome(job.config.plain(), images())
    assert repeated.config == job.config and again == before


def test_a_network_without_data_has_no_use_for_the_metric() -> None:
    _, job = outcome(SMALL | {"metric": "mse"}, None)
    assert any("--metric" in note for note in job.run.notes)
