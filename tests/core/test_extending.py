"""Each example of docs/extending.md is a file of an installed package: its suite passes, the command finds it by name.

The package is a folder with a dist-info beside it, as an installer makes them. What is imported stays, so every test
here starts processes of its own.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from warm_process import WarmProcess

from qacomp.formats import UnsupportedVersionError, open_file

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(
    r"^## (.+?)\n.*?```python\n(.+?)```\n\n```toml\n(.+?)```\n\n```python\n(.+?)```", re.DOTALL | re.MULTILINE
)
EXAMPLES = EXAMPLE.findall(PAGE)
GROUP = re.compile(r'\[project\.entry-points\."([\w.]+)"\]\n(\S+) = "extras\.(\w+)"\n')


def install(folder: Path, package: str, entries: str, files: dict[str, str]) -> None:
    """Write a package and its dist-info into `folder`, a place on sys.path."""
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text("")
    for name, text in files.items():
        (folder / package / f"{name}.py").write_text(text)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entries)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All examples as one package, and one whose import fails."""
    folder = tmp_path_factory.mktemp("site")
    entries = ""
    files: dict[str, str] = {}
    for _, code, toml, suite in EXAMPLES:
        found = GROUP.fullmatch(toml)
        assert found is not None, toml
        entries += f"[{found[1]}]\n{found[2]} = extras.{found[3]}\n"
        files |= {found[3]: code, f"suite_{found[3]}": suite}
    install(folder, "extras", entries, files)
    groups = sorted({found[1] for found in map(GROUP.fullmatch, (toml for _, _, toml, _ in EXAMPLES)) if found})
    install(folder, "broken", "".join(f"[{g}]\nbroken = broken.code\n" for g in groups), {"code": "import nowhere\n"})
    return folder


Python = Callable[[str], str]


@pytest.fixture
def python(warm_process: WarmProcess, site: Path, tmp_path: Path) -> Python:
    """Run a program in a folder of its own, with the packages installed; what it prints."""
    return lambda program: warm_process.run(program, tmp_path, path=[site])


COMMANDS = """
import contextlib, io, json
from qacomp.cli.main import main
def call(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(a) for a in arguments])
        except SystemExit as left:
            code = left.code
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}
answers = []
"""


def answers(python: Python, *lines: str) -> list[dict[str, Any]]:
    """Run command lines one after the other in one process; exit code, output and errors of each."""
    program = COMMANDS + "".join(f"answers.append(call(*{line.split()!r}))\n" for line in lines)
    found: list[dict[str, Any]] = json.loads(python(program + "print(json.dumps(answers))").splitlines()[-1])
    return found


def test_every_kind_of_the_table_has_an_example() -> None:
    kinds = re.findall(r"^\| (.+?) \| .*\| `(qacomp\.\w+)` \| `(\w+)` \|$", PAGE, re.MULTILINE)
    assert len(EXAMPLES) == len(kinds) >= 9
    groups = {found[1] for found in map(GROUP.fullmatch, (toml for _, _, toml, _ in EXAMPLES)) if found}
    assert groups == {group for _, group, _ in kinds}
    assert all(any(suite in code for _, _, _, code in EXAMPLES) for _, _, suite in kinds)
    for _, code, _, _ in EXAMPLES:
        assert len(code.splitlines()) <= 45, code


@pytest.mark.parametrize("toml", [toml for _, _, toml, _ in EXAMPLES], ids=[title for title, _, _, _ in EXAMPLES])
def test_an_example_passes_its_suite(python: Python, toml: str) -> None:
    found = GROUP.fullmatch(toml)
    assert found is not None
    program = f"""
import inspect, extras.suite_{found[3]} as module
from qacomp.testing import Suite, run_suite
suites = [s for n, s in vars(module).items() if n.startswith("Test") and issubclass(s, Suite)]
print(len(suites), sum(len(run_suite(suite)) for suite in suites))
"""
    suites, tests = map(int, python(program).split())
    assert suites == 1 and tests >= 3


def test_the_command_finds_models_data_codecs_and_formats(python: Python) -> None:
    train, compress, decode, exact, unnamed = answers(
        python,
        "train --arch tiny_net --data stripes:200 --epochs 2 -o net.pt --json",
        "compress net.pt --arch tiny_net --data stripes:200 --tune-epochs 1 --k 4 --codec bz2 --json",
        "decode net.qac -o net.json --json",
        "compress net.pt --arch tiny_net --k 4 --codec lzma -o other.qac",
        "compress net.pt --k 4 --codec missing -o other.qac",
    )
    assert train["code"] == 0, train["err"]
    assert json.loads(train["out"])["arch"] == "tiny_net"
    assert compress["code"] == 0, compress["err"]
    assert decode["code"] == 0, decode["err"]
    assert json.loads(decode["out"])["max_abs_error"] == 0
    assert exact["code"] == 1 and "tried anyway" in exact["err"] and "bz2" in exact["err"]
    assert unnamed["code"] == 1 and "unknown codec 'missing'" in unnamed["err"]


