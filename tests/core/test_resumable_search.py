"""A search by rate that was interrupted goes on with the same command: same bytes, and nothing is measured again."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import qacomp
from qacomp.calibration.output_distance import OutputDistance
from qacomp.errors import OutputExistsError, TargetNotReachedError
from qacomp.evaluation.paired import Loss
from qacomp.evaluation.verdict import GOOD, Verdict
from qacomp.graphs import known_graphs
from qacomp.graphs.network import export_dense
from qacomp.outputs import JOURNAL_MARK, claim, container_outputs, journal_path
from qacomp.stages import network_on_grids, share_by_rate
from qacomp.stages.journal import Journal, real, whole
from qacomp.stages.kept_tunings import KeptTunings
from qacomp.stages.tune_on_grids import Tuned
from qacomp.stages.validation import Validation
from qacomp.training.history import EpochRecord


def nothing_measured() -> Any:
    raise AssertionError("is measured again")


def test_a_journal_gives_back_what_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "m.journal"
    arrays: dict[str, NDArray[Any]] = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((0, 2))}
    first = Journal(path, "mine")
    assert first.value("bytes", lambda: np.int64(7), whole) == 7 and first.value("far", lambda: float("inf"), real) > 9
    assert first.under("steps")("w", 2, lambda: (0.1, np.float64(0.2))) == [0.1, 0.2]
    first.add("tuned", [1, "x"], arrays)
    again = Journal(path, "mine")
    assert again.kept == 4 and again.value("bytes", nothing_measured, whole) == 7
    assert again.value("far", nothing_measured, real) == float("inf")
    assert again.under("steps")("w", 2, nothing_measured) == [0.1, 0.2]
    found = again.arrays("tuned")
    assert found is not None and found[0] == [1, "x"]
    assert all(
        found[1][name].tobytes() == a.tobytes() and found[1][name].shape == a.shape for name, a in arrays.items()
    )
    assert again.under("other")("w", 2, lambda: (3, 4)) == [3, 4]
    again.under("other")("v", 2, lambda: (5, 6))  # waits for the next write
    again.flush()
    assert Journal(path, "mine").kept == 6 and Journal(path, "another").kept == 0
    again.finish()
    assert not path.exists()


def test_a_damaged_journal_is_used_up_to_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "m.journal"
    for number in range(4):
        Journal(path, "mine").add(f"k{number}", number)
    data = path.read_bytes()
    for cut in range(0, len(data), 7):
        path.write_bytes(data[:cut])
        left = Journal(path, "mine").kept
        assert left <= 4 * cut / len(data)
        changed = bytearray(data)
        changed[cut] ^= 1
        path.write_bytes(changed)
        assert Journal(path, "mine").kept < 4
    path.write_bytes(data[:-3])
    cut_off = Journal(path, "mine")
    cut_off.add("new", 9)
    assert cut_off.kept == 3 and Journal(path, "mine").value("new", nothing_measured, whole) == 9
    assert Journal(path, "mine").kept == 4


@pytest.mark.parametrize("value", ["7", None, [1], {"a": 1}, True, 1.5])
def test_a_value_of_another_type_is_measured_again(tmp_path: Path, value: Any) -> None:
    Journal(tmp_path / "j", "mine").add("k", value)
    again = Journal(tmp_path / "j", "mine")
    assert again.value("k", lambda: 3, whole) == 3 and again.arrays("k") is None
    assert again.under("x")("k", 2, lambda: (1, 2)) == [1, 2]


def test_arrays_that_do_not_fit_their_bytes_are_none(tmp_path: Path) -> None:
    for number, listed in enumerate(
        ([["a", "float32", [9]]], [["a", "object", [1]]], [["a", "float32", [-1]]], 3, [[1]])
    ):
        Journal(tmp_path / "j", "mine").add(f"k{number}", {"value": 1, "arrays": listed})
        assert Journal(tmp_path / "j", "mine").arrays(f"k{number}") is None
    (tmp_path / "j").write_bytes(pickle.dumps(print))
    assert Journal(tmp_path / "j", "mine").kept == 0


def test_a_journal_that_cannot_be_written_fails_no_run(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "missing" / "j", "mine")
    assert journal.value("k", lambda: 3, whole) == 3 and journal.value("l", lambda: 4, whole) == 4
    journal.finish()
    assert not list(tmp_path.iterdir())


def test_a_journal_is_claimed_beside_its_output(tmp_path: Path) -> None:
    output = tmp_path / "m.qac"
    journal_path(output).write_bytes(JOURNAL_MARK + b"of another run")
    claim(container_outputs(output), [])
    journal_path(output).write_text("mine")
    with pytest.raises(OutputExistsError, match=r"m\.qac\.journal"):
        claim(container_outputs(output), [])


def test_validations_and_tunings_are_read_as_they_were(tmp_path: Path) -> None:
    from dataclasses import asdict

    told = Validation(Verdict(GOOD, ("a", "b"), "c"), 0.5, Loss("accuracy", 0.25, None, 9), "some", True, 4)
    first = Journal(tmp_path / "j", "mine")
    first.value("v", lambda: told, Validation.of_json, asdict)
    tuned = Tuned({"w": torch.ones(2, 3), "n": torch.tensor(4)}, [EpochRecord("tune", 1, 0.5, 0.0, 90.0)])
    KeptTunings(first, "x").keep(0.5, tuned)
    again = Journal(tmp_path / "j", "mine")
    assert again.value("v", nothing_measured, Validation.of_json, asdict) == told
    found = KeptTunings(again, "x").find(0.5)
    assert (
        found is not None and list(found.records) == list(tuned.records) and KeptTunings(again, "y").find(0.5) is None
    )
    assert all(torch.equal(found.values[name], value) for name, value in tuned.values.items())


class Counted:
    """Counts the calls of a function, and raises KeyboardInterrupt instead of one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.calls, self.stop_at = 0, 0
        call: Callable[..., Any] = getattr(owner, name)

        def counted(*given: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls == self.stop_at:
                raise KeyboardInterrupt
            return call(*given, **named)

        monkeypatch.setattr(owner, name, counted)

    def count(self, run: Callable[[], object], stop_at: int = 0) -> int:
        """The calls of a run, which is interrupted at one of them."""
        self.calls, self.stop_at = 0, stop_at
        if stop_at:
            with pytest.raises(KeyboardInterrupt):
                run()
        else:
            run()
        return self.calls


def assert_goes_on(
    counted: Counted, folder: Path, compress: Callable[[Path], Any], stop_at: Callable[[int], int]
) -> Any:
    """Assert that a run goes on where it was interrupted. stop_at: all calls -> the one that is interrupted."""
    every = counted.count(lambda: compress(folder / "whole.qac"))
    stop, output = stop_at(every), folder / "m.qac"
    counted.count(lambda: compress(output), stop)
    assert not output.exists() and journal_path(output).exists()
    results: list[Any] = []
    left = counted.count(lambda: results.append(compress(output)))
    assert left == every - (stop - 1), "what was measured before isn't measured again"
    assert output.read_bytes() == (folder / "whole.qac").read_bytes()
    assert {path.name for path in folder.iterdir()} == {"m.qac", "whole.qac"}
    assert any("an interrupted run goes on" in note for note in results[0].notes)
    return results[0]


def onnx_model() -> Any:
    rng = np.random.default_rng(0)
    tensors = {f"w{i}": rng.normal(size=(24, 24)).astype(np.float32) for i in range(2)}
    nodes = [helper.make_node("MatMul", ["x", "w0"], ["h"]), helper.make_node("Tanh", ["h"], ["t"])]
    nodes.append(helper.make_node("MatMul", ["t", "w1"], ["y"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 24]) for name in "xy"]
    held = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("stop_at", [lambda every: 3, lambda every: every - 1], ids=["steps", "scales"])
def test_an_onnx_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stop_at: Callable[[int], int]) -> None:
    counted, model = Counted(monkeypatch, OutputDistance, "__call__"), onnx_model()
    assert_goes_on(counted, tmp_path, lambda output: qacomp.compress(model, output=output, min_size=1), stop_at)


