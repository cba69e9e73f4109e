"""Inputs made up for a model: of sizes it is used with, ids inside its tables, masks of ones, constants it expects."""

from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qacomp.errors import DataError
from qacomp.runtime.feeds import GeneratedInputs, generated_inputs
from qacomp.runtime.session import open_session

F, I64 = TensorProto.FLOAT, TensorProto.INT64


def value(name: str, kind: int, dims: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, dims)


def inputs_of(model: onnx.ModelProto) -> GeneratedInputs:
    session = open_session(model)
    return generated_inputs(model, lambda feed: session.run(None, feed))


def first(model: onnx.ModelProto) -> dict[str, Any]:
    return inputs_of(model).feed(0)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("ocr_recogniser", (1, 3, 48, 320)), ("ssd_detector", (1, 3, 128, 128)), ("yolo_detector", (1, 3, 128, 128))],
)
def test_pictures_have_sides_of_64_or_more_where_the_model_leaves_them_open(
    small: ModuleType, kind: str, shape: tuple[int, ...]
) -> None:
    model = getattr(small, kind)()
    made = inputs_of(model)
    (loud, quiet, again) = (made.feed([0, i], loud=i != 1)[model.graph.input[0].name] for i in (0, 1, 0))
    assert loud.shape == shape and loud.dtype == np.float32
    assert np.array_equal(loud, again) and not np.array_equal(loud, quiet)
    assert 0 <= quiet.min() < quiet.max() <= 1 and loud.min() < -0.5 and 0.5 < loud.max() < 4


def test_pictures_have_the_spectrum_of_photographs(small: ModuleType) -> None:
    """Power falls with the square of the frequency, about; white noise's doesn't fall at all."""
    (planned,) = inputs_of(small.ssd_detector()).inputs
    power = np.zeros((128, 65))
    for seed in range(8):
        picture = GeneratedInputs((planned,), {}).feed(seed)["image"][0, 0]
        power += np.abs(np.fft.rfft2(picture - picture.mean())) ** 2
    radius = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128)[None, :])
    low, high = (power[(radius > a) & (radius < b)].mean() for a, b in ((0.02, 0.04), (0.2, 0.4)))
    assert 20 < low / high < 2000  # ten times the frequency


def test_text_gets_ids_of_its_vocabulary_masks_of_ones_and_both_segments(small: ModuleType) -> None:
    feed = first(small.sentence_transformer())
    assert {v.shape for v in feed.values()} == {(1, 32)} and {v.dtype for v in feed.values()} == {np.dtype(np.int64)}
    ids = feed["input_ids"]
    assert ids.max() < 500 and len(np.unique(ids)) > 8
    assert (feed["attention_mask"] == 1).all() and set(feed["token_type_ids"].flat) == {0, 1}


def test_a_model_of_speech_gets_waves_its_sampling_rate_and_a_state_of_the_batch(small: ModuleType) -> None:
    made = inputs_of(small.voice_detector())
    feed = made.feed(0)
    assert feed["sr"] == 16000 and feed["state"].shape == (2, 1, 32) and feed["input"].shape == (1, 576)
    voice = made.feed(0, loud=False)["input"][0]
    power = np.abs(np.fft.rfft(voice)) ** 2  # of white noise it is spread evenly
    assert 0.1 < voice.std() < 1 and np.sort(power)[-29:].sum() > 0.7 * power.sum()
    assert 0.8 < feed["input"].std() < 1.2
    text = str(made)
    assert "sr scalar (16000)" in text and "input 1×576 (noise, a voice)" in text
    assert {k: v.shape for k, v in first(small.denoiser()).items()} == {"magnitudes": (1, 1, 129), "state": (1, 1, 64)}


