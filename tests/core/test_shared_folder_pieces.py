"""Workers of a cluster write pieces into the first process's folder where they see it, else send the bytes."""

import hashlib
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import qacomp
from qacomp.errors import WorkerError
from qacomp.options.config import CompressConfig
from qacomp.sources import folder_source
from qacomp.stages import large
from qacomp.stages.piece_folder import PieceFolder
from qacomp.stages.pieces import PackingRules, PieceTask, TensorTask, write_piece
from qacomp.workers.pools import ThisProcess


class Elsewhere:
    """An executor whose workers see the folder under another path, as on another machine."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def submit(self, fn: Any, task: PieceTask) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(fn(task if self.path is None else replace(task, folder=self.path)))
        return future


@pytest.fixture
def folder(tmp_path: Path) -> PieceFolder:
    folder = PieceFolder(tmp_path / "model.qac", "run")
    folder.open()
    return folder


def task_of(folder: PieceFolder) -> PieceTask:
    array = np.random.default_rng(0).standard_normal((8, 8), np.float32)
    tensors = (TensorTask("w", lambda: array, array.size),)
    return PieceTask(0, tensors, PackingRules(CompressConfig(), None), folder.path, folder.marked())


def test_a_worker_that_sees_the_folder_writes_there_and_sends_a_digest(folder: PieceFolder) -> None:
    task = task_of(folder)
    told = Elsewhere(None).submit(write_piece, task).result()
    data = (folder.path / task.file).read_bytes()
    assert told == hashlib.sha256(data).hexdigest()
    assert data == write_piece(replace(task, folder=None, token=None))
    folder.take(task, told)
    assert folder.has(task)


def test_a_worker_without_the_folder_or_with_another_one_sends_the_bytes(folder: PieceFolder, tmp_path: Path) -> None:
    task, other = task_of(folder), PieceFolder(tmp_path / "other.qac", "run")
    other.open()
    other.marked()
    for path in (tmp_path / "absent", other.path):
        told = Elsewhere(path).submit(write_piece, task).result()
        assert isinstance(told, bytes)
        assert not (path / task.file).exists()
        folder.take(task, told)
        assert folder.has(task)


def test_a_piece_that_changed_after_it_was_written_is_refused(folder: PieceFolder) -> None:
    task = task_of(folder)
    told = write_piece(task)
    assert isinstance(told, str)
    (folder.path / task.file).write_bytes(b"other")
    with pytest.raises(WorkerError, match="isn't what a worker wrote"):
        folder.take(task, told)


def test_a_cluster_that_sees_the_folder_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, told = tmp_path / "model", []
    model.mkdir()
    save_file({"w": np.random.default_rng(0).standard_normal((32, 64), np.float32)}, model / "model.safetensors")
    monkeypatch.setattr(folder_source, "_LARGE", 0)
    alone = qacomp.compress(model, output=tmp_path / "alone.qac", progress=False)

    def seen(task: PieceTask) -> bytes | str | None:
        told.append(write_piece(task))
        return told[-1]

    monkeypatch.setattr(large, "write_piece", seen)
    monkeypatch.setattr(large, "opened", lambda workers: nullcontext(ThisProcess()))
    shared = qacomp.compress(model, output=tmp_path / "shared.qac", workers="tcp://127.0.0.1:1", progress=False)
    assert shared.output.read_bytes() == alone.output.read_bytes()
    assert [type(one) for one in told] == [str]
    assert not list(tmp_path.glob("*.tensors"))
