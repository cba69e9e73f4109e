"""The model card of a container in CycloneDX: architecture, data, and the figures that were measured."""

from collections.abc import Iterator, Mapping
from typing import Any

from qacomp.bom.properties import properties, text
from qacomp.evaluation.verdict import stated_verdict


def model_card(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `modelCard` of a container's component: what its metadata tell, and nothing else; maybe empty."""
    card: dict[str, Any] = {}
    if parameters := _parameters(meta):
        card["modelParameters"] = parameters
    if measured := [{"type": kind, "value": text(value)} for kind, value in _figures(meta)]:
        card["quantitativeAnalysis"] = {"performanceMetrics": measured}
    if (verdict := stated_verdict(meta)) is not None:
        advice = verdict.advice or None
        facts = [("verdict", verdict.word), *(("verdict-reason", reason) for reason in verdict.reasons)]
        card["properties"] = properties([*facts, ("verdict-advice", advice)])
    return card


def _parameters(meta: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if _top1(meta):  # the file names no task, but only classes have a top-1 accuracy
        found["task"] = "classification"
    if isinstance(arch := meta.get("arch"), str):
        found["modelArchitecture"] = arch
    if isinstance(data := meta.get("data"), str):
        found["datasets"] = [{"type": "dataset", "name": data}]
    return found


def _top1(meta: Mapping[str, Any]) -> dict[str, Any]:
    table = meta.get("accuracy")
    return {name: value for name, value in (table or {}).items() if value is not None}


def _figures(meta: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (what it is, value) of each figure in the metadata, whose types were checked when they were read."""
    for stage, value in _top1(meta).items():
        yield f"top-1 accuracy, percent: {stage}", value
    metric = meta.get("metric") or {}
    for stage in ("original", "decoded"):
        if metric.get(stage) is not None:
            yield f"{metric.get('name') or 'metric'}: {stage}", metric[stage]
    for name, point in (meta.get("submodels") or {}).items():
        for kind, words in (("accuracy", "top-1 accuracy, percent"), ("macs", "multiply-accumulates of one example")):
            if point.get(kind) is not None:
                yield f"{words}: sub-model {name}", point[kind]
    cosine = (meta.get("agreement") or {}).get("cosine")
    if cosine is not None:
        yield "cosine of the outputs with the original's", cosine
