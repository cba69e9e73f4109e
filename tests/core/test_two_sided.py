"""Rounding errors compensate each other along outputs too, by gradients that are sent back through the network."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import nn

from qacomp.calibration.block_calibration import BlockCalibration, TextInputs
from qacomp.calibration.block_model import BlockModel
from qacomp.calibration.gradient_moments import PASSES, GradientSums, sent_back, spreads_of
from qacomp.calibration.transformer import transformer_of
from qacomp.calibration.whole_transformer import WholeTransformer
from qacomp.rate.compensation import Factor, Side, compensated, factorized
from qacomp.rate.matrices import output_major
from qacomp.rate.rows import rows_of
from qacomp.rate.steps import WeightOnGrid


def correlated(size: int, seed: int) -> NDArray[np.float64]:
    """A second moment (1, size, size) of values that predict each other."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4 * size, size)) @ (rng.normal(size=(size, size)) / np.arange(1, size + 1))
    return (x.T @ x / len(x))[None]


def damped(moment: NDArray[np.float64]) -> NDArray[np.float64]:
    size = moment.shape[-1]
    found: NDArray[np.float64] = moment[0] + 0.01 * np.trace(moment[0]) / size * np.eye(size)
    return found


@pytest.mark.parametrize("steps", [0.3, "each"])
def test_it_is_the_plain_algorithm(steps: Any) -> None:
    """Optimal brain surgeon, one weight after the other, with the second derivatives G ⊗ H of all of them.

    Those in rows and columns of more power come first.
    """
    rows, count = 6, 35  # more inputs than a tile has
    weights = np.random.default_rng(0).normal(size=(1, rows, count))
    weights[0, 2, 5] = weights[0, 0, 33] = 0
    g, h = (correlated(size, seed)[:, ::-1, ::-1] for size, seed in ((rows, 1), (count, 2)))
    each = np.full(count, 0.3) if steps == 0.3 else np.linspace(0.2, 0.4, count)
    factor = factorized(h, g)
    assert factor.outputs is not None
    down, along = factor.outputs.order[0], factor.inputs.order[0]
    for moment, order in ((g, down), (h, along)):
        assert np.array_equal(order, np.argsort(-np.diag(moment[0]))) and not np.array_equal(order, np.sort(order))
    places = np.ix_(down, along)
    whole = np.kron(damped(h)[np.ix_(along, along)], damped(g)[np.ix_(down, down)])  # of the weights column by column
    left, wanted = weights[0][places].T.reshape(-1).copy(), np.empty(rows * count, np.int64)
    zero = left == 0
    for i in range(rows * count):
        inverse = np.linalg.inv(whole[i:, i:])
        step = each[along[i // rows]]
        wanted[i] = 0 if zero[i] else np.rint(left[i] / step)
        left[i:] -= (left[i] - wanted[i] * step) / inverse[0, 0] * inverse[0]
    found = compensated(weights, factor, 0.3 if steps == 0.3 else each[None])
    assert np.array_equal(found[0][places], wanted.reshape(count, rows).T)


def test_outputs_of_one_kind_change_nothing() -> None:
    weights, h = np.random.default_rng(0).normal(size=(2, 40, 50)), correlated(50, 1).repeat(2, 0)
    alike = np.eye(40)[None].repeat(2, 0)
    assert np.array_equal(compensated(weights, factorized(h, alike), 0.2), compensated(weights, factorized(h), 0.2))


@pytest.mark.parametrize("step", [0.1, 0.5])
def test_it_loses_less_than_compensation_of_inputs(step: float) -> None:
    weights, g, h = np.random.default_rng(0).normal(size=(1, 48, 70)), correlated(48, 1), correlated(70, 2)

    def lost(integers: NDArray[np.int64]) -> float:
        off = (weights - integers * step)[0]
        return float(np.trace(g[0] @ off @ h[0] @ off.T))

    found = compensated(weights, factorized(h, g), step, farthest=9)
    assert np.abs(found).max() <= 9
    found = compensated(weights, factorized(h, g), step)
    assert lost(found) < 0.7 * lost(compensated(weights, factorized(h), step))


@pytest.mark.parametrize("ends", [(1.0, 0.1), (0.1, 1.0)])
def test_what_has_most_power_is_rounded_first(ends: tuple[float, float]) -> None:
    """Equal steps lose less so than in the natural order, unless that is the same one."""
    power = np.geomspace(*ends, 60)
    h = correlated(60, 3) * np.outer(power, power)
    found, natural = factorized(h), Factor(Side(factorized(h).inputs.natural(), np.arange(60)[None]))
    inverse = np.linalg.inv(damped(h))
    assert np.allclose(natural.inputs.upper[0].T @ natural.inputs.upper[0], inverse, rtol=1e-6, atol=1e-9)
    weights = np.random.default_rng(0).normal(size=(1, 80, 60))
    lost = [one.output_error(weights - compensated(weights, one, 0.3) * 0.3) for one in (found, natural)]
    wanted = [float(one.conditional_power.mean()) for one in (found, natural)]
    assert lost[0] / lost[1] == pytest.approx(wanted[0] / wanted[1], rel=0.1)
    if ends == (0.1, 1.0):
        assert lost[0] < 0.9 * lost[1]
    alike = factorized(np.eye(60)[None]).inputs
    assert np.array_equal(alike.order[0], np.arange(60))


def test_groups_have_orders_of_their_own() -> None:
    moment = np.concatenate([correlated(20, seed) for seed in (1, 2)])
    weights, steps = np.random.default_rng(0).normal(size=(2, 9, 20)), np.linspace(0.2, 0.4, 40).reshape(2, 20)
    found = compensated(weights, factorized(moment), steps)
    for i in (0, 1):
        alone = compensated(weights[i : i + 1], factorized(moment[i : i + 1]), steps[i : i + 1])
        assert np.array_equal(found[i : i + 1], alone)


def test_a_base_is_kept() -> None:
    weights, g, h = np.random.default_rng(0).normal(size=(1, 40, 40)), correlated(40, 1), correlated(40, 2)
    base = compensated(weights, factorized(h, g), 0.2).astype(np.float64)
    moved = weights + np.random.default_rng(1).normal(size=weights.shape) * 0.01
    free, near = (compensated(moved, factorized(h, g), 0.2, before=before) for before in (None, base))
    assert (near != base).mean() < 0.5 * (free != base).mean()


def test_a_vocabulary_is_rounded_with_its_rows_steps_and_gradients() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(2048, 24)).astype(np.float32)
    rows, g = rows_of(table), correlated(24, 1)
    assert rows is not None
    plain = WeightOnGrid(table, rows=rows)
    weight = replace(plain, view=output_major(table.shape), factor=factorized(g))

    def lost(weight: WeightOnGrid) -> float:
        off = weight.values_of(weight.integers(0.2), 0.2) - table
        return float(np.trace(off @ g[0] @ off.T))

    assert lost(weight) < 0.8 * lost(plain)


def test_gradients_are_those_of_the_outputs() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(5, 4), nn.Linear(4, 6)
    network = nn.Sequential(first, nn.Tanh(), second)
    x = torch.randn(3, 5)
    sums, generator = GradientSums({"first": first}), torch.Generator().manual_seed(0)
    for _ in range(2000):
        with sums.watching():
            outputs = {"y": network(x)}
            back = sent_back(outputs, spreads_of([outputs]), generator)
            assert back is not None
            back.backward()  # type: ignore[no-untyped-call]
    made = first(x).detach()
    weight = second.weight.detach()
    jacobians = [weight * (1 - row.tanh() ** 2) for row in made]  # of the second layer after tanh
    y = network(x).detach()
    spread = float(((y - y.mean(0)) ** 2).sum()) / len(y)
    wanted = sum(j.T @ j for j in jacobians).double() / 3 / spread
    assert float((sums.means()["first"] - wanted).norm()) < 0.1 * float(wanted.norm())


def test_an_output_that_is_constant_sends_nothing_back() -> None:
    outputs = {"y": torch.full((3, 4), 1e3, requires_grad=True)}
    assert sent_back(outputs, spreads_of([outputs]), torch.Generator()) is None


transformers = pytest.importorskip("transformers")
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 90}
MADE: dict[str, Callable[[], Any]] = {
    "bert": lambda: transformers.BertModel(transformers.BertConfig(**SMALL)),
    "tied": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL, tie_word_embeddings=True)),
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=90, n_positions=32)
    ),
}


