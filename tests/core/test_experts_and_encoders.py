"""Experts are calibrated on the tokens that their router sends to them, encoder-decoder models on both sides."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import qacomp
from qacomp.calibration import moment_sums
from qacomp.calibration.block_calibration import BlockCalibration, TextInputs
from qacomp.calibration.block_model import BlockModel
from qacomp.calibration.transformer import transformer_of
from qacomp.exporting.decode import decode_file
from qacomp.sources import folder_source

transformers = pytest.importorskip("transformers", minversion="5.0")
SMALL = {"hidden_size": 32, "num_attention_heads": 4, "vocab_size": 90}
MOE = {**SMALL, "num_key_value_heads": 2, "num_experts_per_tok": 2}
BOTH = {"d_model": 32, "vocab_size": 90, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}
HEADS = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_position_embeddings": 32}
SIDES = {"encoder_ffn_dim": 48, "decoder_ffn_dim": 48, **HEADS}


def mixtral(layers: int) -> Any:
    config = transformers.MixtralConfig(**MOE, intermediate_size=48, num_local_experts=4, num_hidden_layers=layers)
    return transformers.MixtralForCausalLM(config)


def qwen(layers: int) -> Any:
    sizes = {"moe_intermediate_size": 24, "shared_expert_intermediate_size": 40, "num_experts": 5}
    return transformers.Qwen2MoeForCausalLM(transformers.Qwen2MoeConfig(**MOE, **sizes, num_hidden_layers=layers))


def t5(layers: int) -> Any:
    sizes = {"d_ff": 48, "d_kv": 8, "num_heads": 4, "num_layers": layers}
    return transformers.T5ForConditionalGeneration(transformers.T5Config(**BOTH, **sizes))


def bart(layers: int) -> Any:
    config = transformers.BartConfig(**BOTH, **SIDES, encoder_layers=layers, decoder_layers=layers)
    return transformers.BartForConditionalGeneration(config)


def marian(layers: int) -> Any:
    config = transformers.MarianConfig(**BOTH, **SIDES, encoder_layers=layers, decoder_layers=layers)
    return transformers.MarianMTModel(config)


MADE: dict[str, Callable[[int], Any]] = {"mixtral": mixtral, "qwen": qwen, "stacked": mixtral, "t5": t5, "bart": bart}
MADE |= {"marian": marian}


def made(kind: str, layers: int = 2) -> Any:
    """A small model with weights that are far from each other's; layers: of each side."""
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    model = MADE[kind](layers).eval()
    for name, parameter in model.named_parameters():
        if "embed_positions" not in name:  # Marian's are sines and aren't saved
            parameter.data += 0.05 * torch.randn_like(parameter)
    return model


def saved(model: Any, folder: Path, kind: str) -> dict[str, np.ndarray]:
    """Save a model, its experts in one tensor if it is called `stacked`; return the tensors."""
    model.save_pretrained(folder)
    if kind == "stacked":
        save_file(
            {n: np.ascontiguousarray(p.detach()) for n, p in model.named_parameters()}, folder / "model.safetensors"
        )
    return load_file(folder / "model.safetensors")


def texts(count: int, seed: int, *, both: bool = False) -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 90, (count, 12), generator=torch.Generator().manual_seed(seed))
    feed = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if both:
        feed["decoder_input_ids"] = torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :-1]], 1)
    return feed