@pytest.mark.parametrize("size", ["700", "400,900"])
def test_bare_tensors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: str) -> None:
    rng = np.random.default_rng(0)
    state = {f"w{i}.weight": rng.normal(size=(24, 24)).astype(np.float32) for i in range(2)}
    counted = Counted(monkeypatch, share_by_rate, "tensor_bytes")
    assert_goes_on(
        counted,
        tmp_path,
        lambda output: qacomp.compress(state, output=output, target_size=size),
        lambda every: every - 1,
    )


def test_a_network_that_is_tuned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    exported: list[onnx.ModelProto] = []

    def once(*given: Any, **how: Any) -> onnx.ModelProto:
        exported.extend([] if exported else [export_dense(*given, **how)])
        copy: onnx.ModelProto = onnx.ModelProto.FromString(exported[0].SerializeToString())
        return copy

    monkeypatch.setattr(known_graphs, "export_dense", once)
    monkeypatch.setattr("qacomp.calibration.tuning.STEPS", 10)
    monkeypatch.setattr("qacomp.calibration.synthetic.STEPS", 5)
    monkeypatch.setattr("qacomp.stages.network_calibration._MADE", 16)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 6))
    with torch.no_grad():
        for _ in range(30):
            model(torch.randn(64, 2, 8, 8))
    counted = Counted(monkeypatch, network_on_grids, "tune")

    def compress(output: Path) -> Any:
        return qacomp.compress(model.eval(), output=output, input_shape=(2, 8, 8), min_size=1, min_agreement=0.999)

    made = Counted(monkeypatch, torch.nn.functional, "avg_pool2d")  # once for each batch of images
    result = assert_goes_on(counted, tmp_path, compress, lambda every: 2)
    assert made.calls == 2, "one for the whole run, one for the interrupted one"
    assert result.rate_search is not None and not result.missed


def test_an_error_that_would_come_again_leaves_no_journal(tmp_path: Path) -> None:
    with pytest.raises(TargetNotReachedError):
        qacomp.compress(onnx_model(), output=tmp_path / "m.qac", min_size=1, target_size="400")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_too_long_or_of_another_run_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "m.qac.journal"
    first = Journal(path, "a run")
    first.add("one", 1)
    assert Journal(path, "a run").kept == 1
    assert Journal(path, "another run").kept == 0
    with path.open("r+b") as file:
        file.truncate((1 << 30) + 1)  # takes no space on the disk
    assert Journal(path, "a run").kept == 0


def test_a_journal_that_can_not_be_removed_fails_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    journal = Journal(tmp_path / "m.qac.journal", "a run")
    journal.add("one", 1)
    monkeypatch.setattr(Path, "unlink", refused)
    journal.finish()
    assert (tmp_path / "m.qac.journal").exists()
