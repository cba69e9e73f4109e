"""A large source has the same container whoever makes it: one process, several, a cluster, or parts that are merged."""

from pathlib import Path

import numpy as np
import pytest
import torch
from model_folders import contents, small_folder, write_folder

import qacomp
from qacomp.errors import ConfigError, FormatError, OutputNotWritableError, PartsError, WorkerError
from qacomp.exporting.decode import decode_file
from qacomp.formats import Coding, HeldTensor, ShardWriter, SharedTensor, Writer, open_file
from qacomp.formats.writer import Tensor
from qacomp.sources import folder_source
from qacomp.stages import large, pieces
from qacomp.stages.pieces import PieceTask
from qacomp.workers.choice import Workers

SHARDS = "20KB"


@pytest.fixture(autouse=True)
def all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_source, "_LARGE", 0)
    monkeypatch.setattr(pieces, "_VALUES", 2000)  # so that a small folder has several pieces


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return small_folder(tmp_path / "m")


@pytest.mark.parametrize("settings", [{}, {"k": 4}])
def test_two_workers_write_the_bytes_of_one(source: Path, tmp_path: Path, settings: dict[str, int]) -> None:
    results = [qacomp.compress(source, output=tmp_path / f"{n}.qac", workers=n, **settings) for n in (1, 2)]  # type: ignore[arg-type]
    assert (tmp_path / "1.qac").read_bytes() == (tmp_path / "2.qac").read_bytes()
    assert results[0].layers == results[1].layers and any(layer.error_db for layer in results[0].layers)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.qac", "2.qac", "m"]  # no piece is left


@pytest.mark.parametrize("of", [1, 3, 11])
def test_merged_parts_are_the_file_of_one_run(source: Path, tmp_path: Path, of: int) -> None:
    qacomp.compress(source, output=tmp_path / "whole.qac", k=4)
    parts = [tmp_path / f"{n}.qac" for n in range(1, of + 1)]
    for number, path in enumerate(parts, 1):
        qacomp.compress(source, output=path, k=4, part=f"{number}/{of}")
    done = qacomp.merge(parts[::-1], tmp_path / "merged.qac")
    assert (tmp_path / "merged.qac").read_bytes() == (tmp_path / "whole.qac").read_bytes()
    assert done.bytes == (tmp_path / "whole.qac").stat().st_size and done.parts == of