def _calibration(path: Path, model: Any, notes: list[str]) -> tuple[BlockCalibration, dict[str, tuple[int, ...]]]:
    """A saved model on three texts, and the shapes of its matrices."""
    model.eval().save_pretrained(path)
    held = load_file(path / "model.safetensors")
    ids = torch.arange(36).reshape(3, 12) + 3
    feed = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def made() -> Any:
        return transformer_of(path, len(held))

    def whole() -> WholeTransformer:
        return WholeTransformer(made(), held.__getitem__, list(held))

    blocks = BlockModel(made(), held.__getitem__, list(held))
    inputs = TextInputs("texts", (feed,), (feed,), (feed,))
    shapes = {name: value.shape for name, value in held.items() if value.ndim == 2}
    return BlockCalibration(blocks, inputs, 0, notes.append, whole), shapes


def test_a_note_names_weights_that_no_gradient_reaches(tmp_path: Path) -> None:
    transformers.logging.set_verbosity_error()
    model = transformers.BertModel(transformers.BertConfig(**SMALL))
    torch.nn.init.zeros_(model.encoder.layer[1].output.dense.weight)  # so nothing comes back from it
    notes: list[str] = []
    calibration, names = _calibration(tmp_path, model, notes)
    moments = calibration.moments(names, lambda: None)
    dead = "encoder.layer.1.intermediate.dense.weight"
    assert moments[dead].outputs is None
    assert len(notes) == 1 and notes[0].startswith(f"1 weights ({dead}): no gradients reach them")


