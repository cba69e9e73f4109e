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
    from qacomp.formats import open_file

    with open_file(container) as opened:
        tensors = [opened.info(name) for name in opened.names]
        meta, size, version = opened.meta, opened.size, opened.version
        graph = opened.graph()
        sections = list(opened.sections)
    if as_json:
        rows = [
            {
                "name": t.name,
                "shape": list(t.shape),
                "dtype": str(t.dtype),
                "k": t.k,
                "codec": t.codec,
                "bytes": t.bytes,
                "entropy_bits_per_weight": t.entropy_bits,
            }
            for t in tensors
        ]
        document = {"file": str(container), "version": str(version), "container_bytes": size, "meta": meta}
        print_json(document | {"graph": graph is not None, "sections": [str(s) for s in sections], "tensors": rows})
        return
    rows_text = []
    for t in tensors:
        shape = "×".join(map(str, t.shape)) or "scalar"
        values = max(1, _product(t.shape))
        k = "–" if t.k is None else str(t.k)
        rows_text.append(
            [
                t.name,
                shape,
                str(t.dtype),
                k,
                t.codec,
                count(t.bytes),
                figure(8 * t.bytes / values),
                figure(t.entropy_bits),
            ]
        )
    print_table(rows_text, ["tensor", "shape", "dtype", "K", "codec", "bytes", "bits/value", "entropy"])
    click.echo(f"{container}: version {version}, {size:,} bytes, graph {'yes' if graph is not None else 'no'}")
    for key in ("arch", "data", "accuracy", "source"):
        if meta.get(key) is not None:
            click.echo(f"{key}: {meta[key]}")
    if "settings" in meta:
        click.echo("\nsettings (qacomp compress --config):\n" + str(meta["settings"]))


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total
