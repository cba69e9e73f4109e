"""Write the original ONNX model of a container with weights as look-ups or affine integers. Doesn't need torch."""

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
    """Write the model at a level (None: the finest in the file) in the requested form, and verify its weights.

    With look-ups no shared weight is ever dense in memory, so memory is that of the written file; other forms need the
    memory of the dense model. Raises as `write_onnx_file` does, and FormatError if the graph doesn't fit the tensors.
    """
    graph, source = container.graph(), container.source
    assert graph is not None
    model = parse(graph, source)
    weights, others = StoredWeights(container, _value_names(model), level), []
    for site, name, field in references(model, source):
        if options.mode != "lut" or not _is_value(site) or not weights.is_shared(site.value):
            fill(site.tensor, container.tensor(name, level=level), field, source)
        if not _is_value(site) and container.info(name).k is not None:
            others.append(f"{name}: dense, since {type_name(site.tensor)} has no look-up and no affine form")

    def write_dense(path: Path) -> int:
        return sum(file.stat().st_size for file in write_original(container, path, level))

    written = write_onnx_file(model, weights, output, options, write_dense=write_dense)
    return written if options.mode == "dense" else replace(written, notes=(*written.notes, *others))


def _value_names(model: ModelProto) -> dict[str, str]:
    """Map the names of the model's values that are references to names in the container.

    Values that have the same name in several subgraphs or functions are renamed first. Left out are tensors in
    attributes and training graphs, and those whose element type numpy lacks.
    """
    named = {(id(s.scope), s.value): (s, name) for s in sites(model) if _is_value(s) and (name := reference(s.tensor))}
    make_distinct(model, {value for _, value in named}, {key: name for key, (_, name) in named.items()})
    return {s.value: name for s in sites(model) if _is_value(s) and (name := reference(s.tensor))}


def _is_value(site: Site) -> bool:
    """Return whether nodes read the tensor by a name, and numpy has its element type."""
    named = site.kind in ("initializer", "constant") and site.scope is not None and site.value
    return bool(named) and site.tensor.data_type in DTYPES and DTYPES[site.tensor.data_type] != BFLOAT16
