"""What an output tells, and what it doesn't: constants, NaN, integers, class scores by position, counts that change."""

import numpy as np
import pytest

import qacomp
from qacomp.runtime.agreement import compare, worst_of

RNG = np.random.default_rng(0)


def runs(*values: object) -> list[dict[str, np.ndarray]]:
    return [{"y": np.asarray(v)} for v in values]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([np.full((1, 4), np.nan)] * 3, "NaN or infinite"),
        ([np.full((1, 4), 0.5)] * 3, "one constant"),
        ([np.arange(4.0)] * 3, "same for all inputs"),
        ([np.arange(4.0), np.arange(4.0) * (1 + 1e-9)], "same for all inputs"),
        ([np.arange(4)] * 3, "same for all inputs"),
        ([np.zeros((1, 0))] * 3, "empty"),
    ],
)
def test_an_output_that_says_nothing_is_never_agreement(values: list[np.ndarray], why: str) -> None:
    found = compare(runs(*values), runs(*values), "")
    assert found.outputs[0].unmeasured is not None and why in found.outputs[0].unmeasured
    assert (found.cosine, found.centred, found.top1, found.measured) == (None, None, None, ())


def test_what_is_not_an_array_is_listed_and_not_measured() -> None:
    both = [{"words": np.array(["a"]), "list": [np.ones(2)], "y": RNG.standard_normal(3)} for _ in range(2)]
    found = compare(both, both, "")  # type: ignore[arg-type]
    assert [o.unmeasured is None for o in found.outputs] == [False, False, True] and found.cosine == 1
    nothing = compare([{"words": np.array(["a"])}] * 2, [{"words": np.array(["a"])}] * 2, "")
    assert nothing.cosine is None and nothing.outputs[0].unmeasured is not None


def test_a_mean_that_all_inputs_share_hides_nothing_once_it_is_taken_off() -> None:
    offset, signal = 100 * RNG.standard_normal((1, 64)), RNG.standard_normal((8, 1, 64))
    original = runs(*(offset + s for s in signal))
    changed = runs(*(offset + s for s in RNG.standard_normal((8, 1, 64))))  # another network altogether
    found = compare(original, changed, "")
    assert found.cosine is not None and found.cosine > 0.999
    assert found.centred is not None and abs(found.centred) < 0.2
    shifted = compare(original, runs(*(offset + s + 3 for s in signal)), "")
    assert shifted.centred is not None and shifted.centred < 0.5  # an error that all inputs share is one


def test_rows_of_a_batch_are_inputs_too() -> None:
    offset, signal = 100 * RNG.standard_normal(64), RNG.standard_normal((2, 16, 64))
    original, changed = runs(*(offset + signal)), runs(*(offset + RNG.standard_normal((2, 16, 64))))
    batched, one = compare(original, changed, "", batch=16), compare(original[:1], changed[:1], "", batch=16)
    assert batched.centred is not None and abs(batched.centred) < 0.2
    assert one.centred is not None and abs(one.centred) < 0.2
    assert compare(original[:1], changed[:1], "").centred is None


def test_integers_are_compared_as_equal_or_not() -> None:
    found = compare(runs([1, 2, 3, 4], [5, 6, 7, 8]), runs([1, 2, 3, 4], [5, 6, 0, 0]), "")
    assert found.outputs[0].equal == 75
    flags = compare(runs([True, False], [False, False]), runs([True, True], [False, False]), "")
    assert flags.outputs[0].equal == 75


def test_counts_that_depend_on_the_input_may_differ() -> None:
    original = [{"boxes": RNG.standard_normal((n, 4)), "index": np.arange(n)} for n in (2, 3, 4)]
    changed = [{n: v[:2] for n, v in run.items()} for run in original]
    boxes, index = compare(original, changed, "").outputs
    assert (boxes.other_shape, index.other_shape) == (2, 2)
    assert boxes.cosine == 1 and index.equal == pytest.approx(100 * 2 / 9)
    assert boxes.centred is None
    gone = compare(original[1:], changed[1:], "").outputs[0]
    assert gone.other_shape == 2 and gone.cosine is None and gone.equal == 0 and gone.unmeasured is None


def test_class_scores_are_compared_position_by_position() -> None:
    """A recogniser that says blank nearly everywhere agrees by 90 % without reading a letter."""
    scores = np.zeros((1, 20, 5))
    scores[..., 0] = 1.0
    letters = scores.copy()
    letters[0, ::2, 0], letters[0, ::2, 3] = 0, 1
    blank = compare(runs(letters, scores), runs(scores, scores), "").outputs[0]
    assert blank.top1 == 75 and blank.rare == 0
    same = compare(runs(letters, scores), runs(letters, scores), "").outputs[0]
    assert (same.top1, same.rare) == (100, 100)
    image = np.moveaxis(letters.reshape(1, 4, 5, 5), -1, 1)  # (batch, classes, h, w)
    other = np.moveaxis(scores.reshape(1, 4, 5, 5), -1, 1)
    assert compare(runs(image, other), runs(image, other), "").outputs[0].rare == 100
    boxes = RNG.standard_normal((2, 1, 20, 4))  # no scores: no name says so, and they don't sum to 1
    assert compare(runs(*boxes), runs(*boxes), "").top1 is None
    named = compare([{"box_loc": v[0]} for v in boxes], [{"box_loc": v[0]} for v in boxes], "")
    assert named.top1 is None


def test_the_worst_part_counts_and_one_that_says_nothing_does_not() -> None:
    a, b = RNG.standard_normal((2, 4, 6))
    told = compare(runs(*a), runs(*b), "")
    silent = compare(runs(*[np.ones(6)] * 4), runs(*[np.ones(6)] * 4), "")
    both = worst_of([silent, told], "both")
    assert both.outputs[0].unmeasured is None and both.cosine == told.cosine and both.centred == told.centred
    assert worst_of([silent, silent], "").cosine is None


def test_a_model_without_numeric_outputs_is_compressed_and_not_measured() -> None:
    from onnx import TensorProto, helper, numpy_helper

    weight = RNG.standard_normal((24, 32)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("SequenceConstruct", ["m"], ["y"])]
    output = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 24])
    graph = helper.make_graph(nodes, "g", [x], [output], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    result = qacomp.compress(model, k=4)
    assert result.agreement is not None and result.agreement.cosine is None
    assert [layer.k for layer in result.layers] == [4]
