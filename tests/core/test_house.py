"""The house's rules: which layer imports what, and that the wheel holds every folder."""

import ast
import functools
import statistics
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STANDARD = set(sys.stdlib_module_names)
ALLOWED = {
    "formats": {"numpy", "zstandard"},
    "qacomp": {
        *("numpy", "torch", "sklearn", "onnx", "onnxruntime", "onnxscript", "safetensors", "PIL", "tomli_w"),
        *("matplotlib", "accelerate", "optuna", "sqlalchemy", "nncodec", "distributed"),
        *("fsspec", "huggingface_hub", "transformers", "model_signing", "cryptography"),
    },
    "cli": {"click", "rich"},
}
SEES = {"formats": ("qacomp.formats",), "qacomp": ("qacomp",), "cli": ("qacomp",)}
SOURCES = [(layer, path) for layer in ALLOWED for path in sorted((ROOT / layer).rglob("*.py"))]


@functools.cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file, which most tests here walk over."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> set[str]:
    """Every module that the file imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
    return found


@pytest.mark.parametrize(
    ("layer", "path"), SOURCES, ids=lambda v: str(v.relative_to(ROOT)) if isinstance(v, Path) else v
)
def test_layers_import_only_downward(layer: str, path: Path) -> None:
    for module in imports(path):
        top = module.partition(".")[0]
        if top == "qacomp":
            assert module.startswith(SEES[layer]), f"{path} imports {module}"
            assert layer == "cli" or not module.startswith("qacomp.cli"), f"{path} imports {module}"
        else:
            assert top in STANDARD | ALLOWED[layer], f"{path} imports {module}"


ROOMS = (
    ("errors", "version", "plain_text"),
    ("extras",),
    ("progress", "outputs", "workers"),
    ("notebook",),
    ("pickles",),
    ("tensors",),
    ("folders",),
    ("remote",),
    ("options",),
    ("datasets",),
    ("models",),
    ("batches",),
    ("ranks",),
    ("checkpoints",),
    ("graphs",),
    ("runtime",),
    ("evaluation",),
    ("sharing",),
    ("rate",),
    ("calibration",),
    ("sources",),
    ("exporting",),
    ("torch",),
    ("training",),
    ("stages",),
    ("report", "plots"),
    ("page",),
    ("result",),
    ("pipeline", "evaluate", "diff"),
    ("calls",),
    ("api", "train_api", "gating", "merge", "updates", "bom", "signing"),
    ("sweeping",),
    ("testing",),
    ("__init__", "__main__"),
)
"""The rooms of `qacomp`, from the ground up. A file imports from its own room and from those before it."""


@functools.cache
def modules() -> dict[str, Path]:
    """Every module of the repository by its dotted name."""
    found = {}
    for layer, path in SOURCES:
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts if layer == "qacomp" else ["qacomp", *parts])] = path
    return found


@functools.cache
def graph() -> dict[str, set[str]]:
    """Which modules each module imports, anywhere in it: within functions and for type checkers too."""
    known = modules()
    edges: dict[str, set[str]] = {}
    for name, path in known.items():
        edges[name] = set()
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Import):
                edges[name] |= {alias.name for alias in node.names} & known.keys()
            elif isinstance(node, ast.ImportFrom) and node.module:
                wanted = {f"{node.module}.{alias.name}" for alias in node.names}
                inner = wanted & known.keys()
                edges[name] |= inner | ({node.module} & known.keys() if inner != wanted else set())
        edges[name].discard(name)
    return edges


def room_of(module: str) -> str:
    """The room that a module stands in: its folder, or the file itself where it stands at the top."""
    return module.split(".")[1] if "." in module else "__init__"


def test_rooms_import_only_downward() -> None:
    floor = {room: number for number, rooms in enumerate(ROOMS) for room in rooms}
    below = {"formats"}
    for module, others in graph().items():
        room = room_of(module)
        if room in ("formats", "cli"):
            continue
        for other in map(room_of, others):
            assert other in below or other == room or floor[other] < floor[room], f"{module} imports from {other}"


def test_there_is_no_circle_of_imports() -> None:
    try:
        tuple(TopologicalSorter(graph()).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_every_room_is_on_a_floor() -> None:
    rooms = {room_of(module) for module in modules()} - {"formats", "cli"}
    assert rooms == set(chain(*ROOMS))


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_file_is_past_300_lines() -> None:
    assert statistics.median(lines_of(path) for _, path in SOURCES) <= 100
    others = chain.from_iterable((ROOT / folder).rglob("*.py") for folder in ("tests", "benchmarks", "examples"))
    lengths = {path: lines_of(path) for path in chain((path for _, path in SOURCES), others)}
    assert {path: n for path, n in lengths.items() if n > 300} == {}


def test_the_pipeline_is_one_page() -> None:
    """A newcomer reads it whole: every stage is a line."""
    assert lines_of(ROOT / "qacomp" / "pipeline.py") <= 60


MOST_PARAMETERS = 6


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many parameters a function takes, `*args` and `**more` as one each, without self and cls."""
    takes = function.args
    names = [a.arg for a in (*takes.posonlyargs, *takes.args, *takes.kwonlyargs, takes.vararg, takes.kwarg) if a]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def test_no_function_takes_more_than_six_parameters() -> None:
    long = {
        f"{room_of(module)}.{node.name}": parameters(node)
        for module, path in modules().items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and parameters(node) > MOST_PARAMETERS
    }
    assert long == {}