def graph(nodes: list[Any], inputs: list[Any], tensors: dict[str, Any], functions: list[Any] | None = None) -> Any:
    made = helper.make_graph(
        nodes,
        "g",
        inputs,
        [helper.make_tensor_value_info("y", F, None)],
        [numpy_helper.from_array(v, n) for n, v in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(made, opset_imports=opsets, ir_version=8, functions=functions or [])


def test_ids_are_followed_through_casts_offsets_functions_and_tables_that_are_passed_on() -> None:
    body = [
        helper.make_node("Cast", ["t"], ["wide"], to=F),
        helper.make_node("Gather", ["wide", "i"], ["o"], axis=0),
    ]
    look_up = helper.make_function("own", "LookUp", ["t", "i"], ["o"], body, [helper.make_opsetid("", 17)])
    nodes = [
        helper.make_node("Cast", ["ids"], ["whole"], to=I64),
        helper.make_node("Identity", ["table"], ["same"]),
        helper.make_node("LookUp", ["same", "whole"], ["y"], domain="own"),
    ]
    table = np.ones((37, 4), np.float16)
    model = graph(nodes, [value("ids", TensorProto.INT32, ["n", "t"])], {"table": table}, [look_up])
    ids = first(model)["ids"]
    assert ids.shape == (1, 32) and ids.dtype == np.int32 and 0 <= ids.min() < 10 < ids.max() < 37


def test_ids_are_drawn_from_the_rows_of_an_embedding_that_look_trained() -> None:
    """BERT's vocabulary starts with a thousand reserved tokens, which no text has."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(200, 16)) * np.where(np.arange(200) < 80, 0.2, 1)[:, None]
    model = graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        [value("ids", I64, ["n", "t"])],
        {"table": table.astype(np.float32)},
    )
    made = inputs_of(model)
    drawn = np.concatenate([made.feed(i)["ids"].reshape(-1) for i in range(8)])
    assert drawn.min() >= 80 and len(np.unique(drawn)) > 30
    assert str(made) == "ids 1×32 (ids below 200, of 120 rows that look trained)"


def test_one_hot_spelled_out_tells_how_many_bytes_there_are() -> None:
    """A file classifier compares each byte with all of them."""
    nodes = [
        helper.make_node("Unsqueeze", ["bytes", "last"], ["column"]),
        helper.make_node("Equal", ["column", "all"], ["same"]),
        helper.make_node("Cast", ["same"], ["y"], to=F),
    ]
    tensors = {"last": np.array([2]), "all": np.arange(257, dtype=np.int32)}
    given = first(graph(nodes, [value("bytes", TensorProto.INT32, ["n", 64])], tensors))["bytes"]
    assert given.max() > 20 and given.max() < 257


def test_pixels_from_0_to_255_are_told_by_what_the_graph_takes_off() -> None:
    nodes = [helper.make_node("Sub", ["x", "mean"], ["d"]), helper.make_node("Relu", ["d"], ["y"])]
    inputs = [value("x", F, ["n", 3, "h", "w"])]
    (bytes_like,) = first(graph(nodes, inputs, {"mean": np.full((1, 3, 1, 1), 120, np.float32)})).values()
    (plain,) = first(graph(nodes, inputs, {"mean": np.full((1, 3, 1, 1), 0.5, np.float32)})).values()
    assert bytes_like.max() > 200 and bytes_like.min() >= 0 and plain.max() < 5
    raw = graph([helper.make_node("Cast", ["x"], ["y"], to=F)], [value("x", TensorProto.UINT8, [1, 40, 50, 3])], {})
    assert first(raw)["x"].dtype == np.uint8 and first(raw)["x"].max() > 200


def test_axes_of_one_name_have_one_size_and_lengths_are_the_sequence(small: ModuleType) -> None:
    b = small.Builder()
    total = b("Add", "a", b("Mul", "b", b("Cast", "x_lens", to=F)))
    b.nodes.append(helper.make_node("Identity", [total], ["y0"]))
    inputs = [value("a", F, ["N", "T", 80]), value("b", F, ["N", "T", 80]), value("x_lens", I64, ["N"])]
    feed = first(b.model(inputs, {"y": total}))
    assert feed["a"].shape == feed["b"].shape == (1, 32, 80) and feed["x_lens"].tolist() == [32]


def test_other_sizes_are_tried_where_the_first_do_not_run() -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    model = graph(nodes, [value("x", F, ["n", 8, "frames"])], {"shape": np.array([-1, 8, 100])})
    assert first(model)["x"].shape == (1, 8, 100)
    never = graph(nodes, [value("x", F, ["n", 8, "frames"])], {"shape": np.array([-1, 8, 7919])})
    with pytest.raises(DataError, match="give --data"):
        first(never)


def test_inputs_that_cannot_be_made_up_are_named() -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    text = graph(nodes, [value("x", TensorProto.STRING, ["n"])], {})
    text.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING
    with pytest.raises(DataError, match="'x' is a string"):
        first(text)
    huge = graph(nodes, [value("x", F, [1 << 20, 1 << 20])], {})
    with pytest.raises(DataError, match="more than"):
        first(huge)