def test_a_note_says_that_a_large_transformer_is_not_run_backwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers.logging.set_verbosity_error()
    monkeypatch.setattr("qacomp.calibration.block_calibration.MOST_WEIGHTS", 1000)
    notes: list[str] = []
    calibration, names = _calibration(tmp_path, transformers.BertModel(transformers.BertConfig(**SMALL)), notes)
    steps: list[int] = []
    moments = calibration.moments(names, lambda: steps.append(1))
    assert len(steps) == calibration.batches == 3
    assert all(moment.outputs is None and not moment.table for moment in moments.values())
    assert notes == [
        "rounding errors compensate each other along inputs alone: a transformer of more than 1,000 weights isn't run "
        "backwards"
    ]


@pytest.mark.parametrize("name", list(MADE))
def test_outputs_move_less(name: str, tmp_path: Path) -> None:
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    model = MADE[name]().eval()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
        if parameter.dim() == 1:  # norms of trained models weigh their values unlike each other
            parameter.data *= (1.5 * torch.randn_like(parameter)).exp()
    model.save_pretrained(tmp_path)
    held = load_file(tmp_path / "model.safetensors")

    def feed(seed: int) -> dict[str, torch.Tensor]:
        ids = torch.randint(3, 90, (16, 12), generator=torch.Generator().manual_seed(seed))
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def whole() -> WholeTransformer:
        return WholeTransformer(transformer_of(tmp_path, len(held)), held.__getitem__, list(held))

    inputs = TextInputs("texts", tuple(map(feed, range(4))), (feed(9),), (feed(10),))
    blocks = BlockModel(transformer_of(tmp_path, len(held)), held.__getitem__, list(held))
    calibration = BlockCalibration(blocks, inputs, 0, whole=whole)
    names = {n: v.shape for n, v in held.items() if v.ndim == 2}
    steps: list[int] = []
    moments = calibration.moments(names, lambda: steps.append(1))
    assert len(steps) == calibration.batches == 3 + PASSES
    tables = {n for n, moment in moments.items() if moment.table}
    words = {n for n in names if "embed_tokens" in n or "word_embeddings" in n or "wte" in n}
    assert len(words) == 1 and (words <= tables) == (name == "bert")  # elsewhere the head reads it too
    both = {n: WeightOnGrid(held[n], m.view, factorized(m.values, m.outputs)) for n, m in moments.items()}
    assert sum(w.factor is not None and w.factor.outputs is not None for w in both.values()) >= 8
    one = {n: replace(w, factor=None if moments[n].table else factorized(moments[n].values)) for n, w in both.items()}
    moved = [
        calibration.distance_elsewhere({n: w.changed(0.5 * w.deviation) for n, w in some.items()})
        for some in (one, both)
    ]
    assert moved[1] < 0.95 * moved[0]
