"""The help of `qacomp compress`, made from the declarations."""

import inspect
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

import qacomp
from qacomp.cli.main import cli
from qacomp.errors import ConfigError
from qacomp.options import settings
from qacomp.options.config import CompressConfig
from qacomp.options.declaration import declarations
from qacomp.options.keywords import source
from qacomp.options.preprocess import LARGEST_SIDE
from qacomp.options.reference import page

OPTIONS = {name: declared for name, declared in declarations(CompressConfig).items() if declared.of is None}


def shown(*arguments: str) -> str:
    answer = CliRunner().invoke(cli, arguments)
    assert answer.exit_code == 0
    return answer.output


def listed(text: str) -> set[str]:
    return {name for name in OPTIONS if f"\n  --{name.replace('_', '-')}" in text}


def test_the_short_help_lists_what_most_users_need_and_says_how_many_more_there_are() -> None:
    text = shown("compress", "--help")
    basic = {name for name, declared in OPTIONS.items() if declared.basic}
    assert listed(text) == basic
    assert f"{len(OPTIONS) - len(basic)} more options: " in text and "--help all" in text


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_all_lists_every_option_with_its_default(word: str) -> None:
    text = shown("compress", word, "all")
    assert listed(text) == set(OPTIONS)
    for heading in {declared.group for declared in OPTIONS.values()}:
        assert f"\n{heading}:\n" in text
    headings = ["Options:", "Sharing:", "Distillation:", "Pruning:", "Training:", "Network and data:"]
    places = [text.index(f"\n{heading}\n") for heading in headings]
    assert places == sorted(places) and text.count("--min-size") == 1
    assert text.index("Distillation:") < text.index("kd:temperature=") < text.index("Pruning:")
    assert "[256]" in text and "more options" not in text


def test_every_setting_is_declared_with_help_and_a_group() -> None:
    for found in fields(CompressConfig):
        declared = found.metadata["option"]
        assert declared.of in OPTIONS if declared.of else declared.help.endswith(".") and declared.group


def test_an_unknown_setting_names_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting 'tune_epoch'; did you mean 'tune_epochs'\?$"):
        CompressConfig().with_settings({"tune_epoch": 3}, "run.toml")
    with pytest.raises(ConfigError, match=r"unknown setting 'zzz'; .*--help all"):
        CompressConfig().with_settings({"zzz": 3}, "run.toml")


def test_the_schema_of_the_settings_is_that_of_the_declarations() -> None:
    schema = json.loads(shown("compress", "--schema"))
    properties = schema["properties"]
    assert list(properties) == [found.name for found in fields(CompressConfig)]
    assert not schema["additionalProperties"]
    assert properties["k"] == {
        "type": "integer",
        "minimum": 2,
        "maximum": 65536,
        "default": 16,
        "description": OPTIONS["k"].help,
    }
    rates = [form["properties"]["rate"] for form in properties["prune"]["anyOf"][1:]]
    assert all(rate["exclusiveMinimum"] == 0 and rate["exclusiveMaximum"] == 1 for rate in rates) and len(rates) == 2
    assert properties["scope"]["enum"] == ["all", "conv", "dense"]
    assert properties["k_layers"]["additionalProperties"] == {"type": "integer", "minimum": 2, "maximum": 65536}
    assert properties["preprocess"]["description"] == OPTIONS["preprocess"].help
    text, table = properties["preprocess"]["anyOf"]
    assert text == {"type": "string"} and table["additionalProperties"] is False
    assert table["properties"]["size"] == {
        "type": "array",
        "items": {"type": "integer", "minimum": 1, "maximum": LARGEST_SIDE},
        "minItems": 2,
        "maxItems": 2,
        "description": "Height and width of the input: 32 or 32x48.",
    }
    assert table["properties"]["std"]["items"] == {"type": "number", "exclusiveMinimum": 0}


def test_the_keywords_that_editors_complete_are_the_declared_ones() -> None:
    written = Path(settings.__file__).read_text(encoding="utf-8")
    assert written == source(CompressConfig), "run python -m qacomp.options.keywords"
    parameters = inspect.signature(qacomp.compress).parameters
    assert {found.name for found in fields(CompressConfig)} <= set(parameters) and "settings" not in parameters
    assert parameters["k"].default == 16 and parameters["trust_pickle"].default is False


def test_python_m_qacomp_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "qacomp", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("qacomp, version ")


def test_the_reference_page_is_that_of_the_declarations() -> None:
    written = Path(__file__).resolve().parents[2] / "docs" / "options.md"
    wanted = page(CompressConfig)
    assert written.read_text(encoding="utf-8") == wanted, "run python -m qacomp.options.reference docs/options.md"
    assert all(f"| `--{name.replace('_', '-')}` |" in wanted for name in OPTIONS)


@pytest.mark.parametrize(
    ("typed", "wanted"), [("--arch resnet2", "resnet20"), ("--scope c", "conv"), ("--reg e", "exp")]
)
def test_the_shell_completes_values(typed: str, wanted: str) -> None:
    words = f"qacomp compress model.pt {typed}"
    asked = {"_QACOMP_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    answer = CliRunner().invoke(cli, [], prog_name="qacomp", env=asked)
    assert answer.output.split() == [f"plain,{wanted}"]
