"""Names of values that are the model's only ones: subgraphs and functions may call different values the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from onnx import GraphProto, ModelProto

from qacomp.graphs.readers import Key, defined_names
from qacomp.graphs.walk import Scope, nested, subgraphs


def make_distinct(model: ModelProto, names: Collection[str], preferred: Mapping[Key, str]) -> None:
    """Rename, in place, so that each of `names` means one value of the model at most; what it computes stays the same.

    Values of the main graph, which users know, keep their names. Those of a subgraph or a function that have one of
    `names` too get the `preferred` one of their scope's id and their old name, or a number behind theirs.
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
    """Names that several values have (`several`), what they wish to be called, and the names that are taken."""

    several: Collection[str]
    wishes: Mapping[Key, str]
    taken: set[str]

    def apply(self, scope: Scope, outer: Mapping[str, str], renamed: Collection[str]) -> None:
        """Give those of a scope's values that are `renamed` new names, there and in its subgraphs.

        `outer`: new names, by old ones, of what the scope sees from outside.
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
