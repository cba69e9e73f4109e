"""The ONNX model that a container gives back, with its weights looked up or as affine integers. Needs no torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from onnx import ModelProto

from qacomp.exporting.onnx_forms.weights import StoredWeights
from qacomp.exporting.onnx_options import OnnxOptions, WrittenOnnx
from qacomp.exporting.onnx_output import write_onnx_file
from qacomp.exporting.original_onnx import write_original
from qacomp.formats import BFLOAT16, Container
from qacomp.graphs.scopes import make_distinct
from qacomp.graphs.skeleton import fill, parse, reference, references
from qacomp.graphs.values import DTYPES, type_name
from qacomp.graphs.walk import Site, sites


def write_converted(container: Container, output: Path, level: int | None, options: OnnxOptions) -> WrittenOnnx:
    """Write the model at a level (None: the finest that is there) in the form that the options ask for, and prove it.

    Looked up, no weight is ever dense in the model, so that it takes the memory of what is written; the other forms
    take the dense model's. Raises as `write_onnx_file` does, and FormatError for a graph that doesn't fit the tensors.
    """
    graph, source = container.graph(), container.source
    assert graph is not None
    model = parse(graph, source)
    weights, others = StoredWeights(container, _value_names(model), level), []
    for site, name, field in references(model, source):
        if options.mode != "lut" or not _is_value(site) or not weights.is_shared(site.value):
            fill(site.tensor, container.tensor(name, level=level), field, source)
        if not _is_value(site) and container.info(name).k is not None:
            others.append(f"{name}: dense, {type_name(site.tensor)} is neither looked up nor turned")

    def write_dense(path: Path) -> int:
        return sum(file.stat().st_size for file in write_original(container, path, level))

    written = write_onnx_file(model, weights, output, options, write_dense=write_dense)
    return written if options.mode == "dense" else replace(written, notes=(*written.notes, *others))


def _value_names(model: ModelProto) -> dict[str, str]:
    """Return the container's names of the model's references by the names of their values, which no other value has.

    Values of one name in several subgraphs or functions are renamed for that. Tensors of element types that numpy
    lacks, in attributes and in training graphs are left out.
    """
    named = {(id(s.scope), s.value): (s, name) for s in sites(model) if _is_value(s) and (name := reference(s.tensor))}
    make_distinct(model, {value for _, value in named}, {key: name for key, (_, name) in named.items()})
    return {s.value: name for s in sites(model) if _is_value(s) and (name := reference(s.tensor))}


def _is_value(site: Site) -> bool:
    """Return whether nodes read the tensor under a name, as an array of numpy's."""
    named = site.kind in ("initializer", "constant") and site.scope is not None and site.value
    return bool(named) and site.tensor.data_type in DTYPES and DTYPES[site.tensor.data_type] != BFLOAT16
