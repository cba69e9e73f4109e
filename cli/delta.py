"""Run `qacomp delta`: write the small file that makes a new container of an old one."""

from pathlib import Path

import click

from qacomp.cli.console import print_json
from qacomp.cli.options import INPUT, OUTPUT, force_option, reporting
from qacomp.cli.progress import make_progress
from qacomp.cli.streams import echo


@click.command("delta", short_help="Write the update that makes one .qac file of another.")
@click.argument("old", type=INPUT)
@click.argument("new", type=INPUT)
@click.option("-o", "--output", type=OUTPUT, required=True, help="The delta to write, such as update.qacd.")
@force_option
@reporting
def delta_command(old: Path, new: Path, output: Path, force: bool, as_json: bool) -> None:
    """Write what makes NEW of OLD, which `qacomp apply` does exactly. Doesn't need torch.

    \b
    qacomp compress tuned.pt --base old.qac -o new.qac   # stays near old.qac
    qacomp delta old.qac new.qac -o update.qacd
    qacomp apply old.qac update.qacd -o new.qac
    """
    from qacomp.updates import delta

    made = delta(old, new, output, force=force, progress=make_progress(as_json))
    if as_json:
        print_json(made.to_json())
        return
    echo(f"{made.output}: {made.bytes:,} bytes, {made.share:.1%} of the {made.new_bytes:,} of {new}")
    echo(f"sections: {made.equal} equal, {made.differences} as differences, {made.whole} whole")
