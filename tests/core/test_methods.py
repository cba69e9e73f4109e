"""Methods and their hyper-parameters: text and back, each error, and a new method that is one file."""

import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from qacomp.cli.main import cli
from qacomp.errors import ConfigError
from qacomp.options.config import CompressConfig
from qacomp.options.declaration import declarations
from qacomp.options.method import MethodChoice, as_text, parse_method
from qacomp.options.method_table import MethodTable, method_table
from qacomp.options.registry import Registry
from qacomp.options.schema import json_schema
from qacomp.training.pruning.by_energy import EnergyOptions
from qacomp.training.regularizers.sinreq import SinReQOptions

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
PARAMETERS = st.from_regex(r"[a-z_][a-z0-9_]{0,20}", fullmatch=True)
VALUES = st.text(max_size=40).filter(lambda text: text.isprintable() or text.isascii())


@given(NAMES, st.dictionaries(PARAMETERS, VALUES, max_size=5))
def test_text_and_back(name: str, values: dict[str, str]) -> None:
    choice = MethodChoice(name, values)
    assert parse_method(str(choice), "reg") == choice
    config = CompressConfig(reg=choice)
    assert CompressConfig().with_settings(tomllib.loads(config.to_toml()), "run.toml") == config


@given(st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_keeps_its_value_as_text(value: bool | int | float) -> None:
    text = as_text(value)
    assert text == str(value).lower() if isinstance(value, bool) else float(text) == float(value)


@given(st.text(max_size=60))
def test_any_text_is_a_method_or_an_error_of_one_line(text: str) -> None:
    try:
        choice = parse_method(text, "reg")
    except ConfigError as error:
        assert str(error).startswith("reg = ")
    else:
        assert parse_method(str(choice), "reg") == choice


def test_the_forms_of_a_method_are_equal() -> None:
    forms: list[Any] = [
        "sinreq:domain=wrpn,learn_bits=true",
        "sinreq:learn_bits=true,domain=wrpn",
        {"name": "sinreq", "domain": "wrpn", "learn_bits": True},
        SinReQOptions(domain="wrpn", learn_bits=True),
        MethodChoice("sinreq", {"domain": "wrpn", "learn_bits": "true"}),
    ]
    configs = [CompressConfig().with_settings({"reg": form, "k": 8}, "test") for form in forms]
    assert all(config == configs[0] for config in configs)
    assert configs[0].plain()["reg"] == "sinreq:domain=wrpn,learn_bits=true"
    table = tomllib.loads('reg = {name = "sinreq", domain = "wrpn", learn_bits = true}\nk = 8')
    assert CompressConfig().with_settings(table, "run.toml") == configs[0]
    energy = CompressConfig().with_settings({"prune": EnergyOptions(population=5, stagnation=3)}, "test")
    assert str(energy.prune) == "energy:population=5,stagnation=3"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reg": "sinrek"}, "unknown regularizer 'sinrek': did you mean sinreq? known are"),
        ({"reg": "sinreq:domian=wrpn"}, "--reg sinreq: unknown hyper-parameter 'domian'; did you mean 'domain'?"),
        ({"reg": "exp:zzz=1"}, "--reg exp: unknown hyper-parameter 'zzz'; known are slices, init"),
        ({"reg": "none:init=x"}, "--reg none: takes no hyper-parameters"),
        ({"reg": "exp:init=random"}, "--reg exp: init = 'random': must be one of kmeans, quantile, uniform"),
        ({"reg": "sinreq:learn_bits=yes"}, "--reg sinreq: learn_bits = 'yes': must be true or false"),
        ({"reg": {"name": "sinreq", "learn_bits": 1}}, "--reg sinreq: learn_bits = '1': must be true or false"),
        ({"reg": "sinreq:bits_penalty=1"}, "--reg sinreq: bits_penalty has no effect without learn_bits=true"),
        ({"reg": "exp:"}, "test: reg = 'exp:': after 'exp:' write HYPER_PARAMETER=VALUE, several separated by commas"),
        ({"reg": "exp:init"}, "test: reg = 'exp:init': after 'exp:' write HYPER_PARAMETER=VALUE"),
        ({"reg": "exp:init=a,"}, "test: reg = 'exp:init=a,': after 'exp:' write HYPER_PARAMETER=VALUE"),
        ({"reg": "exp:init=a,init=b"}, "test: reg = 'exp:init=a,init=b': init is given twice"),
        ({"reg": 'exp:init="a\\q"'}, 'test: reg = \'exp:init="a\\\\q"\': "a\\q" isn\'t valid quoted text'),
        ({"reg": ""}, "test: reg = '': write NAME or NAME:HYPER_PARAMETER=VALUE,..."),
        ({"reg": None}, "test: reg = None: must be a method's name"),
        ({"reg": {"init": "uniform"}}, "test: reg: a table needs the method's name"),
        ({"reg": {"name": "exp", "init": [1]}}, "test: reg: init = [1]: a hyper-parameter must be text, a number"),
        ({"reg": {"name": "exp", "a b": 1}}, "test: reg: 'a b' isn't a valid name of a hyper-parameter"),
        ({"reg": EnergyOptions()}, "test: reg: EnergyOptions belongs to no regularizer"),
        ({"prune": "energy:population=2"}, "--prune energy: population = 2: must be at least 3"),
        ({"prune": "energy:population=3.5"}, "--prune energy: population = '3.5': must be a whole number"),
        ({"prune": "energy:objective=zz"}, "--prune energy: objective = 'zz': must be one of"),
        ({"quantizer": "wrpn:ends=9"}, "--quantizer wrpn: ends = '9': must be same, full or a number of bits"),
        ({"distill": "kd:temperature=hot", "tune_epochs": 1}, "--distill kd: temperature = 'hot': must be a number"),
        ({"distill": "kd:weight=2", "tune_epochs": 1}, "--distill kd: weight = 2.0: must lie between 0 and 1"),
        ({"distill": "kd:weight=0.5", "tune_epochs": 0}, "--distill: has no effect since nothing is trained"),
    ],
)
def test_what_cannot_work_is_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}") as caught:
        CompressConfig().with_settings(settings, "test").check()
    assert "\n" not in str(caught.value)