def test_no_two_classes_have_one_name() -> None:
    names: dict[str, list[str]] = {}
    for module, path in modules().items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                names.setdefault(node.name, []).append(module)
    assert {name: where for name, where in names.items() if len(where) > 1} == {}


FOREIGN = {
    "protobuf's messages, which are built so": {
        "data_location", "ir_version", "name", "raw_data", "tensor_name", "value", "version",
    },
    "values of onnxscript": {"const_value"},
    "torch's modules and tensors": {
        "affine", "bias", "data", "eps", "forward", "grad", "in_channels", "in_features", "momentum", "num_features",
        "out_channels", "out_features", "training", "weight",
    },
    "onnxruntime's options": {
        "graph_optimization_level", "inter_op_num_threads", "intra_op_num_threads", "log_severity_level",
        "optimized_model_filepath",
    },
    "Optuna's studies": {"sampler"},
    "what Python itself reads": {"__class__", "__doc__", "__name__", "__signature__"},
}  # fmt: skip
"""Attributes that are set on objects of others, whose library asks for it."""


def set_from_outside(path: Path) -> list[str]:
    """Assignments of a file to an attribute of what is neither self nor cls, nor the `ctx` of an autograd function."""
    allowed = set(chain(*FOREIGN.values()))
    return [
        f"{path}:{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and node.attr not in allowed
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "ctx"))
    ]


def test_no_attribute_is_set_from_outside_its_class() -> None:
    assert [place for path in modules().values() for place in set_from_outside(path)] == []


VERBS = frozenset(Path(__file__).with_name("verbs.txt").read_text(encoding="utf-8").split())
"""How the docstring of a function may begin. Add a verb that is missing, never a noun or an article."""


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method of a file, nested ones too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def without_verb() -> dict[str, list[str]]:
    """Return the docstrings of functions that begin with no verb, by room."""
    found: dict[str, list[str]] = {}
    for module, path in modules().items():
        for function in functions(path):
            if any("register_" in ast.unparse(decorator) for decorator in function.decorator_list):
                continue  # its first line is what `qacomp --help all` says of it
            words = (ast.get_docstring(function) or "").split()
            if words and words[0].rstrip(".,:;") not in VERBS:
                found.setdefault(room_of(module), []).append(f"{path}:{function.lineno}: {' '.join(words[:8])}")
    return found


def test_docstrings_of_functions_begin_with_a_verb() -> None:
    found = without_verb()
    assert found == {}


def test_nobody_imports_a_mapped_folder_by_its_top_level_name() -> None:
    for path in ROOT.rglob("*.py"):
        if not {".venv", "build", "node_modules"} & set(path.relative_to(ROOT).parts):
            assert not {m for m in imports(path) if m.split(".")[0] in ("formats", "cli")}, path


def test_tests_wait_as_long_as_the_machine_needs() -> None:
    """A busy machine is no failure: whoever waits for a process takes the fixture `patience`."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.keyword) and node.arg == "timeout":
                assert not isinstance(node.value, ast.Constant), f"{path}:{node.value.lineno}: patience(seconds)"
