"""Build the nodes and constants that replace a weight in a graph, and insert them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from qacomp.graphs.constants import Constant
from qacomp.graphs.walk import Scope

_LEAST_HALVES = 32  # least values of a constant to store in fp16
_INITIALIZERS_IR = 4  # before this IR version an initializer is an input with a default, so it isn't folded


class Names:
    """Makes short names that no value of the model has."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = taken
        self.count = 0

    def new(self, prefix: str) -> str:
        """Return the next free name: `i0`, `i1`, ..."""
        while (name := f"{prefix}{self.count}") in self.taken:
            self.count += 1
        self.taken.add(name)
        return name


@dataclass
class NodeBuilder:
    """Collects nodes in order, the last of which makes the weight, and the constants that they read."""

    names: Names
    opset: int
    constants: list[TensorProto] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Return the bytes that all nodes and constants take in the file."""
        return int(sum(t.ByteSize() for t in self.constants) + sum(n.ByteSize() for n in self.nodes))

    def constant(self, array: NDArray[Any]) -> str:
        """Add a constant with the array's dtype; return its name."""
        return self._add(numpy_helper.from_array(np.ascontiguousarray(array), self.names.new("c")))

    def packed(self, dtype: str, words: NDArray[Any], shape: tuple[int, ...]) -> str:
        """Add a constant of flat `words` in an ONNX type that numpy may lack (UINT4, UINT2); return its name."""
        kind = TensorProto.DataType.Value(dtype)
        if dtype in ("UINT8", "UINT16"):
            return self.constant(words.reshape(shape))
        values = words.astype(helper.tensor_dtype_to_np_dtype(kind)).reshape(shape)
        return self._add(numpy_helper.from_array(values, self.names.new("c")))

    def half_or_exact(self, array: NDArray[Any]) -> str:
        """Add a constant: as fp16 with a Cast if that is exact for a float32 array, else unchanged; return its name."""
        if array.dtype == np.float32 and array.size >= _LEAST_HALVES:
            with np.errstate(over="ignore"):
                half = array.astype(np.float16)
            if np.array_equal(half.astype(np.float32).view(np.uint32), array.view(np.uint32)):
                return self.node("Cast", self.constant(half), to=TensorProto.FLOAT)
        return self.constant(array)

    def integers(self, value: str) -> str:
        """Add a cast of `value` to int32, the smallest type of indices for Gather; return the new value's name."""
        return self.node("Cast", value, to=TensorProto.INT32)

    def reshaped(self, value: str, shape: tuple[int, ...]) -> str:
        """Add a Reshape of `value` to `shape`; return the new value's name."""
        return self.node("Reshape", value, self.constant(np.array(shape, np.int64)))

    def cut(self, value: str, size: int, shape: tuple[int, ...]) -> str:
        """Reshape the first values of `value`, which has `size` of them, to `shape`; return the new value's name."""
        wanted = math.prod(shape)
        if size != wanted:
            value = self.sliced(self.reshaped(value, (-1,)), (wanted,))
        return self.reshaped(value, shape)

    def sliced(self, value: str, shape: tuple[int, ...]) -> str:
        """Add a Slice of the first corner of `value` with the given shape; return the new value's name."""
        starts, ends = np.zeros(len(shape), np.int64), np.array(shape, np.int64)
        if self.opset < 10:  # before opset 10 the bounds are attributes
            return self.node("Slice", value, starts=starts.tolist(), ends=ends.tolist())
        return self.node("Slice", value, self.constant(starts), self.constant(ends))

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; return the output's name."""
        output = self.names.new("v")
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def replace(self, model: onnx.ModelProto, held: Constant) -> None:
        """Replace `held` by the nodes; the last one takes over its name, so that nothing else changes."""
        name, scope, place = held.name, held.scope, 0
        if held.node is None:
            assert isinstance(scope, onnx.GraphProto)
            _delete(scope.initializer, name)
            _delete(scope.input, name)  # old files list weights as inputs too
        else:
            place = next(i for i, n in enumerate(scope.node) if name in n.output)
            del scope.node[place]
        self.insert(model, scope, place, name)

    def insert(self, model: onnx.ModelProto, scope: Scope, place: int, name: str) -> None:
        """Insert the nodes before node number `place` of a graph or function; the last one makes `name`."""
        self.nodes[-1].output[0] = name
        nodes = self.nodes
        if model.ir_version < _INITIALIZERS_IR or isinstance(scope, onnx.FunctionProto):
            nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in self.constants] + nodes
        else:
            scope.initializer.extend(self.constants)
        for offset, node in enumerate(nodes):
            scope.node.insert(place + offset, node)

    def _add(self, tensor: TensorProto) -> str:
        self.constants.append(tensor)
        name: str = tensor.name
        return name


def _delete(items: Any, name: str) -> None:
    for number, item in enumerate(items):
        if item.name == name:
            del items[number]
            return
