"""`bench results pack | import`: records that are handed in, and taken."""

from functools import partial
from pathlib import Path

import click

from bench.commands import options
from bench.words import counted


@click.command("pack")
@click.argument("path", type=options.PLACE)
@click.option(
    "-o",
    "--output",
    type=options.PLACE,
    default=Path("records.tar.gz"),
    show_default=True,
    help="Archive to write.",
)
@options.root(existing=True)
def pack(path: Path, output: Path, root: Path | None) -> None:
    """Write the records at PATH to one archive, to hand them in.

    The records are verified first, as by `bench results verify`. The archive holds the records, the
    transcripts of language models, and a manifest with the sha256 of each file. The same records give the
    same bytes.

    \b
    Example:
      bench results pack runs -o records.tar.gz
    """
    from bench.report.archive import pack as write
    from bench.report.verify import faults_at

    n = write(path, output, partial(faults_at, root=root))
    click.echo(f"wrote {output}: {counted(n, 'record')}", err=True)


@click.command("import")
@click.argument("archive", type=options.PLACE)
@options.results("Folder that the records go to.")
@click.option("--replace", is_flag=True, help="Replace the records that differ from those of the archive.")
@options.root(existing=True)
def take(archive: Path, results: Path, replace: bool, root: Path | None) -> None:
    """Put the records of ARCHIVE into the folder --results.

    Every digest and every record is checked first; if one is wrong, nothing is written. A record that is
    there already and differs stays, unless --replace is given; the exit code is then 1. Records of one cell
    are the same if all but the time and the machine of the run agrees.

    \b
    Example:
      bench results import records.tar.gz --results results
    """
    from bench.report.archive import take as put
    from bench.report.verify import faults_at

    found = put(archive, results, partial(faults_at, root=root), replace)
    done = "replaced" if replace else "left as they are (--replace replaces them)"
    click.echo(f"new: {len(found.new)}, same: {len(found.same)}, differing: {len(found.differing)}")
    for name in found.differing:
        click.echo(f"differing: {name}")
    if found.differing:
        click.echo(f"the differing records were {done}", err=True)
        raise SystemExit(0 if replace else 1)