def test_merged_parts_may_be_sharded(source: Path, tmp_path: Path) -> None:
    qacomp.compress(source, output=tmp_path / "a.qac", min_size=10**9, shard_size=SHARDS)
    for number in (1, 2):
        qacomp.compress(source, output=tmp_path / f"p{number}.qac", min_size=10**9, part=f"{number}/2")
    qacomp.merge([tmp_path / "p1.qac", tmp_path / "p2.qac"], tmp_path / "b.qac", shard_size=SHARDS)
    first, second = (sorted(tmp_path.glob(f"{name}.qac-*")) or sorted(tmp_path.glob(f"{name}-*.qac")) for name in "ab")
    assert first and [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_parts_that_do_not_fit_are_refused(source: Path, tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.qac" for name in ("one", "two", "other", "third", "whole")}
    qacomp.compress(source, output=paths["one"], k=4, part="1/2")
    qacomp.compress(source, output=paths["two"], k=4, part="2/2")
    qacomp.compress(source, output=paths["other"], k=8, part="2/2")
    qacomp.compress(source, output=paths["third"], k=4, part="3/3")
    qacomp.compress(source, output=paths["whole"], k=4)
    for names, why in (
        (("one",), "of 2 parts 1 aren't given: 2"),
        (("one", "other"), "other settings"),
        (("one", "third"), "is one of 3 parts"),
        (("one", "two", "whole"), "is no part"),
        (("one", "two", "two"), r"is part 2, as .*two\.qac is"),
    ):
        with pytest.raises(PartsError, match=why):
            qacomp.merge([paths[name] for name in names], tmp_path / "merged.qac")
    assert not (tmp_path / "merged.qac").exists()
    with pytest.raises(OutputNotWritableError):
        qacomp.merge([paths["one"], paths["two"]], paths["one"], force=True)
    with pytest.raises(ConfigError, match="--part"):
        qacomp.compress(source, output=tmp_path / "x.qac", part="3/2")


def test_every_damaged_byte_of_a_part_is_a_format_error(source: Path, tmp_path: Path) -> None:
    qacomp.compress(source, output=tmp_path / "p.qac", k=4, part="1/1")
    whole = bytearray((tmp_path / "p.qac").read_bytes())
    for place in range(0, len(whole), 997):
        damaged = whole.copy()
        damaged[place] ^= 0x10
        (tmp_path / "p.qac").write_bytes(damaged)
        with pytest.raises((FormatError, PartsError)):
            qacomp.merge([tmp_path / "p.qac"], tmp_path / "merged.qac")


def test_an_interrupted_run_goes_on(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qacomp.compress(source, output=tmp_path / "whole.qac", k=4)
    output = tmp_path / "m.qac"
    done: list[int] = []

    def until(most: int) -> None:
        def write(task: PieceTask) -> bytes | str | None:
            if len(done) == most:
                raise KeyboardInterrupt
            done.append(task.number)
            return pieces.write_piece(task)

        monkeypatch.setattr(large, "write_piece", write)

    until(3)
    with pytest.raises(KeyboardInterrupt):
        qacomp.compress(source, output=output, k=4)
    kept = tmp_path / "m.qac.tensors"
    assert not output.exists() and len(list(kept.glob("*.qac"))) == 3
    damaged = kept / "0000001.qac"
    damaged.write_bytes(damaged.read_bytes()[:-9] + b"?" * 9)  # is found out and made again
    until(10**9)
    result = qacomp.compress(source, output=output, k=4)
    assert output.read_bytes() == (tmp_path / "whole.qac").read_bytes() and not kept.exists()
    assert done[:3] == [0, 1, 2] and done[3] == 1 and done[4] == 3
    assert any("an interrupted run goes on" in note for note in result.notes)


def test_pieces_of_other_settings_are_not_taken_and_a_strange_folder_is_not_touched(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(task: PieceTask) -> None:
        pieces.write_piece(task)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(large, "write_piece", interrupt)
        with pytest.raises(KeyboardInterrupt):
            qacomp.compress(source, output=tmp_path / "m.qac", k=4)
    qacomp.compress(source, output=tmp_path / "m.qac", k=8)
    qacomp.compress(source, output=tmp_path / "other.qac", k=8)
    assert (tmp_path / "m.qac").read_bytes() == (tmp_path / "other.qac").read_bytes()
    (tmp_path / "m.qac.tensors").mkdir()
    (tmp_path / "m.qac.tensors" / "mine").write_text("mine")
    with pytest.raises(OutputNotWritableError, match="holds something else"):
        qacomp.compress(source, output=tmp_path / "m.qac", k=8)
    assert (tmp_path / "m.qac.tensors" / "mine").read_text() == "mine"


def test_two_workers_decode_the_files_of_one(source: Path, tmp_path: Path) -> None:
    qacomp.compress(source, output=tmp_path / "m.qac", k=4)
    for workers in (1, 2):
        decode_file(tmp_path / "m.qac", tmp_path / f"back{workers}", workers=Workers(workers))
    assert contents(tmp_path / "back1") == contents(tmp_path / "back2")
    given = qacomp.decode(tmp_path / "m.qac", tmp_path / "given", workers=2)
    assert given.output == tmp_path / "given" and given.max_abs_error == 0
    with pytest.raises(ConfigError, match="workers"):
        qacomp.decode(tmp_path / "m.qac", workers=2)
    with pytest.raises(TypeError, match="worker"):
        qacomp.decode(tmp_path / "m.qac", worker=2)  # type: ignore[call-arg]
    assert "no effect" in decode_file(tmp_path / "m.qac", tmp_path / "m.safetensors", workers=Workers(2)).notes[-1]


def test_equal_tensors_in_two_pieces_are_stored_once(tmp_path: Path) -> None:
    twin = torch.randn(60, 60)
    source = write_folder(
        tmp_path / "m", {"a.safetensors": {"w": twin, "x": torch.randn(50, 60), "z": twin.clone()}}, {}
    )
    qacomp.compress(source, output=tmp_path / "m.qac", k=4, workers=2)
    with open_file(tmp_path / "m.qac") as container:
        assert container.info("z").same_as == "w"


@pytest.mark.parametrize("shard", [None, 20_000])
def test_tensors_of_all_kinds_are_adopted_with_the_bytes_of_adding_them(tmp_path: Path, shard: int | None) -> None:
    rng = np.random.default_rng(0)
    tensors: dict[str, Tensor] = {}
    for n, shape in enumerate([(40, 40), (70, 100), (1000,), (8,), (90, 77)]):
        k = (16, 256, 4)[n % 3]
        book = np.sort(rng.standard_normal(k)).astype("f4")
        tensors[f"s{n}"] = SharedTensor(book, rng.integers(0, k, shape).astype("u1"))
        tensors[f"d{n}"] = rng.standard_normal(shape).astype("f4")
    tensors |= {"copy": tensors["s4"], "none": np.zeros((0, 3), "f4")}
    tensors["repeats"] = SharedTensor(np.arange(4, dtype="f4"), np.tile(np.arange(4, dtype="u1"), 4000))
    books = rng.standard_normal((10, 4, 16)).astype("f4")
    tensors["blocks"] = SharedTensor(books, rng.integers(0, 16, (100, 100)).astype("u1"), (), (10, 25))
    coding = Coding(("zstd", "bitpack"), chunk_log2=12)

    def writer(name: str) -> Writer | ShardWriter:
        if shard is None:
            return Writer(tmp_path / name, coding=coding)
        return ShardWriter(tmp_path / name, shard, coding=coding)

    with writer("a.qac") as added:
        for name, tensor in tensors.items():
            added.add(name, tensor, "fp12")
    with writer("b.qac") as adopted:
        for names in (list(tensors)[:3], list(tensors)[3:5], list(tensors)[5:]):
            with Writer(tmp_path / "piece.qac", coding=coding) as piece:
                for name in names:
                    piece.add(name, tensors[name], "fp12")
                told = piece.details()
            with open_file(tmp_path / "piece.qac") as container:
                for name in names:
                    adopted.adopt(HeldTensor(container, name, told[name]))
    (tmp_path / "piece.qac").unlink()
    first, second = ([p.read_bytes() for p in sorted(tmp_path.glob(f"{name}*.qac"))] for name in "ab")
    assert first == second and (len(first) == 1) == (shard is None)
    assert added.report is not None and adopted.report is not None and added.report.tensors == adopted.report.tensors


def test_a_cluster_writes_the_same_bytes(source: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    qacomp.compress(source, output=tmp_path / "one.qac", k=4)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        qacomp.compress(source, output=tmp_path / "two.qac", k=4, workers=cluster.scheduler_address)
    assert (tmp_path / "one.qac").read_bytes() == (tmp_path / "two.qac").read_bytes()


def test_a_scheduler_that_is_not_there_is_an_error(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("qacomp.workers.pools._CONNECT_S", 0.3)
    with pytest.raises(WorkerError, match="no Dask scheduler answers"):
        qacomp.compress(source, output=tmp_path / "m.qac", k=4, workers="tcp://127.0.0.1:1")


def test_a_long_section_of_one_symbol_takes_no_bytes(tmp_path: Path) -> None:
    constant = SharedTensor(np.ones(1, "f4"), np.zeros((600, 1000), "u1"))
    with Writer(tmp_path / "m.qac") as writer:
        writer.add("w", constant)
    with open_file(tmp_path / "m.qac") as container:
        assert container.size < 200 and (container.tensor("w") == 1).all()