def outputs(model: Any, feed: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    with torch.no_grad():
        found = model(**feed, return_dict=True, use_cache=False)
    return [y for y in found.values() if isinstance(y, torch.Tensor)]


def calibrated(kind: str, folder: Path, held: dict[str, np.ndarray], note: Callable[[str], None]) -> BlockCalibration:
    both = kind in ("t5", "bart", "marian")
    transformer = transformer_of(folder, len(held))
    assert (transformer.first == 0) == both and len(transformer.stacks) == 1 + both
    feeds = [texts(count, seed, both=both) for count, seed in ((3, 1), (2, 2), (2, 3), (2, 4))]
    inputs = TextInputs("texts", tuple(feeds[:2]), (feeds[2],), (feeds[3],))
    return BlockCalibration(BlockModel(transformer, held.__getitem__, list(held)), inputs, 0, note)


def rows_of_experts(model: Any, kind: str, read: dict[str, list[torch.Tensor]]) -> None:
    """Collect what each expert's matrices are multiplied with, computed from what the router says."""
    names = {"mixtral": ("block_sparse_moe", "w1", "w3", "w2"), "qwen": ("mlp", "gate_proj", "up_proj", "down_proj")}
    for number, layer in enumerate(model.model.layers):

        def see(module: Any, given: Any, number: int = number) -> None:
            hidden, chosen, _ = given
            for expert in range(len(module.down_proj)):
                rows = hidden[(chosen == expert).any(1)]
                gate, up = (rows @ module.gate_up_proj[expert].T).chunk(2, 1)
                inner = torch.nn.functional.silu(gate) * up
                if kind == "stacked":
                    for what, x in (("gate_up_proj", rows), ("down_proj", inner)):
                        read.setdefault(f"model.layers.{number}.mlp.experts.{what}/{expert}", []).append(x)
                    continue
                where, *whats = names[kind]
                for what, x in zip(whats, (rows, rows, inner), strict=True):
                    name = f"model.layers.{number}.{where}.experts.{expert}.{what}.weight"
                    read.setdefault(name, []).append(x)

        layer.mlp.experts.register_forward_pre_hook(see)


@pytest.mark.parametrize("kind", list(MADE))
def test_moments_and_distances_are_those_of_the_whole_model(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moment_sums, "FEWEST", 0)
    monkeypatch.setattr("qacomp.calibration.halved_moment._ODDS", (0.0,))  # nothing is shrunk
    model, both = made(kind), kind in ("t5", "bart", "marian")
    held = saved(model, tmp_path, kind)
    found = calibrated(kind, tmp_path, held, lambda _: None)
    shapes = {name: value.shape for name, value in held.items() if value.ndim > 1}
    moments = found.moments(shapes, lambda: None)
    read: dict[str, list[torch.Tensor]] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and f"{name}.weight" in held:
            into = read.setdefault(f"{name}.weight", [])
            module.register_forward_pre_hook(lambda _, x, into=into: into.append(x[0].reshape(-1, x[0].shape[-1])))
    if not both:
        rows_of_experts(model, kind, read)
    for feed in (texts(3, 1, both=both), texts(2, 2, both=both)):
        outputs(model, feed)
    assert len(read) >= (8 if kind == "stacked" else 16)
    for name, rows in read.items():
        x = torch.cat(rows).double().numpy()
        tensor, _, expert = name.partition("/")
        if len(x):
            wanted, told = x.T @ x / len(x), moments[tensor].values[int(expert or 0)]
            assert np.allclose(told, wanted, rtol=1e-4, atol=1e-7), name
            assert moments[tensor].view.matrices(held[tensor]).shape[2] == x.shape[1]
    routers = {name for name in held if name.endswith("mlp.gate.weight") or "moe.gate.weight" in name}
    assert set(moments) >= routers and len(routers) == (0 if both else 2)
    check_distances(model, held, found, texts(2, 3, both=both))


def check_distances(
    model: Any, held: dict[str, np.ndarray], found: BlockCalibration, feed: dict[str, torch.Tensor]
) -> None:
    """Compare the distance of each changed weight, and of two together, with that of the whole model."""
    wanted, generator = outputs(model, feed), np.random.default_rng(0)
    own = dict(model.named_parameters())
    names = [name for name in held if name in own and held[name].ndim > 1]
    assert len(names) >= 5
    for several in [[name] for name in names] + [names[:1] + names[-1:], names]:
        values = {n: held[n] + generator.normal(0, 0.01, held[n].shape).astype(np.float32) for n in several}
        kept = {name: own[name].data for name in several}
        for name in several:
            own[name].data = torch.from_numpy(values[name])
        told = []
        for y, other in zip(wanted, outputs(model, feed), strict=True):
            flat = y.reshape(-1, y.shape[-1])
            told.append(float(((y - other) ** 2).sum() / ((flat - flat.mean(0)) ** 2).sum()))
        for name in several:
            own[name].data = kept[name]
        assert found.distance(values) == pytest.approx(np.mean(told), rel=1e-3, abs=1e-10), several


def test_experts_that_get_few_tokens_see_others_of_their_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as each other's of those that get few, in turn; a note says how many experts these are."""
    monkeypatch.setattr("qacomp.calibration.halved_moment._ODDS", (0.0,))  # nothing is shrunk
    model = made("mixtral")
    held, notes = saved(model, tmp_path, "mixtral"), list[str]()
    found = calibrated("mixtral", tmp_path, held, notes.append)
    moments = found.moments({name: value.shape for name, value in held.items() if value.ndim > 1}, lambda: None)
    assert len(notes) == 1 and notes[0].startswith("8 of 8 experts get fewer than 128 of the texts' tokens")
    read: dict[int, list[torch.Tensor]] = {}

    def see(module: Any, given: Any) -> None:
        for expert in range(4):
            read.setdefault(expert, []).append(given[0][(given[1] == expert).any(1)])
            read[expert].append(given[0][torch.arange(len(given[0])) % 4 == expert])

    model.model.layers[0].mlp.experts.register_forward_pre_hook(see)
    for feed in (texts(3, 1), texts(2, 2)):
        outputs(model, feed)
    for expert, rows in read.items():
        x = torch.cat(rows).double().numpy()
        for what in ("w1", "w3"):
            told = moments[f"model.layers.0.block_sparse_moe.experts.{expert}.{what}.weight"].values[0]
            assert np.allclose(told, x.T @ x / len(x), rtol=1e-4, atol=1e-7)
    assert sum(".w2." in name for name in moments) == 8


def test_moments_of_many_experts_are_taken_in_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("mixtral")
    held = saved(model, tmp_path, "mixtral")
    shapes = {name: value.shape for name, value in held.items() if value.ndim > 1}
    whole = calibrated("mixtral", tmp_path, held, lambda _: None).moments(shapes, lambda: None)
    monkeypatch.setattr(moment_sums, "_MOST_BYTES", 400_000)  # of 4 · 2 · 8 · (96² + 48²) at most, and a router
    notes: list[str] = []
    parts = list(calibrated("mixtral", tmp_path, held, notes.append).each_moment(shapes, lambda: None))
    assert [sum("experts" in name for name in part) for part in parts] == [6] * 4 + [0]
    assert notes[0].startswith("8 of 8 experts")
    assert {name for part in parts for name in part} == set(whole)
    shared = [name for name in whole if "experts" not in name]
    assert all(np.array_equal(part[n].values, whole[n].values) for part in parts for n in shared if n in part)


@pytest.mark.parametrize("kind", ["stacked", "t5"])
def test_a_folder_loses_less_with_texts_than_without(kind: str, tmp_path: Path) -> None:
    """Beside a file of the same size; and transformers loads the decoded folder, tied weights as one."""
    model, both = made(kind, layers=1), kind == "t5"
    table = model.get_input_embeddings().weight
    table.data = (torch.randn(90, 6) @ torch.randn(6, 32)) * (0.5 if both else 0.2)  # tokens are alike, as words are
    held = saved(model, tmp_path / "model", kind)
    np.savez(tmp_path / "texts.npz", input_ids=texts(40, 5)["input_ids"].numpy())
    spec, fresh = f"npz:{tmp_path / 'texts.npz'}", texts(20, 6, both=both)
    moved, sizes = list[float](), list[int]()
    for given in (None, spec):
        output, back = tmp_path / f"{len(moved)}.qac", tmp_path / f"back{len(moved)}"
        done = qacomp.compress(
            tmp_path / "model", output=output, calibration=given, target_size="4bpw", min_size=1, force=True
        )
        sizes.append(done.container_bytes)
        assert any("calibrated on 40 texts" in note for note in done.notes) == (given is not None)
        assert (done.agreement is None) == (given is None) and (done.metric is None) == (given is None or both)
        decode_file(output, back)
        assert set(load_file(back / "model.safetensors")) == set(held)
        other = decoded(model, kind, back)
        assert not both or torch.equal(other.lm_head.weight, other.shared.weight)
        pairs = zip(outputs(model, fresh), outputs(other, fresh), strict=True)
        moved.append(sum(float(((a - b) ** 2).sum()) for a, b in pairs))
    assert moved[1] < 0.5 * moved[0] and sizes[1] < 1.02 * sizes[0], (moved, sizes)


def decoded(model: Any, kind: str, folder: Path) -> Any:
    """Return the model with the weights of a folder."""
    if kind != "stacked":
        return type(model).from_pretrained(folder).eval()
    other = type(model)(model.config).eval()
    other.load_state_dict({n: torch.from_numpy(v) for n, v in load_file(folder / "model.safetensors").items()})
    return other


@pytest.mark.parametrize("kind", ["mixtral", "bart"])
def test_a_folder_beyond_memory_is_compensated_block_by_block(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the same error of the operators the file is smaller than without texts, and the outputs are about as good."""
    monkeypatch.setattr(folder_source, "_LARGE", 0)
    model, both = made(kind, layers=1), kind == "bart"
    table = model.get_input_embeddings().weight
    table.data = (torch.randn(90, 6) @ torch.randn(6, 32)) * 0.2
    saved(model, tmp_path / "model", kind)
    np.savez(tmp_path / "texts.npz", input_ids=texts(40, 5)["input_ids"].numpy())
    moved, sizes, fresh = list[float](), list[int](), texts(20, 6, both=both)
    for given in (None, f"npz:{tmp_path / 'texts.npz'}"):
        output, back = tmp_path / f"{len(moved)}.qac", tmp_path / f"back{len(moved)}"
        done = qacomp.compress(tmp_path / "model", output=output, calibration=given, min_size=1, workers=1)
        sizes.append(done.container_bytes)
        decode_file(output, back)
        y, found = outputs(model, fresh)[0], outputs(decoded(model, kind, back), fresh)[0]
        moved.append(float(((y - found) ** 2).sum() / ((y - y.mean((0, 1))) ** 2).sum()))
    assert sizes[1] < 0.97 * sizes[0] and moved[1] < 2 * moved[0] < 0.2, (moved, sizes)
