"""`qacomp inspect`: what is in a container, without decoding its weights."""

from pathlib import Path

import click

from qacomp.cli.console import count, figure, print_json, print_table
from qacomp.cli.options import INPUT, reporting


@click.command("inspect", short_help="Show what a .qac file holds.")
@click.argument("container", type=INPUT)
@reporting
def inspect_command(container: Path, as_json: bool) -> None:
    """Tensors, codecs, sizes, provenance and the settings that made CONTAINER."""
    from dataclasses import asdict

    from qacomp.formats import open_file

    with open_file(container) as opened:
        tensors = [opened.info(name) for name in opened.names]
        meta, size, version = opened.meta, opened.size, opened.version
        sections = opened.sections
        graph_bytes = sum(section.bytes for section in sections if section.kind == "graph")
    if as_json:
        document = {
            "file": str(container),
            "version": ".".join(map(str, version)),
            "container_bytes": size,
            "meta": meta,
        }
        document |= {
            "graph_bytes": graph_bytes,
            "sections": [asdict(s) for s in sections],
            "tensors": [asdict(t) for t in tensors],
        }
        print_json(document)
        return
    rows = []
    for t in tensors:
        k = "–" if t.k is None else "/".join(map(str, t.levels or (t.k,)))
        if t.blocks is not None:
            k += " in blocks of " + "×".join(map(str, t.blocks))
        shape = "×".join(map(str, t.shape)) or "scalar"
        rows.append([t.name, shape, t.stored_dtype, k, t.codec, count(t.bytes), figure(t.bits_per_weight)])
    print_table(rows, ["tensor", "shape", "stored as", "K", "codec", "bytes", "bits/value"])
    click.echo(f"{container}: version {'.'.join(map(str, version))}, {size:,} bytes, of which graph {graph_bytes:,}")
    for key in ("arch", "data", "accuracy", "source"):
        if meta.get(key) is not None:
            click.echo(f"{key}: {meta[key]}")
    if "settings" in meta:
        click.echo("\nsettings (qacomp compress --config):\n" + str(meta["settings"]))
