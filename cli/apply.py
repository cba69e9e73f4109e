"""Run `qacomp apply`: make a new container of an old one and its deltas."""

from pathlib import Path

import click

from qacomp.cli.console import print_json
from qacomp.cli.options import INPUT, OUTPUT, force_option, reporting
from qacomp.cli.progress import make_progress
from qacomp.cli.streams import echo


@click.command("apply", short_help="Update a .qac file by deltas.")
@click.argument("old", type=INPUT)
@click.argument("deltas", type=INPUT, nargs=-1, required=True)
@click.option("-o", "--output", type=OUTPUT, required=True, help="The container to write.")
@force_option
@reporting
def apply_command(old: Path, deltas: tuple[Path, ...], output: Path, force: bool, as_json: bool) -> None:
    """Apply DELTAS to OLD, in the order in which they were made. Doesn't need torch.

    The file has the very bytes of the container that the last delta was made for. It isn't written if a delta was made
    from another file, or is damaged.

    Instead of DELTAS the URL of the new container can be given: then only the sections are fetched that OLD lacks.

    \b
    qacomp apply v1.qac v1-v2.qacd v2-v3.qacd -o v3.qac
    qacomp apply v1.qac https://example.org/v3.qac -o v3.qac
    """
    from qacomp.updates import apply

    done = apply(old, deltas, output, force=force, progress=make_progress(as_json))
    if as_json:
        print_json(done.to_json())
    elif not done.deltas:
        echo(f"{done.output}: {done.bytes:,} bytes, of which {done.delta_bytes:,} were fetched; all digests are right")
    else:
        many = "1 delta" if done.deltas == 1 else f"{done.deltas} deltas"
        echo(f"{done.output}: {done.bytes:,} bytes, from {many} of {done.delta_bytes:,}; its digest is right")
