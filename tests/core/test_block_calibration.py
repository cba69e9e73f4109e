"""A transformer that is calibrated block by block is measured as if it were run as a whole."""

import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

import qacomp
from qacomp.calibration import block_model
from qacomp.calibration.block_calibration import BlockCalibration, TextInputs
from qacomp.calibration.block_model import BlockModel
from qacomp.calibration.transformer import transformer_of
from qacomp.errors import QacompError
from qacomp.evaluation.similarity import similarity
from qacomp.exporting.decode import decode_file
from qacomp.formats import bfloat16_to_float32, open_file
from qacomp.formats.codecs.trellispaths import follows
from qacomp.rate.compensated_within import compensated_within
from qacomp.rate.compensation import factorized
from qacomp.rate.matrices import output_major
from qacomp.rate.steps import WeightOnGrid
from qacomp.sources import folder_source

transformers = pytest.importorskip("transformers")
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 90}
GPT = {
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "vocab_size": 90,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MADE: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL, num_key_value_heads=2)),
    "gpt2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT)),
    "bert": lambda: transformers.BertModel(transformers.BertConfig(**SMALL)),
}


@pytest.fixture(params=list(MADE))
def model(request: pytest.FixtureRequest) -> Any:
    """A small model with weights that are far from each other's."""
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    made = MADE[request.param]().eval()
    for parameter in made.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return made


def texts(count: int, seed: int = 0) -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 90, (count, 12), generator=torch.Generator().manual_seed(seed))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def calibration(model: Any, folder: Path, read: Callable[[str], NDArray[Any]] | None = None) -> BlockCalibration:
    model.save_pretrained(folder)
    held = load_file(folder / "model.safetensors")
    made = transformer_of(folder, len(held))
    inputs = TextInputs("texts", (texts(3, 1), texts(2, 2)), (texts(2, 3),), (texts(2, 4),))
    return BlockCalibration(BlockModel(made, read or held.__getitem__, list(held)), inputs, 0)