def test_the_command_finds_what_trains(python: Python) -> None:
    """Regularizer, optimizer, quantizer, pruning method, kind and loss of distillation, in four compressions."""
    data = "--arch tiny_net --data stripes:200 --tune-epochs 1 --json"
    network = f"{data} --epochs 1"
    train, regularized, quantized, wrong, pruned, taught = answers(
        python,
        "train --arch tiny_net --data stripes:200 --epochs 2 -o net.pt --json",
        f"compress net.pt {network} --k 4 --reg power:power=1.5 --optimizer rmsprop --strength 1 -o a.qac",
        f"compress net.pt {network} --quantizer midrise --bits 3 -o b.qac",
        f"compress net.pt {network} --k 4 --reg power:exponent=2 -o c.qac",
        f"compress net.pt {data} --k 4 --prune random:epochs=1 --distill kd:loss=brier -o d.qac",
        f"compress net.pt {network} --k 4 --distill ensemble:weight=0.5 -o e.qac",
    )
    assert not [answer for answer in (train, regularized, quantized, pruned, taught) if answer["code"]]
    assert wrong["code"] == 1 and "unknown hyper-parameter 'exponent'" in wrong["err"] and "power" in wrong["err"]
    assert json.loads(taught["out"])["settings"]["distill"] == "ensemble:temperature=1,weight=0.5"


def test_a_package_that_is_not_named_is_not_imported(python: Python) -> None:
    program = COMMANDS + (
        "import sys\n"
        "call('train', '--arch', 'lenet300', '--data', 'digits', '--epochs', '1', '-o', 'net.pt')\n"
        "call('compress', 'net.pt', '--k', '4', '--tune-epochs', '0')\n"
        "call('decode', 'net.qac', '-o', 'net.npz')\n"
        "call('train', '--help')\n"
        "print(sorted(n for n in sys.modules if n.startswith(('extras.', 'broken.'))))\n"
    )
    assert python(program).splitlines()[-1] == "['extras.bz2_codec']"  # readers have codecs, whatever the file says


def test_a_broken_package_stops_only_who_names_it(python: Python) -> None:
    named, data, fine, wrong = answers(
        python,
        "train --arch broken --data digits -o net.pt",
        "train --arch tiny_net --data broken -o net.pt",
        "train --arch tiny_net --data stripes:200 --epochs 1 -o net.pt",
        "train --arch tiny_nets --data stripes:200 -o other.pt",
    )
    for answer in (named, data):
        assert answer["code"] == 1 and "broken 1.0 can't be imported" in answer["err"] and "nowhere" in answer["err"]
    assert fine["code"] == 0
    assert wrong["code"] == 1 and "did you mean tiny_net?" in wrong["err"]


def test_a_word_in_a_file_imports_no_package(python: Python) -> None:
    program = COMMANDS + (
        "import os, sys\n"
        "train = ['train', '--arch', 'tiny_net', '--data', 'stripes:200', '--epochs', '1', '-o', 'net.pt']\n"
        "trained = os.fork() or os._exit(call(*train)['code'])\n"
        "assert os.waitpid(trained, 0)[1] == 0\n"
        "answer = call('compress', 'net.pt', '--k', '4')\n"
        "print('extras.tiny_net' in sys.modules, 'extras.stripes' in sys.modules, json.dumps(answer))\n"
    )
    model, data, answer = python(program).splitlines()[-1].split(" ", 2)
    assert (model, data) == ("False", "False")
    assert json.loads(answer)["code"] == 1 and "the file names the architecture 'tiny_net'" in json.loads(answer)["err"]


def test_a_codec_that_wins_is_needed_to_read(python: Python, tmp_path: Path) -> None:
    out = python(
        "import numpy as np\n"
        "from qacomp.formats import Coding, SharedTensor, load_file, save_file\n"
        "indices = np.arange(60_000, dtype=np.uint32).reshape(200, 300) ** 2 // 7 % 4\n"
        "tensor = SharedTensor(np.array([-1.0, -0.3, 0.3, 1.0], np.float32), indices.astype(np.uint8))\n"
        "made = save_file('w.qac', {'w': tensor}, coding=Coding(('bz2',)))\n"
        "plain = save_file('plain.qac', {'w': tensor})\n"
        "assert np.array_equal(load_file('w.qac')['w'], tensor.dense())\n"
        "print(made.tensors[0].codec, 'bz2' in plain.tensors[0].candidates)\n"
    )
    assert out == "bz2 False\n"
    with open_file(tmp_path / "w.qac") as container:  # here without the package
        assert container.info("w").codec == "unknown-200"
        with pytest.raises(UnsupportedVersionError, match=r"codec 200 isn't known here; install the package"):
            container.tensor("w")
