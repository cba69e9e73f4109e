"""A new regularizer with a hyper-parameter is one file: command line, TOML, JSON schema and report know it."""

import json
from pathlib import Path

from warm_process import WarmProcess

MINE = '''"""A regularizer of somebody's own, in one file."""

from dataclasses import dataclass

import torch
from torch import nn

from qacomp.options.declaration import Bounds, Option, option
from qacomp.options.regularizer_options import RegularizerOptions
from qacomp.training.regularizers import Regularizer, register_regularizer


@dataclass(frozen=True)
class MineOptions(RegularizerOptions):
    sharpness: float = option(1.0, Option("How sharp the basins are.", bounds=Bounds(0, 9)))


@register_regularizer("mine", MineOptions)
class Mine(Regularizer):
    """Mean |w - nearest of K fixed values| ** sharpness."""

    def __init__(self, places, sharpness):
        super().__init__()
        self.sharpness = sharpness
        self.register_buffer("places", places)

    @classmethod
    def for_weights(cls, weight, k, options, quantized=None):
        return cls(torch.linspace(float(weight.min()), float(weight.max()), k), options.sharpness)

    def reference(self, weight):
        distance = (weight[..., None] - self.places.to(weight)).abs().min(-1).values
        return distance.clamp_min(1e-6).pow(self.sharpness).mean()

    def representatives(self):
        return self.places
'''
TRIAL = """
import json
import sys
import tomllib

sys.path.insert(0, ".")
import mine
import numpy as np
from torch import nn

import qacomp
from qacomp.cli.settings import _hyperparameters
from qacomp.formats import open_file
from qacomp.options.config import CompressConfig
from qacomp.options.declaration import declarations
from qacomp.options.reference import page
from qacomp.options.schema import json_schema

rng = np.random.default_rng(0)
x, y = rng.random((60, 4, 4)).astype(np.float32), np.arange(60) % 2
data = {"x_train": x[:40], "y_train": y[:40], "x_test": x[40:], "y_test": y[40:]}
model = nn.Sequential(nn.Flatten(), nn.Linear(16, 20), nn.ReLU(), nn.Linear(20, 2))
made, seen = [], []
build = mine.Mine.__init__
mine.Mine.__init__ = lambda self, places, sharpness: (made.append(sharpness), build(self, places, sharpness))[1]
result = qacomp.compress(
    model, data, reg="mine:sharpness=2", k=4, min_size=1, epochs=1, tune_epochs=0, output="mine.qac"
)
with open_file("mine.qac") as container:
    written = CompressConfig().with_settings(tomllib.loads(container.meta["settings"]), "container")
try:
    qacomp.compress(model, data, reg="mine:sharpness=10")
except qacomp.QacompError as error:
    seen.append(str(error))
try:
    qacomp.compress(model, data, reg="mine:sharp=1")
except qacomp.QacompError as error:
    seen.append(str(error))
declared = declarations(CompressConfig)["reg"]
forms = json_schema(CompressConfig)["properties"]["reg"]["anyOf"]
print(json.dumps({
    "sharpness": sorted(set(made)),
    "json": result.settings["reg"],
    "container": str(written.reg),
    "object": str(CompressConfig(reg=mine.MineOptions(sharpness=3)).reg),
    "errors": seen,
    "help": [row for row in _hyperparameters(declared) if "mine:sharp" in row[0]],
    "schema": [form["properties"]["sharpness"] for form in forms[1:] if form["properties"]["name"]["const"] == "mine"],
    "page": "`--reg mine:sharpness=`" in page(CompressConfig),
}))
"""


def test_a_new_regularizer_with_a_hyperparameter_is_one_file(warm_process: WarmProcess, tmp_path: Path) -> None:
    """In a process of its own: what it registers stays."""
    (tmp_path / "mine.py").write_text(MINE)
    told = json.loads(warm_process.run(TRIAL, tmp_path).splitlines()[-1])
    assert told == {
        "sharpness": [2.0],
        "json": "mine:sharpness=2",
        "container": "mine:sharpness=2",
        "object": "mine:sharpness=3",
        "errors": [
            "--reg mine: sharpness = 10.0: must lie between 0 and 9",
            "--reg mine: unknown hyper-parameter 'sharp'; did you mean 'sharpness'?",
        ],
        "help": [["  mine:sharpness=FLOAT", "How sharp the basins are. [1.0]"]],
        "schema": [
            {
                "type": "number",
                "minimum": 0,
                "maximum": 9,
                "default": 1.0,
                "description": "How sharp the basins are.",
            }
        ],
        "page": True,
    }
