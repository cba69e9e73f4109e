"""Norms and biases of a calibrated transformer are tuned for its rounded weights, and stay where that doesn't help."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

import qacomp
from qacomp.calibration.block_calibration import BlockCalibration, TextInputs
from qacomp.calibration.block_model import BlockModel
from qacomp.calibration.transformer import transformer_of
from qacomp.calibration.whole_transformer import WholeTransformer
from qacomp.formats import open_file
from qacomp.graphs.metadata import metadata
from qacomp.options.config import CompressConfig
from qacomp.progress import SilentProgress
from qacomp.sharing.share import Packed
from qacomp.stages.journal import Journal
from qacomp.stages.run import Run
from qacomp.stages.tune_vectors import MOST, TUNED, tell_of_tuning, vector_tuning

transformers = pytest.importorskip("transformers")
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 90}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 90}
MADE: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL)),
    "bert": lambda: transformers.BertModel(transformers.BertConfig(**SMALL)),
    "t5": lambda: transformers.T5ForConditionalGeneration(transformers.T5Config(**T5, decoder_start_token_id=0)),
}


def made(name: str) -> Any:
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    model = MADE[name]().eval()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


def texts(count: int, seed: int, name: str) -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 90, (count, 12), generator=torch.Generator().manual_seed(seed))
    start = {"decoder_input_ids": torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :-1]], 1)} if name == "t5" else {}
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **start}


@pytest.mark.parametrize("name", list(MADE))
def test_outputs_on_other_texts_come_nearer(name: str, tmp_path: Path) -> None:
    model = made(name)
    model.save_pretrained(tmp_path)
    held = load_file(tmp_path / "model.safetensors")

    def whole() -> WholeTransformer:
        return WholeTransformer(transformer_of(tmp_path, len(held)), held.__getitem__, list(held))

    feeds = tuple(texts(16, seed, name) for seed in range(4))
    inputs = TextInputs("texts", feeds, (texts(2, 9, name),), (texts(16, 10, name),))
    blocks = BlockModel(transformer_of(tmp_path, len(held)), held.__getitem__, list(held))
    found = BlockCalibration(blocks, inputs, 0, whole=whole)
    assert sorted(found.vectors) == sorted(n for n, v in held.items() if v.ndim == 1)
    assert found.weights == sum(v.size for v in held.values() if v.ndim > 1)
    rounded = {n: np.round(v * 8) / np.float32(8) for n, v in held.items() if v.ndim == 2 and "embed" not in n}
    steps: list[int] = []
    tuned = found.tuned(rounded, lambda: steps.append(1))
    assert len(steps) == found.tuning_steps
    assert set(tuned) == set(found.vectors)
    assert found.distance_elsewhere({**rounded, **tuned}) < 0.95 * found.distance_elsewhere(rounded)
    again = found.tuned(rounded, lambda: None)
    assert all(np.array_equal(tuned[n], again[n]) for n in tuned)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_folder_holds_the_tuned_vectors(dtype: torch.dtype, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    made("llama").to(dtype).save_pretrained(folder)
    np.savez(tmp_path / "texts.npz", input_ids=texts(20, 5, "llama")["input_ids"].numpy())
    read: dict[str, dict[str, NDArray[Any]]] = {}
    for way in ("rate:tuned=false", "rate:tuned=true"):
        output = tmp_path / "model.qac"
        done = qacomp.compress(
            folder, output=output, calibration=f"npz:{tmp_path / 'texts.npz'}", target_size="7kB", min_size=1,
            sharing=way, force=True,
        )  # fmt: skip
        told = [note for note in done.notes if note.startswith("norms and biases are tuned")]
        assert len(told) == (way == "rate:tuned=true")
        with open_file(output) as container:
            assert metadata(container).get(TUNED) == (True if told else None)
            read[way] = {name: np.array(container.tensor(name)) for name in container.names if "norm" in name}
    original = load_original(folder, read["rate:tuned=true"])
    assert all(np.array_equal(read["rate:tuned=false"][name], original[name]) for name in original)
    assert any(not np.array_equal(read["rate:tuned=true"][name], original[name]) for name in original)
    assert all(read["rate:tuned=true"][name].dtype == original[name].dtype for name in original)


def load_original(folder: Path, names: Sequence[str] | Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    from qacomp.folders.model_folder import read_folder

    found = read_folder(folder, lambda n: None)
    return {name: found.read(name) for name in names}


class Fixed:
    """A model whose tuning always gives the same vector, on which outputs are as far as `after` says."""

    digest, vectors, tuning_steps = "", ("norm",), 1

    def __init__(self, after: float = 0.5, weights: int = 10, *, of_words: bool = False) -> None:
        self.after, self.weights, self.of_words, self.calls = after, weights, of_words, 0

    def tuned(self, values: Mapping[str, NDArray[Any]], advance: Callable[[], None]) -> Mapping[str, NDArray[Any]]:
        self.calls += 1
        return {"norm": np.full(4, 2.0, np.float32)}

    def distance_elsewhere(self, values: Mapping[str, NDArray[Any]]) -> float:
        return self.after if "norm" in values else 1.0


def tuning_of(model: Fixed, tmp_path: Path, way: str = "rate") -> tuple[Any, Run]:
    run = Run(SilentProgress(), tmp_path / "a.qac")
    run.keep_in(Journal(tmp_path / "journal", "same"))
    config = CompressConfig().with_settings({"sharing": way}, "test")
    return vector_tuning(model, lambda name: np.ones(4, np.float32), config, run), run


def test_vectors_that_do_not_help_stay_and_an_interrupted_run_tunes_nothing_again(tmp_path: Path) -> None:
    items = {"weight": Packed(np.ones((2, 4), np.float32))}
    worse, _ = tuning_of(model := Fixed(after=1.0), tmp_path / "none")
    assert worse.vectors(items) == {}
    assert worse.vectors(items) == {}
    assert model.calls == 1
    first, _ = tuning_of(model, tmp_path)
    model.after = 0.5
    found = first.vectors(items)
    assert np.array_equal(found["norm"].dense(), np.full(4, 2.0, np.float32))
    again, _ = tuning_of(other := Fixed(), tmp_path)
    assert np.array_equal(again.vectors(items)["norm"].dense(), found["norm"].dense())
    assert other.calls == 0


@pytest.mark.parametrize(
    ("meta", "told"),
    [
        ({}, []),
        ({TUNED: True}, ["norms and biases are tuned"]),
        ({TUNED: False}, ["norms and biases stay as they were"]),
    ],
)
def test_what_is_in_the_file_is_told(meta: dict[str, bool], told: list[str]) -> None:
    """Not what another rounding of the search led to."""
    notes: list[str] = []
    tell_of_tuning(SimpleNamespace(meta=meta), notes.append)  # type: ignore[arg-type]
    assert [note[: len(start)] for note, start in zip(notes, told, strict=True)] == told


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (Fixed(of_words=True), "words at random are too unlike real texts"),
        (Fixed(weights=MOST + 1), "a transformer of more than 8,388,608 weights isn't tuned"),
        (object(), "only PyTorch networks, and transformers with --calibration, are tuned"),
    ],
)
def test_a_wish_that_has_no_effect_is_said(model: Any, why: str, tmp_path: Path) -> None:
    found, run = tuning_of(model, tmp_path, "rate:tuned=true")
    assert found is None
    assert run.notes == [f"--sharing rate:tuned has no effect: {why}" + ("" if "words" not in why else " to tune on")]
    assert tuning_of(model, tmp_path)[1].notes == []
