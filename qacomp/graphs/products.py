"""Find the weights of the product to which a bias is added; they tell how large that product is."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import NodeProto

from qacomp.graphs.parts import is_product, weight_inputs
from qacomp.graphs.readers import Key, Reader, Readers, is_standard

_REARRANGING = (
    "Identity", "Cast", "CastLike", "Transpose", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "DequantizeLinear",
)  # fmt: skip
_CUTTING = ("Slice", "Split", "Gather")
_MOST_STEPS = 64


@dataclass(frozen=True)
class Products:
    """Finds the weights that belong to a bias, by going back from the node that reads the bias."""

    readers: Readers

    def of_node(self, reader: Reader, calls: tuple[Reader, ...]) -> tuple[Key, ...]:
        """Return the weights (for a norm, the scale) of the node that reads a bias."""
        return self._roots(reader.node, reader.scope, calls)

    def added_to(self, reader: Reader, calls: tuple[Reader, ...]) -> tuple[Key, ...]:
        """Return the weights of the product that is the other input of an Add; () if it isn't a product."""
        if len(reader.node.input) != 2:
            return ()
        key = self.readers.key(reader.scope, reader.node.input[1 - reader.position])
        for _ in range(_MOST_STEPS):
            node = self.readers.made.get(key) if key is not None else None
            if key is None or node is None or self.readers.function(node) is not None:
                return ()
            if is_standard(node) and node.op_type in _REARRANGING:
                key = self.readers.key(key[0], node.input[0]) if node.input else None
                continue
            return self._roots(node, key[0], calls) if is_product(node) else ()
        return ()

    def _roots(self, node: NodeProto, scope: int, calls: tuple[Reader, ...]) -> tuple[Key, ...]:
        """Return the constants from which a node's weights come, back through rearranging, cutting and joining."""
        waiting: list[tuple[Key | None, tuple[Reader, ...]]]
        waiting = [(self.readers.key(scope, node.input[i]), calls) for i in weight_inputs(node)]
        found = []
        for _ in range(_MOST_STEPS):
            key, calls = waiting.pop() if waiting else (None, ())
            maker = self.readers.made.get(key) if key is not None else None
            if key is None:
                continue
            if maker is None:
                outer, around = self._outside(key, calls)
                if outer == key:
                    found.append(key)
                else:
                    waiting.append((outer, around))
            elif maker.op_type == "Constant":
                found.append(key)
            elif is_standard(maker) and maker.op_type in (*_REARRANGING, *_CUTTING, "Concat"):
                names = maker.input if maker.op_type == "Concat" else maker.input[:1]
                waiting += [(self.readers.key(key[0], name), calls) for name in names]
        return tuple(found)

    def _outside(self, key: Key, calls: tuple[Reader, ...]) -> tuple[Key | None, tuple[Reader, ...]]:
        """Return the caller's value for an input of the innermost called function, and any other value unchanged."""
        call = calls[-1] if calls else None
        called = self.readers.function(call.node) if call is not None else None
        if call is None or called is None or id(called) != key[0] or key[1] not in called.input:
            return key, calls
        position = list(called.input).index(key[1])
        name = call.node.input[position] if position < len(call.node.input) else ""
        return self.readers.key(call.scope, name), calls[:-1]
