"""Raise a model's default opset if new tensors need it, without other changes if possible."""

from __future__ import annotations

import onnx
from onnx import helper

from qacomp.graphs.constants import default_opset
from qacomp.graphs.walk import nodes
from qacomp.runtime.session import converted_model

_CHANGED_MEANING = {"GroupNormalization"}  # since opset 21 scale and bias are per channel, with the same names


def raise_opset(model: onnx.ModelProto, version: int) -> bool:
    """Raise `model`, in place, to at least opset `version`; return False, without a change, if that isn't possible.

    If every operator means the same in both versions, only the number changes. Otherwise onnx's version converter
    rewrites the main graph. The IR version is raised too.
    """
    current = default_opset(model)
    if current < version:
        if model.functions or not current:
            return False
        if not _unchanged(model, current, version) and not _converted(model, version):
            return False
        for entry in model.opset_import:
            if entry.domain in ("", "ai.onnx"):
                entry.version = version
    wanted = helper.find_min_ir_version_for([helper.make_opsetid("", version)])
    model.ir_version = max(model.ir_version, wanted)
    return True


def _unchanged(model: onnx.ModelProto, current: int, version: int) -> bool:
    kinds = {n.op_type for n in nodes(model.graph) if n.domain in ("", "ai.onnx")}
    return all(_same_meaning(kind, current, version) for kind in kinds)


def _same_meaning(kind: str, current: int, version: int) -> bool:
    """Return whether a newer operator differs only by more types, new attributes, or new inputs at the end."""
    try:
        old, new = onnx.defs.get_schema(kind, current), onnx.defs.get_schema(kind, version)
    except onnx.defs.SchemaError:
        return False
    if old.since_version == new.since_version:
        return True
    if new.deprecated or kind in _CHANGED_MEANING:
        return False
    same_inputs = [i.name for i in old.inputs] == [i.name for i in new.inputs][: len(old.inputs)]
    same_outputs = [o.name for o in old.outputs] == [o.name for o in new.outputs]
    kept = all(
        name in new.attributes and a.default_value == new.attributes[name].default_value
        for name, a in old.attributes.items()
    )
    added = [a for name, a in new.attributes.items() if name not in old.attributes]
    return same_inputs and same_outputs and kept and not any(a.required for a in added)


def _converted(model: onnx.ModelProto, version: int) -> bool:
    try:
        converted = onnx.ModelProto.FromString(converted_model(model.SerializeToString(), version))
    except Exception:  # the converter and protobuf may raise anything
        return False
    model.graph.CopyFrom(converted.graph)  # the model's own metadata and functions stay
    return True