def whole_outputs(model: Any, feed: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    with torch.no_grad():
        found = model(**feed, return_dict=True)
    return [y for y in found.values() if isinstance(y, torch.Tensor)]


def test_moments_and_distances_are_those_of_the_whole_model(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qacomp.calibration.halved_moment._ODDS", (0.0,))  # nothing is shrunk
    found = calibration(model, tmp_path)
    held = load_file(tmp_path / "model.safetensors")
    matrices = {name: value.shape for name, value in held.items() if value.ndim == 2}
    moments = found.moments(matrices, lambda: None)
    read: dict[str, list[torch.Tensor]] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear | transformers.pytorch_utils.Conv1D) and f"{name}.weight" in moments:
            inputs = read.setdefault(f"{name}.weight", [])
            module.register_forward_pre_hook(
                lambda _, given, into=inputs: into.append(given[0].reshape(-1, given[0].shape[-1]))
            )
    for feed in (texts(3, 1), texts(2, 2)):
        whole_outputs(model, feed)
    assert len(read) >= 12
    for name, rows in read.items():
        x = torch.cat(rows).double().numpy()
        assert np.allclose(moments[name].values[0], x.T @ x / len(x), rtol=1e-5, atol=1e-8), name
        assert moments[name].view.matrices(held[name]).shape[-1] == x.shape[1]
    wanted = whole_outputs(model, texts(2, 3))
    names = dict(model.named_parameters())
    generator = np.random.default_rng(0)
    for name in matrices:
        changed = held[name] + generator.normal(0, 0.01, held[name].shape).astype(np.float32)
        kept = names[name].data
        names[name].data = torch.from_numpy(changed)
        told = []
        for y, other in zip(wanted, whole_outputs(model, texts(2, 3)), strict=True):
            flat = y.reshape(-1, y.shape[-1])
            told.append(float(((y - other) ** 2).sum() / ((flat - flat.mean(0)) ** 2).sum()))
        names[name].data = kept
        assert found.distance({name: changed}) == pytest.approx(np.mean(told), rel=1e-3, abs=1e-10), name
    assert found.distance({}) == found.distance({next(iter(matrices)): held[next(iter(matrices))]}) == 0


def test_one_block_is_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[tuple[str, Any]] = []
    read_tensor = block_model.wide_tensor

    def watched(values: NDArray[Any]) -> torch.Tensor:
        made = read_tensor(values)
        alive.append((reading[-1], weakref.ref(made)))
        return made

    reading: list[str] = []
    most = [0]

    def read(name: str) -> NDArray[Any]:
        blocks = {n.split(".")[2] for n, tensor in alive if n.startswith("model.layers.") and tensor() is not None}
        most[0] = max(most[0], len(blocks | ({name.split(".")[2]} if name.startswith("model.layers.") else set())))
        reading.append(name)
        return held[name]

    made = MADE["llama"]()
    monkeypatch.setattr(block_model, "wide_tensor", watched)
    made.save_pretrained(tmp_path)
    held = load_file(tmp_path / "model.safetensors")
    found = calibration(made, tmp_path, read)
    found.moments({name: value.shape for name, value in held.items()}, lambda: None)
    assert found.distance({"model.embed_tokens.weight": held["model.embed_tokens.weight"] * 1.01}) > 0
    assert len(reading) > len(held) and most == [1]


def test_a_folder_is_compressed_on_texts_and_loses_less(tmp_path: Path) -> None:
    """Beside a file of the same size without texts; ids are given, so that no tokenizer is needed."""
    torch.manual_seed(1)
    made = transformers.BertModel(
        transformers.BertConfig(**{**SMALL, "num_hidden_layers": 1, "max_position_embeddings": 32})
    ).eval()
    for parameter in made.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    folder = tmp_path / "model"
    made.save_pretrained(folder)
    np.savez(tmp_path / "texts.npz", input_ids=texts(10, 5)["input_ids"].numpy())
    moved = {}
    for spec in (None, f"npz:{tmp_path / 'texts.npz'}"):
        output = tmp_path / "model.qac"
        done = qacomp.compress(folder, output=output, calibration=spec, target_size="16kB", min_size=1, force=True)
        assert any("calibrated on 10 texts" in note for note in done.notes) == (spec is not None)
        with open_file(output) as container:
            state = {n: torch.from_numpy(np.array(container.tensor(n))) for n in made.state_dict()}
        other = transformers.BertModel(made.config).eval()
        other.load_state_dict(state)
        fresh = texts(20, 6)
        moved[spec] = sum(
            float(((a - b) ** 2).sum())
            for a, b in zip(whole_outputs(made, fresh), whole_outputs(other, fresh), strict=True)
        )
    without, with_texts = moved.values()
    assert with_texts < 0.7 * without


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architectures": ["Exec"]}, "architecture 'Exec' isn't one of transformers"),
        ({"architectures": ["AutoModel"]}, "architecture 'AutoModel' isn't one of transformers"),
        ({"num_hidden_layers": 10**9}, "'num_hidden_layers' is 1e+09, more than"),
        ({"num_hidden_layers": 4}, "weights that the folder hasn't, such as"),
        (
            {"intermediate_size": 48},
            "encoder.layer.0.intermediate.dense.weight: is [64, 32], but config.json means [48, 32]",
        ),
        ({"num_attention_heads": 0}, "transformers makes no BertModel of it"),
        ({"vocab_size": 10**12}, "'vocab_size' is 1e+12, more than"),
    ],
)
def test_a_config_that_does_not_fit_is_one_clear_error(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    MADE["bert"]().save_pretrained(tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    np.savez(tmp_path / "texts.npz", input_ids=texts(4)["input_ids"].numpy())
    with pytest.raises(QacompError, match=r"config.json|weights") as error:
        qacomp.compress(tmp_path / "model", output=tmp_path / "m.qac", calibration=f"npz:{tmp_path / 'texts.npz'}")
    assert said in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "m.qac").exists()


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_what_texts_measure_is_what_the_decoded_folder_gives(kind: str, tmp_path: Path) -> None:
    """Perplexity of the next tokens, or how alike the texts' mean vectors are."""
    torch.manual_seed(2)
    made = MADE[kind]().eval()
    for parameter in made.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    made.save_pretrained(tmp_path / "model")
    ids = texts(12, 7)["input_ids"]
    np.savez(tmp_path / "texts.npz", input_ids=ids.numpy())
    spec = f"npz:{tmp_path / 'texts.npz'}"
    done = qacomp.compress(tmp_path / "model", output=tmp_path / "m.qac", data=spec, k=4, min_size=1)
    decode_file(tmp_path / "m.qac", tmp_path / "back")
    other = type(made).from_pretrained(tmp_path / "back").eval()
    metric = done.metric
    assert metric is not None and metric.samples == 12 and done.agreement is not None
    with torch.no_grad():
        if kind == "llama":
            assert metric.name == "perplexity" and not metric.higher
            for told, module in ((metric.original, made), (metric.decoded, other)):
                assert told == pytest.approx(float(module(input_ids=ids, labels=ids).loss.exp()), rel=1e-4)
        else:
            both = [module(input_ids=ids).last_hidden_state.mean(1).numpy() for module in (made, other)]
            assert metric.name == "similarity" and metric.original == pytest.approx(1)
            assert metric.decoded == pytest.approx(similarity(*both), abs=0.02)
            assert 0.1 < metric.decoded < 0.999
    assert done.verdict.word != "not measured"
    wrong = {"llama": "similarity", "bert": "perplexity"}[kind]
    with pytest.raises(QacompError, match=wrong):
        qacomp.compress(tmp_path / "model", output=tmp_path / "m.qac", data=spec, k=4, metric=wrong, force=True)


def test_a_folder_in_bfloat16_is_rounded_on_a_trellis_and_decodes_to_what_was_measured(tmp_path: Path) -> None:
    torch.manual_seed(4)
    made = MADE["llama"]().bfloat16()
    made.save_pretrained(tmp_path / "model")
    ids = texts(10, 5)["input_ids"]
    np.savez(tmp_path / "texts.npz", input_ids=ids.numpy())
    spec = f"npz:{tmp_path / 'texts.npz'}"
    name = "model.layers.0.mlp.up_proj.weight"
    settings: dict[str, Any] = {"calibration": spec, "data": spec, "include": (name,)}
    coarse = qacomp.compress(tmp_path / "model", output=tmp_path / "coarse.qac", quality="small", **settings)
    settings |= {"target_size": str(coarse.container_bytes + 700), "sharing": "rate:trellis=auto"}  # 3 bits more
    done = qacomp.compress(tmp_path / "model", output=tmp_path / "m.qac", **settings)
    assert "--sharing rate:trellis: 1 of 1 shared tensors are on a trellis" in done.notes and done.metric is not None
    with open_file(tmp_path / "m.qac") as container:
        assert container.info(name).codec == "trellis" and follows(container.shared(name).indices)
    decode_file(tmp_path / "m.qac", tmp_path / "back")
    other = type(made).from_pretrained(tmp_path / "back", dtype=torch.bfloat16).float().eval()
    with torch.no_grad():
        assert done.metric.decoded == pytest.approx(float(other(input_ids=ids, labels=ids).loss.exp()), rel=1e-4)


def test_a_folder_beyond_memory_is_compensated_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the same error of the operators the file is smaller than without texts, and the outputs are as good."""
    monkeypatch.setattr(folder_source, "_LARGE", 0)
    torch.manual_seed(3)
    made = MADE["llama"]().bfloat16()
    mixed = torch.randn(90, 8) @ torch.randn(8, 32)  # tokens that are alike, as words are
    made.model.embed_tokens.weight.data = mixed.bfloat16()
    made.save_pretrained(tmp_path / "model")
    np.savez(tmp_path / "texts.npz", input_ids=texts(40, 8)["input_ids"].numpy())
    sizes, moved = [], []
    for spec in (None, f"npz:{tmp_path / 'texts.npz'}"):
        done = qacomp.compress(
            tmp_path / "model", output=tmp_path / "m.qac", calibration=spec, min_size=1, workers=1, force=True
        )
        assert any("480 tokens, block by block" in n for n in done.notes) == (spec is not None)
        assert [path.name for path in tmp_path.glob("m.qac*")] == ["m.qac"]
        with open_file(tmp_path / "m.qac") as container:
            names = [name for name in container.names if name in made.state_dict()]
            state = {n: torch.from_numpy(bfloat16_to_float32(container.tensor(n))) for n in names}
        other = MADE["llama"]().eval()
        other.load_state_dict(state)
        fresh = texts(20, 9)
        (a,), (b,) = whole_outputs(made.float().eval(), fresh), whole_outputs(other, fresh)
        sizes.append(done.container_bytes)
        moved.append(float(((a - b) ** 2).sum() / ((a - a.mean((0, 1))) ** 2).sum()))
        made.bfloat16()
    assert sizes[1] < 0.97 * sizes[0] and moved[1] < 1.5 * moved[0] < 0.2


def test_a_grid_within_an_error_is_nearly_the_coarsest() -> None:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(500, 24)) @ generator.normal(size=(24, 24))
    values = generator.normal(size=(40, 24)).astype(np.float32)
    weight = WeightOnGrid(values, output_major(values.shape), factorized(inputs.T @ inputs[None] / 500))
    for error in (1e-2, 1e-4):
        shared = compensated_within(weight, error)
        assert shared is not None
        found = shared.codebook[shared.indices]
        told = float((((found - values) @ inputs.T) ** 2).sum() / ((values @ inputs.T) ** 2).sum())
        assert 0.5 * error < told <= 1.05 * error
