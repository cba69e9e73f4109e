"""Settings of several parts: text, tables and objects are the same value; what can't be one is one line."""

import tomllib
from typing import Any

import pytest
from click.testing import CliRunner

from qacomp.cli.main import cli
from qacomp.errors import ConfigError
from qacomp.options.config import CompressConfig
from qacomp.options.parts import parts_text, read_parts
from qacomp.options.preprocess import PreprocessOptions
from qacomp.options.running import RunLimitOptions, RunLimits

WHOLE = PreprocessOptions((32, 48), (0.485, 0.456, 0.406), (0.229, 1.0, 0.225))


def test_text_a_table_and_an_object_say_the_same() -> None:
    text = "size=32x48,mean=0.485,0.456,0.406,std=0.229,1,0.225"
    table = {"size": [32, 48], "mean": [0.485, 0.456, 0.406], "std": [0.229, 1, 0.225]}
    forms: list[Any] = [text, table, WHOLE]
    configs = [CompressConfig().with_settings({"preprocess": form}, "test") for form in forms]
    configs += [CompressConfig(preprocess=form) for form in forms]
    assert all(config == configs[0] and config.preprocess == WHOLE for config in configs)
    assert parts_text(WHOLE) == text
    again = CompressConfig().with_settings(tomllib.loads(configs[0].to_toml()), "test")
    assert again == configs[0]


def test_parts_that_are_not_given_stay_open() -> None:
    assert read_parts("here", "size=8", PreprocessOptions) == PreprocessOptions((8, 8))
    assert read_parts("here", "", PreprocessOptions) == read_parts("here", None, PreprocessOptions)
    assert parts_text(PreprocessOptions()) is None and "preprocess" not in CompressConfig().to_toml()
    assert read_parts("here", "memory=1GB", RunLimitOptions).limits == RunLimits(60.0, 10**9)
    assert parts_text(RunLimitOptions(9.0)) == "seconds=9,memory=4GB"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("size", "write PART=VALUE"),
        ("sise=3", "unknown part 'sise'; did you mean 'size'?"),
        ("zzzzz=3", "unknown part 'zzzzz'; its parts are size, mean, std"),
        ("size=3,size=4", "size is given twice"),
        ("size=3x4x5", "size = '3x4x5': write 32 or 32x48"),
        ("size=", "write 32 or 32x48"),
        ("mean=a", "mean = 'a': must be numbers separated by commas"),
        ("mean=" + "1" * 20_000, "is longer than 10,000 characters"),
        ({"size": 32}, "size = 32 has the wrong type"),
        ({"size": [32, "x"]}, "has the wrong type"),
        ({"size": [32, 32, 32]}, "has the wrong type"),
        ({"size": [32, float("inf")]}, "has the wrong type"),
        ({"mean": [True]}, "has the wrong type"),
        ({"scale": 2}, "unknown part 'scale'"),
        (32, "write PART=VALUE,... or a table"),
        (RunLimitOptions(), "write PART=VALUE,... or a table"),
    ],
)
def test_what_is_no_part_is_one_line(given: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=r"^run\.toml: preprocess") as caught:
        CompressConfig().with_settings({"preprocess": given}, "run.toml")
    assert told in str(caught.value) and len(str(caught.value)) < 400 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("size=0", "--preprocess: size = 0: must lie between 1 and 65,536"),
        ("size=70000", "--preprocess: size = 70000: must lie"),
        ("std=1,0", "--preprocess: std = 0.0: must be greater than zero"),
        ("std=nan", "--preprocess: std = nan: must be greater than zero"),
    ],
)
def test_bounds_of_parts(given: str, told: str) -> None:
    with pytest.raises(ConfigError, match=f"^{told}"):
        CompressConfig().with_settings({"preprocess": given}, "test").check()


def test_the_shell_completes_parts() -> None:
    def completed(typed: str) -> list[str]:
        words = f"qacomp compress m.pt --preprocess {typed}"
        asked = {"_QACOMP_COMPLETE": "zsh_complete", "COMP_WORDS": words, "COMP_CWORD": "4"}
        answer = CliRunner().invoke(cli, [], prog_name="qacomp", env=asked)
        return [line for line in answer.output.splitlines() if "=" in line]

    assert completed("s") == ["size=", "std="]
    assert completed("size=8,") == ["size=8,mean=", "size=8,std="]
