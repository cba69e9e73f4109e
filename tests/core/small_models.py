"""Small ONNX networks of the shapes that people compress: open axes, ids, masks, states, flags; weights as if trained.

Random matrices of deep networks forget their input; these keep it: residual branches, normalized activations, heads
whose classes are apart.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

F, I64 = TensorProto.FLOAT, TensorProto.INT64
Dims = Sequence[int | str]


class Builder:
    """Nodes and tensors of one graph; each call adds a node and gives its output's name."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def __call__(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"{op.lower()}{len(self.nodes)}" + (f"_{i}" if i else "") for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0]

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def weight(self, *shape: int, gain: float = 1.0, name: str = "") -> str:
        """Heavy-tailed, as trained weights are, each output channel with a size of its own."""
        fan = int(np.prod(shape[1:])) if len(shape) > 2 else shape[0]
        values = self.rng.laplace(size=shape) * gain / np.sqrt(2 * fan)
        axis = 0 if len(shape) > 2 else len(shape) - 1
        sizes = np.exp(0.4 * self.rng.standard_normal(shape[axis]))
        values *= sizes.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        name = name or f"w{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def conv(self, x: str, inside: int, outside: int, size: int = 3, stride: int = 1, group: int = 1) -> str:
        w, b = self.weight(outside, inside // group, size, size), self.constant(0.1 * self.rng.standard_normal(outside))
        pads = [size // 2] * 4
        return self("Conv", x, w, b, pads=pads, strides=[stride, stride], group=group)

    def layer_norm(self, x: str, width: int) -> str:
        mean = self("ReduceMean", x, axes=[-1], keepdims=1)
        centred = self("Sub", x, mean)
        squares = self("ReduceMean", self("Mul", centred, centred), axes=[-1], keepdims=1)
        deviation = self("Sqrt", self("Add", squares, self.constant(1e-5)))
        scaled = self("Mul", self("Div", centred, deviation), self.constant(np.ones(width)))
        return self("Add", scaled, self.constant(np.zeros(width)))

    def dense(self, x: str, inside: int, outside: int, gain: float = 1.0) -> str:
        bias = self.constant(0.02 * self.rng.standard_normal(outside))
        return self("Add", self("MatMul", x, self.weight(inside, outside, gain=gain)), bias)

    def model(self, inputs: Sequence[onnx.ValueInfoProto], outputs: dict[str, str]) -> onnx.ModelProto:
        """outputs: the value that each one is."""
        for name, value in outputs.items():
            self.nodes.append(helper.make_node("Identity", [value], [name]))
        ends = [helper.make_tensor_value_info(name, F, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "g", list(inputs), ends, self.tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def value(name: str, kind: int, dims: Dims) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(dims))


def _backbone(b: Builder, x: str, widths: Sequence[int]) -> str:
    """Strided convolutions with a residual block behind each."""
    inside = 3
    for width in widths:
        x = b("Relu", b.conv(x, inside, width, stride=2))
        y = b.conv(b("Relu", b.conv(x, width, width)), width, width)
        x = b("Relu", b("Add", x, y))
        inside = width
    return x


def ocr_recogniser() -> onnx.ModelProto:
    """(n, 3, 48, w) -> (n, w / 8, 24) probabilities of characters: convolutions, then attention over the line."""
    b = Builder(1)
    x = _backbone(b, "x", (16, 32, 48))  # (n, 48, 6, w / 8)
    x = b("ReduceMean", x, axes=[2], keepdims=0)  # (n, 48, t)
    x = b.layer_norm(b("Transpose", x, perm=[0, 2, 1]), 48)
    for _ in range(2):
        x = _attention_block(b, x, 48)
    scores = b.dense(x, 48, 24, gain=4.0)
    return b.model([value("x", F, ["n", 3, 48, "w"])], {"probs": b("Softmax", scores, axis=-1)})


def _attention_block(b: Builder, x: str, width: int, mask: str | None = None) -> str:
    q, k, v = (b.dense(x, width, width) for _ in range(3))
    scores = b("MatMul", q, b("Transpose", k, perm=[0, 2, 1]))
    scores = b("Mul", scores, b.constant(1 / np.sqrt(width)))
    if mask is not None:
        scores = b("Add", scores, mask)
    mixed = b.dense(b("MatMul", b("Softmax", scores, axis=-1), v), width, width)
    x = b.layer_norm(b("Add", x, mixed), width)
    inner = b.dense(b("Relu", b.dense(x, width, 2 * width)), 2 * width, width)
    return b.layer_norm(b("Add", x, inner), width)


def _priors(cells: int) -> NDArray[np.float32]:
    centres = (np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), -1).reshape(-1, 2) + 0.5) / cells
    return np.concatenate([centres, np.full_like(centres, 0.2)], axis=1).astype(np.float32)[None]


def ssd_detector() -> onnx.ModelProto:
    """(1, 3, 128, 128) -> scores (1, 256, 2) and boxes (1, 256, 4), decoded with prior boxes."""
    b = Builder(2)
    x = _backbone(b, "image", (16, 24, 32))  # (1, 32, 16, 16)
    heads = []
    for outside, gain in ((2, 3.0), (4, 0.5)):
        w = b.weight(outside, 32, 3, 3, gain=gain)
        y = b("Transpose", b("Conv", x, w, pads=[1, 1, 1, 1]), perm=[0, 2, 3, 1])
        heads.append(b("Reshape", y, b.constant([1, -1, outside], np.int64)))
    priors = b.constant(_priors(16))
    boxes = b("Add", b("Mul", heads[1], b.constant(0.1)), priors)
    outputs = {"scores": b("Softmax", heads[0], axis=-1), "boxes": boxes}
    return b.model([value("image", F, [1, 3, 128, 128])], outputs)


def yolo_detector() -> onnx.ModelProto:
    """(n, 3, h, w) -> (n, anchors, 4 + 1 + 3): boxes on a grid made from the feature map's size, sigmoid scores."""
    b = Builder(3)
    x = _backbone(b, "images", (16, 24, 32))
    y = b("Transpose", b.conv(x, 32, 8, size=1), perm=[0, 2, 3, 1])  # (n, h, w, 8)
    shape = b("Shape", y)
    zero, one = b.constant(0, np.int64), b.constant(1, np.int64)
    rows = b("Range", zero, b("Gather", shape, one, axis=0), one)
    grid = b("Unsqueeze", b("Cast", rows, to=F), b.constant([1, 2], np.int64))  # (h, 1, 1)
    start, middle, end, axis = (b.constant([i], np.int64) for i in (0, 4, 8, 3))
    boxes = b("Mul", b("Add", b("Sigmoid", b("Slice", y, start, middle, axis)), grid), b.constant(8.0))
    scores = b("Sigmoid", b("Slice", y, middle, end, axis))
    flat = b("Reshape", b("Concat", boxes, scores, axis=3), b.constant([0, -1, 8], np.int64))
    return b.model([value("images", F, ["batch", 3, "height", "width"])], {"output0": flat})


def _text_encoder(b: Builder, blocks: int, width: int = 48) -> tuple[str, str]:
    """(hidden states, float mask) of ids, mask and token types."""
    words = b("Gather", b.weight(500, width, gain=6.0, name="word_embeddings"), "input_ids")
    types = b("Gather", b.weight(2, width, name="type_embeddings"), "token_type_ids")
    mask = b("Cast", b("Unsqueeze", "attention_mask", b.constant([1], np.int64)), to=F)
    negative = b("Mul", b("Sub", b.constant(1.0), mask), b.constant(-10000.0))
    x = b.layer_norm(b("Add", words, types), width)
    for _ in range(blocks):
        x = _attention_block(b, x, width, negative)
    return x, mask


_TEXT = [value(name, I64, ["batch", "sequence"]) for name in ("input_ids", "attention_mask", "token_type_ids")]


def sentence_transformer() -> onnx.ModelProto:
    """ids, mask and token types (batch, sequence) -> (batch, 48), the mean over the tokens, of norm 1."""
    b = Builder(4)
    x, mask = _text_encoder(b, 2)
    column = b("Transpose", mask, perm=[0, 2, 1])
    total = b("ReduceSum", b("Mul", x, column), b.constant([1], np.int64), keepdims=0)
    mean = b("Div", total, b("ReduceSum", column, b.constant([1], np.int64), keepdims=0))
    norm = b("ReduceL2", mean, axes=[-1], keepdims=1)
    return b.model(_TEXT, {"sentence_embedding": b("Div", mean, norm)})


def text_classifier() -> onnx.ModelProto:
    """ids, mask and token types (batch, sequence) -> logits (batch, 5)."""
    b = Builder(5)
    x, _ = _text_encoder(b, 2)
    pooled = b("Tanh", b.dense(b("ReduceMean", x, axes=[1], keepdims=0), 48, 48, gain=2.0))
    return b.model(_TEXT, {"logits": b.dense(pooled, 48, 5, gain=3.0)})


def voice_detector() -> onnx.ModelProto:
    """(batch, samples), a state (2, batch, 32) and `sr`, which an If asks for 16000 -> (batch, 1), new state."""
    b = Builder(6)
    frames = b("Unsqueeze", "input", b.constant([1], np.int64))
    basis = b.weight(33, 1, 64, gain=3.0)
    x = b("Abs", b("Conv", frames, basis, strides=[64]))
    x = b("Log", b("Add", x, b.constant(0.1)))
    x = b("Relu", b("Conv", x, b.weight(32, 33, 3), pads=[1, 1]))
    x = b("Transpose", x, perm=[2, 0, 1])  # (t, batch, 32)
    h, c = (b("Gather", "state", b.constant([i], np.int64), axis=0) for i in (0, 1))
    w, r = b.weight(1, 128, 32), b.weight(1, 128, 32)
    b.nodes.append(helper.make_node("LSTM", [x, w, r, "", "", h, c], ["all", "h", "c"], hidden_size=32))
    state = b("Concat", "h", "c", axis=0)
    last = b("Squeeze", "h", b.constant([0], np.int64))
    probability = b("Sigmoid", b.dense(last, 32, 1, gain=2.0))
    fast = helper.make_graph(
        [helper.make_node("Identity", [probability], ["p1"])], "fast", [], [value("p1", F, ["n", 1])]
    )
    slow = helper.make_graph(
        [helper.make_node("Mul", [probability, "zero"], ["p0"])], "slow", [], [value("p0", F, ["n", 1])]
    )
    b.tensors.append(numpy_helper.from_array(np.array(0, np.float32), "zero"))
    chosen = b("If", b("Equal", "sr", b.constant(16000, np.int64)), then_branch=fast, else_branch=slow)
    inputs = [value("input", F, ["batch", "samples"]), value("state", F, [2, "batch", 32]), value("sr", I64, [])]
    return b.model(inputs, {"output": chosen, "stateN": state})


def denoiser() -> onnx.ModelProto:
    """Magnitudes (1, 1, 129) and a state (1, 1, 64) -> a mask (1, 1, 129) between 0 and 1, the new state."""
    b = Builder(7)
    w, r = b.weight(1, 192, 129), b.weight(1, 192, 64)
    b.nodes.append(helper.make_node("GRU", ["magnitudes", w, r, "", "", "state"], ["all", "h"], hidden_size=64))
    mask = b("Sigmoid", b.dense(b("Squeeze", "all", b.constant([1], np.int64)), 64, 129, gain=1.5))
    inputs = [value("magnitudes", F, [1, 1, 129]), value("state", F, [1, 1, 64])]
    return b.model(inputs, {"mask": mask, "new": "h"})
