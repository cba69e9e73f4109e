"""Make names of values unique in a model, since different subgraphs and functions may use the same name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from onnx import GraphProto, ModelProto

from qacomp.graphs.readers import Key, defined_names
from qacomp.graphs.walk import Scope, nested, subgraphs


def make_distinct(model: ModelProto, names: Collection[str], preferred: Mapping[Key, str]) -> None:
    """Rename values, in place, so that each of `names` means at most one value; what the model computes stays the same.

    Values of the main graph keep their names, which users know. A value of a subgraph or a function with one of `names`
    gets the name in `preferred` for (id of its scope, old name), or its old name with a number.
    """
    scopes = [scope for top in (model.graph, *model.functions) for scope in nested(top)]
    defined = Counter(name for scope in scopes for name in defined_names(scope))
    several = {name for name in names if defined[name] > 1}
    if several:
        taken = set(defined) | {name for scope in scopes for node in scope.node for name in node.input}
        wishes = {key: name for key, name in preferred.items() if name not in taken}
        renaming = _Renaming(several, wishes, taken | set(wishes.values()))
        renaming.apply(model.graph, {}, frozenset())
        for function in model.functions:
            renaming.apply(function, {}, several)


@dataclass
class _Renaming:
    """Renames values. several: names of several values; wishes: preferred names; taken: names already in use."""

    several: Collection[str]
    wishes: Mapping[Key, str]
    taken: set[str]

    def apply(self, scope: Scope, outer: Mapping[str, str], renamed: Collection[str]) -> None:
        """Rename those values of a scope that are in `renamed`, and their uses there and in its subgraphs.

        outer: old -> new names of values that the scope sees from outside.
        """
        own = defined_names(scope)
        new = {old: name for old, name in outer.items() if old not in own}
        new |= {old: self._fresh(scope, old) for old in sorted(own & set(renamed))}
        for node in scope.node:
            node.input[:] = [new.get(name, name) for name in node.input]
            node.output[:] = [new.get(name, name) for name in node.output]
            for inner in subgraphs(node):
                self.apply(inner, new, self.several)
        if not isinstance(scope, GraphProto):
            scope.input[:] = [new.get(name, name) for name in scope.input]
            scope.output[:] = [new.get(name, name) for name in scope.output]
        else:
            for tensor in scope.initializer:
                tensor.name = new.get(tensor.name, tensor.name)
            for sparse in scope.sparse_initializer:
                sparse.values.name = new.get(sparse.values.name, sparse.values.name)
            for value in (*scope.input, *scope.output):
                value.name = new.get(value.name, value.name)
            for annotation in scope.quantization_annotation:
                annotation.tensor_name = new.get(annotation.tensor_name, annotation.tensor_name)
                for entry in annotation.quant_parameter_tensor_names:
                    entry.value = new.get(entry.value, entry.value)
        for value in scope.value_info:
            value.name = new.get(value.name, value.name)

    def _fresh(self, scope: Scope, old: str) -> str:
        if wish := self.wishes.get((id(scope), old)):
            return wish
        name, number = old, 0
        while name in self.taken:
            number += 1
            name = f"{old}#{number}"
        self.taken.add(name)
        return name
