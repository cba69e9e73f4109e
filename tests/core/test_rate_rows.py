"""Steps for the words of a vocabulary: finer for frequent ones, less error of texts at equal bits, exact in a file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

import qacomp
from qacomp.calibration.block_model import BlockModel
from qacomp.calibration.transformer import transformer_of
from qacomp.formats import open_file, save_file
from qacomp.formats.codecs.trellispaths import follows
from qacomp.rate.equal_bits import bits_at, step_of_bits
from qacomp.rate.guard import guarded
from qacomp.rate.rows import PARTS, rows_of
from qacomp.rate.sharing import RateSharing
from qacomp.rate.steps import WeightOnGrid
from qacomp.rate.trellis_form import suits, trellis_tensor
from qacomp.tensors.vocabulary import chances_of

RNG = np.random.default_rng(0)
WORDS, WIDTH, RESERVED = 2000, 24, slice(0, 320)


def table() -> Any:
    """A vocabulary whose first 320 words were never trained."""
    found = RNG.normal(size=(WORDS, WIDTH)).astype(np.float32)
    found[RESERVED] *= np.float32(0.1)
    return found


def error_of_texts(weight: WeightOnGrid, values: Any) -> float:
    """The squared error of a word's vector, as often as it occurs."""
    each = ((values - weight.values) ** 2).mean(axis=1)[RESERVED.stop :]
    return float((each * chances_of(each.size)).sum())


def test_frequent_words_get_finer_steps_and_the_grid_is_what_was_rounded(tmp_path: Path) -> None:
    values = table()
    rows = rows_of(values)
    assert rows is not None
    weight = WeightOnGrid(values, rows=rows)
    step = 0.3
    steps = rows.spread(step)[:, 0]
    assert (np.diff(steps[RESERVED.stop :]) >= 0).all()
    assert steps[0] == steps[-1] > 3 * steps[RESERVED.stop]
    made = rows.grid_tensor(weight.integers(step), step)
    assert made.blocks == (16, WIDTH)
    assert np.array_equal(made.dense(), weight.changed(step))
    assert (np.abs(made.dense() - values) <= steps[:, None] * 0.501).all()
    save_file(tmp_path / "w.qac", {"w": made})
    with open_file(tmp_path / "w.qac") as container:
        assert container.tensor("w").tobytes() == made.dense().tobytes()


def test_less_error_of_texts_at_equal_bytes(tmp_path: Path) -> None:
    weight = WeightOnGrid(table())
    own = replace(weight, rows=rows_of(weight.values))
    plain = RateSharing({"w": weight}, {"w": 0.25}, {"w": np.dtype(np.float32)}, "exact", {})
    step = step_of_bits(own, bits_at(weight, 0.25, PARTS), 0.25, PARTS)
    with_rows = replace(plain, weights={"w": own}, steps={"w": step})
    size, error = [], []
    for sharing in (plain, with_rows):
        packed = sharing.at(1.0)["w"]
        size.append(save_file(tmp_path / "a.qac", {"w": packed.value}).tensors[0].bytes)
        error.append(error_of_texts(weight, packed.dense()))
    assert size[1] < 1.03 * size[0]
    assert error[1] < 0.6 * error[0]


def test_words_have_their_steps_on_a_trellis_too() -> None:
    values = table()
    weight = WeightOnGrid(values, rows=rows_of(values))
    assert suits(weight)
    made = trellis_tensor(weight, 0.5)
    assert made is not None
    assert made.blocks == (16, WIDTH)
    assert follows(made.indices)
    plain = trellis_tensor(WeightOnGrid(values), 0.5)
    assert plain is not None
    assert error_of_texts(weight, made.dense()) < error_of_texts(weight, plain.dense())


@pytest.mark.parametrize("liked", ["rows", "plain"])
def test_they_stay_where_outputs_like_them(liked: str) -> None:
    weight = WeightOnGrid(table(), rows=rows_of(table()))
    plain = replace(weight, rows=None)
    wanted = plain.changed(step_of_bits(plain, bits_at(weight, 0.3, PARTS), 0.3, PARTS))
    wanted = weight.changed(0.3) if liked == "rows" else wanted
    sharing = RateSharing({"w": weight}, {"w": 0.3}, {"w": np.dtype(np.float32)}, "exact", {})

    def elsewhere(values: Any) -> float:
        return float(np.sqrt(np.square(values["w"] - wanted).sum(axis=1)).sum())

    found, told = guarded(sharing, elsewhere, lambda: None)
    assert (found.weights["w"].rows is None) == (liked == "plain")
    assert told == []
    assert bits_at(found.weights["w"], found.steps["w"], PARTS) == pytest.approx(bits_at(weight, 0.3, PARTS), rel=0.02)


@pytest.mark.parametrize(
    "values",
    [
        np.ones((1000, 8), np.float32),
        np.ones((2000, 8), np.float16),
        np.zeros((2000, 8), np.float32),
        np.ones((2000, 0), np.float32),
        np.full((2000, 8), 1e38, np.float32),
    ],
    ids=["small", "fp16", "zeros", "empty", "far"],
)
def test_tables_that_are_small_empty_or_extreme_and_other_types_have_none(values: Any) -> None:
    assert rows_of(values) is None


def test_the_vocabulary_of_a_graph_is_the_table_that_ids_index(tmp_path: Path) -> None:
    """The table of positions, which is as long, isn't."""
    values = {"words": table(), "positions": RNG.normal(size=(1100, WIDTH)).astype(np.float32)}
    values["w"] = RNG.normal(size=(WIDTH, WIDTH)).astype(np.float32)
    values["place"] = np.arange(32)
    nodes = [
        helper.make_node("Gather", ["words", "ids"], ["word"]),
        helper.make_node("Gather", ["positions", "place"], ["position"]),
        helper.make_node("Add", ["word", "position"], ["sum"]),
        helper.make_node("MatMul", ["sum", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 32, WIDTH])],
        [numpy_helper.from_array(v, n) for n, v in values.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "a.onnx")
    qacomp.compress(tmp_path / "a.onnx", output=tmp_path / "a.qac", target_size="40kB")
    with open_file(tmp_path / "a.qac") as container:
        blocks = {name: container.info(name).blocks for name in container.names}
        words = container.tensor("words")
    assert blocks["words"] == (16, WIDTH)
    assert blocks["positions"] is None
    qacomp.compress(tmp_path / "a.onnx", output=tmp_path / "c.qac", target_size="40kB", base=tmp_path / "a.qac")
    with open_file(tmp_path / "c.qac") as container:
        assert container.tensor("words").tobytes() == words.tobytes()  # a base's steps and indices are kept
    back = tmp_path / "b.onnx"
    qacomp.decode(tmp_path / "a.qac", back)
    assert any(t.name == "words" for t in onnx.load(back).graph.initializer)


def test_the_vocabulary_of_a_folder_is_the_table_of_input_ids(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=WIDTH, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=WORDS
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    held = load_file(tmp_path / "model.safetensors")
    model = BlockModel(transformer_of(tmp_path, len(held)), held.__getitem__, list(held))
    assert model.words == {"embeddings.word_embeddings.weight"}