def test_a_method_is_registered_with_declared_fields_of_its_own_kind() -> None:
    @dataclass(frozen=True)
    class Common:
        """Nothing."""

    @dataclass(frozen=True)
    class Bare(Common):
        size: int = 3

    table: MethodTable[object] = MethodTable("reg", Common, Registry("thing", __name__, "qacomp.things"))
    with pytest.raises(TypeError, match="must be derived from Common"):
        table.register("a", SinReQOptions)
    with pytest.raises(TypeError, match=r"Bare.size: isn't declared"):
        table.register("a", Bare)


def test_reading_settings_imports_no_torch() -> None:
    code = (
        "import sys; from qacomp.options.config import CompressConfig; from qacomp.cli.main import main\n"
        "CompressConfig().with_settings({'reg': 'sinreq:domain=wrpn', 'prune': {'name': 'energy'}}, 'test').to_toml()\n"
        "CompressConfig().check()\n"
        "try: main(['compress', '--help'])\n"
        "except SystemExit: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_schema_has_each_methods_table() -> None:
    forms = json_schema(CompressConfig)["properties"]["reg"]
    assert forms["default"] == "none" and forms["anyOf"][0]["type"] == "string"
    tables = {form["properties"]["name"]["const"]: form for form in forms["anyOf"][1:]}
    sinreq = tables["sinreq"]
    assert sinreq["properties"]["bits_penalty"] == {
        "type": "number",
        "minimum": 0,
        "default": 0.03,
        "description": "Weight of the learned bits in the loss.",
    }
    assert sinreq["required"] == ["name"] and not sinreq["additionalProperties"]


def test_every_method_is_in_the_help_of_its_setting() -> None:
    for setting, declared in declarations(CompressConfig).items():
        if declared.methods is not None:
            for name in method_table(declared).registry.here():
                assert re.search(rf"\b{re.escape(name)}\b", declared.help), f"--{setting}: {name}"


def completed(*words: str) -> list[str]:
    """What bash gets for a command line of these words, as it splits them."""
    asked = {"_QACOMP_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    answer = CliRunner().invoke(cli, [], prog_name="qacomp", env=asked)
    return [line.removeprefix("plain,") for line in answer.output.split()]


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        (["--reg", "sinr"], ["sinreq"]),
        (["--reg", "sinreq:do"], ["sinreq:domain="]),  # a shell that splits at blanks alone
        (["--reg", "sinreq", ":", "do"], ["domain="]),
        (["--reg", "sinreq", ":"], ["slices=", "domain=", "learn_bits=", "bits_penalty=", "bits_count="]),
        (["--reg", "sinreq", ":", "learn_bits", "="], ["true", "false"]),
        (["--reg", "sinreq", ":", "domain", "=", "wrpn-"], ["wrpn-raw"]),
        (
            ["--reg", "sinreq", ":", "domain", "=", "wrpn,"],
            ["wrpn,slices=", "wrpn,learn_bits=", "wrpn,bits_penalty=", "wrpn,bits_count="],
        ),
        (["--reg", "=", "ex"], ["exp"]),
        (["--quantizer", "dorefa", ":", "ends", "="], ["same", "full"]),
        (["--prune", "energy", ":", "objective", "=", "c"], ["cross-entropy"]),
        (["--reg", "nothing", ":", "a"], []),
    ],
)
def test_the_shell_completes_hyperparameters(typed: list[str], wanted: list[str]) -> None:
    assert completed("qacomp", "compress", "model.pt", *typed) == wanted


def test_settings_that_differ_from_the_defaults_give_the_same_settings() -> None:
    for chosen in ({}, {"k": 4, "reg": "sinreq:domain=wrpn"}, {"include": ("a.*",), "k_layers": {"a": 3}}, {"seed": 7}):
        config = CompressConfig().with_settings(chosen, "test")
        text = config.chosen_toml()
        assert CompressConfig().with_settings(tomllib.loads(text), "run.toml") == config
        assert len(tomllib.loads(text)) == len(chosen)
