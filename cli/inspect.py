"""Run `qacomp inspect`: show the contents of a container as a table or as an HTML report."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qacomp.cli.console import count, figure, print_json, print_operating_points, print_verdict
from qacomp.cli.options import INPUT, OUTPUT, force_option, reporting, run_limits
from qacomp.cli.request import taking
from qacomp.cli.settings import SettingsCommand
from qacomp.cli.settings_text import print_settings
from qacomp.cli.shortening import shortened, shown_digest
from qacomp.cli.streams import echo, note, shown_name
from qacomp.cli.table import TableColumn, print_table

if TYPE_CHECKING:
    from qacomp.report import Contents
    from qacomp.report.contents import TensorRow

_TENSORS = (
    TableColumn("tensor", 0, text=True),
    TableColumn("shape", 3),
    TableColumn("role", 8, text=True),
    TableColumn("stored as", 5, text=True),
    TableColumn("K", 2),
    TableColumn("codec", 6, text=True),
    TableColumn("bytes", 1),
    TableColumn("bits/value", 4),
    TableColumn("entropy", 7),
)
_SIZES = (TableColumn("size", 0, text=True), TableColumn("bytes", 1), TableColumn("smaller", 2))


@dataclass(frozen=True)
class InspectRequest:
    """The command line of `inspect`; settings: the value of run_limits."""

    container: Path
    report: Path | None
    no_measure: bool
    toml: bool
    force: bool
    as_json: bool
    settings: dict[str, Any]


@click.command(
    "inspect", cls=SettingsCommand, settings=("run_limits",), basic=(), short_help="Show what a .qac file holds."
)
@click.argument("container", type=INPUT)
@click.option("--report", type=OUTPUT, default=None, help="Also write an HTML report, such as report.html.")
@click.option("--no-measure", is_flag=True, help="Leave ONNX sizes and latency out of the report.")
@click.option("--toml", is_flag=True, help="Print only the settings, as a TOML file for compress --config.")
@force_option
@reporting
@taking(InspectRequest)
def inspect_command(asked: InspectRequest) -> None:
    """Show sizes, tensors, codecs, provenance and settings of CONTAINER. Doesn't need torch.

    Bits per value can be below the order-0 entropy of the indices, because of context coding. The bytes of a section of
    indices are divided among its tensors by the entropy of their indices, those of a section of values by the numbers
    of values.

    --toml prints the settings with which compress makes the same bytes from the same model again. Settings that name a
    file or a function (--data, --metric) are printed as comments; nothing is opened or run.
    """
    from dataclasses import asdict

    from qacomp.evaluation.verdict import stated_verdict
    from qacomp.exporting.operating_points import operating_points
    from qacomp.graphs.metadata import metadata
    from qacomp.outputs import Output, claim
    from qacomp.remote import open_file
    from qacomp.report import gather, write_report
    from qacomp.runtime.limits import limited_runs

    container, report = asked.container, asked.report
    if asked.toml:
        _print_toml(asked)
        return
    if report is not None:
        claim([Output(report, "--report")], [container], force=asked.force)
    contents = gather(container, None)
    if report is not None:
        with limited_runs(run_limits(asked.settings)):
            write_report(report, container, measure=not asked.no_measure)
    with open_file(container) as opened:
        meta, version, sections = metadata(opened), ".".join(map(str, opened.version)), opened.sections
        infos = [opened.info(name) for name in opened.names]
        points, root = operating_points(opened, str(container)), opened.root
    if not asked.as_json:
        _show(container, contents, infos, meta, version)
        echo(f"root: {shown_digest(root)}")
        print_operating_points(points)
        return
    rows = {row.name: row for row in contents.tensors}
    roles = _roles(infos, contents)
    tensors = [asdict(t) | _measured(rows[t.name]) | {"role": roles.get(t.name)} for t in infos]
    document = {
        "file": str(container),
        "version": version,
        "root": root,
        "container_bytes": contents.container_bytes,
        "meta": meta,
    }
    document |= {"source_bytes": contents.source_bytes, "ratio": contents.ratio, "tensors": tensors}
    document |= {"fp32_bytes": contents.fp32_bytes, "fp32_ratio": contents.fp32_ratio}
    document |= {
        "graph_bytes": sum(section.bytes for section in sections if section.kind == "graph"),
        "stages": [{"name": stage.name, "bytes": stage.bytes, **dict(stage.parts)} for stage in contents.stages],
        "sections": [asdict(section) for section in sections],
        "operating_points": [asdict(point) for point in points],
    }
    verdict = stated_verdict(meta)
    document |= {} if verdict is None else verdict.to_json()
    print_json(document)


def _print_toml(asked: InspectRequest) -> None:
    from qacomp.graphs.metadata import metadata
    from qacomp.remote import open_file

    if asked.as_json or asked.report is not None:
        raise click.UsageError("--toml prints the settings only, so it can't be combined with --json or --report")
    with open_file(asked.container) as opened:
        meta = metadata(opened)
    for option in print_settings(asked.container, meta):
        note(f"{option} names a file or a function, so it is a comment in the TOML; give {option} again to compress")


def _show(container: Path, contents: "Contents", infos: list[Any], meta: dict[str, Any], version: str) -> None:
    from qacomp.evaluation.verdict import stated_verdict
    from qacomp.folders.layout import FILES

    rows, roles = [], _roles(infos, contents)
    for t, row in zip(infos, contents.tensors, strict=True):
        k = "–" if t.k is None else "/".join(map(str, t.levels or (t.k,)))
        if t.blocks is not None:
            k += " in blocks of " + "×".join(map(str, t.blocks))
        shape = "×".join(map(str, t.shape)) or "scalar"
        codec = t.codec if t.same_as is None else f"as {shown_name(t.same_as)}"
        rows.append(
            [
                shown_name(t.name),
                shape,
                roles.get(t.name) or "",
                t.stored_dtype,
                k,
                codec,
                count(row.bytes),
                figure(row.bits),
                figure(row.entropy),
            ]
        )
    print_table(_TENSORS, rows)
    stages = [
        [stage.name, count(stage.bytes), figure(contents.source_bytes / max(1, stage.bytes), 1, "×")]
        for stage in contents.stages
    ]
    print_table(_SIZES, stages)
    parts = ", ".join(f"{name} {size:,}" for name, size in contents.stages[-1].parts)
    echo(f"{container}: version {version}, {contents.container_bytes:,} bytes: {parts}")
    if isinstance(folder := meta.get("folder"), dict):
        weights = len(folder.get("weights") or ())
        echo(f"folder: {weights} .safetensors and {sum(t.name.startswith(FILES) for t in infos)} other files")
    for key in ("arch", "data", "accuracy", "source"):
        if meta.get(key) is not None:
            echo(f"{key}: {_in_words(meta[key])}")
    verdict = stated_verdict(meta)
    if verdict is not None:
        print_verdict(verdict, "as the file states it")
    if "settings" in meta:
        echo(f"settings that differ from the defaults (--toml prints all): {_chosen(str(meta['settings']))}")


def _measured(row: "TensorRow") -> dict[str, Any]:
    """Return the entries of a tensor's JSON that only its decoded indices tell."""
    return {"bytes": row.bytes, "bits_per_weight": row.bits, "entropy_bits_per_weight": row.entropy}


def _roles(infos: list[Any], contents: "Contents") -> dict[str, str | None]:
    """Return the role of each tensor by its name, if the container has no graph, whose operators would tell it."""
    from qacomp.folders.layout import FILES
    from qacomp.tensors.name_roles import role_of

    if dict(contents.stages[-1].parts).get("graph"):
        return {}
    return {t.name: None if t.name.startswith(FILES) else role_of(t.name) for t in infos}


def _in_words(value: Any) -> str:
    """Return a dict of metadata as text, such as `original 97.77, shared 97.50`."""
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{k} {f'{v:.2f}' if isinstance(v, float) else shortened(str(v), 40)}" for k, v in value.items())


def _chosen(toml: str) -> str:
    """Return the settings that differ from the defaults, each as `name = value`."""
    import json
    import tomllib

    from qacomp.options.config import CompressConfig

    defaults = tomllib.loads(CompressConfig().to_toml())
    try:
        settings = tomllib.loads(toml)
    except tomllib.TOMLDecodeError:  # another program wrote the container
        return " ".join(toml.split())
    chosen = {name: value for name, value in settings.items() if defaults.get(name) != value}
    return ", ".join(f"{name} = {json.dumps(value, default=str)}" for name, value in chosen.items())
