"""The help of `qacomp compress`, made from the declarations."""

import inspect
import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import click
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
    answer = CliRunner().invoke(cli, arguments, prog_name="qacomp")
    assert answer.exit_code == 0
    return answer.output


def listed(text: str) -> set[str]:
    return {name for name in OPTIONS if f"\n  --{name.replace('_', '-')}" in text}


COMMANDS = {
    "compress": 42,
    "merge": 30,
    "delta": 30,
    "apply": 30,
    "decode": 30,
    "eval": 30,
    "train": 40,
    "inspect": 30,
    "gate": 45,
    "sweep": 42,
    "diff": 30,
    "verify": 30,
    "sbom": 30,
    "sign": 30,
    "demo": 30,
    "page": 30,
    "serve": 30,
    "plot": 30,
    "plot penalty": 30,
    "plot training": 30,
    "plot weights": 30,
}
"""Most lines of each command's help at 80 columns. A terminal has 24 to 50; 42 leave room for the prompt."""


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a terminal 80 columns wide."""
    monkeypatch.setenv("COLUMNS", "80")


def commands(group: click.Group, before: str = "") -> list[str]:
    """Every command by its words, those below groups too."""
    found = []
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        found += [f"{before}{name}", *(commands(command, f"{name} ") if isinstance(command, click.Group) else [])]
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_the_short_help_is_one_screen(screen: None, command: str) -> None:
    lines = shown(*command.split(), "--help").splitlines()
    assert len(lines) <= COMMANDS[command] and max(map(len, lines)) <= 80, "\n".join(lines)


def test_every_command_has_a_most_number_of_lines_here() -> None:
    assert isinstance(cli, click.Group) and sorted(commands(cli)) == sorted(COMMANDS)


def test_the_short_help_lists_what_most_users_need_and_says_how_many_more_there_are(screen: None) -> None:
    text = shown("compress", "--help")
    basic = {name for name, declared in OPTIONS.items() if declared.brief}
    assert listed(text) == basic
    hidden = re.search(r"^(\d+) more options, and what a METHOD takes: qacomp compress --help all$", text, re.M)
    assert hidden is not None
    every = re.findall(r"^  (?:-\w, )?--[\w-]+", shown("compress", "--help", "all"), re.M)
    assert int(hidden[1]) == len(every) - len(re.findall(r"^  (?:-\w, )?--[\w-]+", text, re.M))


def test_every_brief_text_is_one_line_with_the_default(screen: None) -> None:
    text = shown("compress", "--help")
    for name, declared in OPTIONS.items():
        if declared.brief:
            (line,) = [row for row in text.splitlines() if row.startswith(f"  --{name.replace('_', '-')} ")]
            assert declared.brief in line and not re.search(r"[^.]\.$", declared.brief), name
    assert "8,conv1=16\n" in text and "affine4 [tensor]\n" in text and "sinreq\n" in text


@pytest.mark.parametrize("command", [name for name in COMMANDS if name in ("decode", "eval", "train", "inspect")])
def test_other_commands_list_the_rest_too(screen: None, command: str) -> None:
    text, whole = shown(command, "--help"), shown(command, "--help", "all")
    assert f"qacomp {command} --help all" in text and "--debug" not in text
    assert "--debug" in whole and "--help all" not in whole
    assert ("--run-limits" in whole) == (command != "train")


def test_fewer_than_46_settings() -> None:
    """The general help stays readable: what belongs to a method is a hyper-parameter of it."""
    assert len(OPTIONS) < 46


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
    assert "magnitude:rate=" in text and "  seconds=FLOAT" in text and "  size=SIZE" in text


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
    assert parameters["k"].default is None and parameters["trust_pickle"].default is False
    assert parameters["scope"].default == "all"


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
