"""Run `qacomp merge`: join the parts of a large model that `qacomp compress --part` has made."""

from pathlib import Path

import click

from qacomp.cli.console import print_json
from qacomp.cli.options import INPUT, OUTPUT, force_option, reporting
from qacomp.cli.progress import make_progress
from qacomp.cli.streams import echo


@click.command("merge", short_help="Join the parts of a large model into one .qac file.")
@click.argument("parts", type=INPUT, nargs=-1, required=True)
@click.option("-o", "--output", type=OUTPUT, required=True, help="The container to write.")
@click.option(
    "--shard-size", default=None, metavar="SIZE", help="Write several files of at most this size, such as 2GB."
)
@force_option
@reporting
def merge_command(parts: tuple[Path, ...], output: Path, shard_size: str | None, force: bool, as_json: bool) -> None:
    """Join PARTS, in any order, into the file that one run over the whole model would have written.

    \b
    qacomp compress FOLDER --part 1/2 -o part1.qac
    qacomp compress FOLDER --part 2/2 -o part2.qac
    qacomp merge part1.qac part2.qac -o model.qac
    """
    from qacomp.merge import merge

    done = merge(parts, output, shard_size=shard_size, force=force, progress=make_progress(as_json))
    if as_json:
        print_json(done.to_json())
    else:
        echo(f"{done.output}: {done.bytes:,} bytes, {done.tensors:,} tensors of {done.parts:,} parts")
