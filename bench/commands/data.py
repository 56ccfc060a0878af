"""`bench data list | verify | get`."""

from pathlib import Path

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from bench.commands import options
from bench.data.card import SPLITS, Card, Download, card_names, load_card
from bench.errors import UserError
from bench.paths import data_root
from bench.plugins import DATASETS
from bench.words import counted

_root = click.option(
    "--root",
    type=options.PLACE,
    help="Folder of the data sets. Default: $BENCH_DATA, else ./data.",
)


@click.group()
def data() -> None:
    """List, download and verify data sets.

    The mini suite's data sets are part of the package and need no download.

    \b
    Examples:
      bench data list
      bench data get dtd --root DATA
      bench data verify dtd --root DATA
    """


@data.command("list")
@_root
def list_(root: Path | None) -> None:
    """Show every data set and whether it is ready.

    The counts are images of train, validation and test. `lacks X` says that the folder or file X is missing.

    \b
    Example:
      bench data list --root DATA
    """
    from bench.data.inspection import missing

    root = root or data_root()
    table = Table(title=f"Data sets in {root}", box=None)
    for head in ("data set", "classes", "train/val/test"):
        table.add_column(head, no_wrap=True)
    table.add_column("state", overflow="fold")
    for name in card_names():
        try:
            card = load_card(name)
        except UserError as error:
            table.add_row(name, "", "", f"broken card: {error}")
            continue
        lacking = missing(card, root)
        state = f"lacks {lacking}" if lacking else "built in" if card.layout is None else "ready"
        counts = "/".join(str(getattr(card.images, split)) for split in SPLITS)
        table.add_row(name, str(card.n_classes), counts, state)
    for name, why in DATASETS.clashes().items():
        table.add_row(name, "", "", why)
    Console().print(table)


@data.command()
@click.argument("name")
@_root
def verify(name: str, root: Path | None) -> None:
    """Compare a data set on disk with its card.

    NAME is the name of a card in datasets/. This command checks the counts, the classes and the split file's
    checksum, and decodes every image. Exit code 1 if there is a problem; each problem is one line.

    \b
    Example:
      bench data verify dtd --root DATA
    """
    from bench.data.inspection import inspect

    card, console = load_card(name), Console()
    if card.layout is None:
        _verify_rendered(card)
        return
    with Progress(
        TextColumn(card.title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    ) as bar:
        task = bar.add_task("", total=None)
        report = inspect(
            card, root or data_root(), lambda done, total: bar.update(task, completed=done, total=total)
        )
    for split, count in report.counts.items():
        unconfirmed = " (no published count to compare with)" if split in card.images.unconfirmed else ""
        console.print(f"{split:5} {count:9,} images{unconfirmed}")
    console.print(
        f"{counted(report.classes, 'class')}, {counted(report.decoded, 'image')} decoded", highlight=False
    )
    for problem in report.problems[:50]:
        console.print(f"- {problem}", highlight=False, markup=False, soft_wrap=True)
    for double in report.doubles:  # published data sets have some, so this is no problem of the copy
        console.print(f"note: {double}.", highlight=False, markup=False, soft_wrap=True)
    if report.problems:
        raise click.ClickException(f"{card.title}: {counted(len(report.problems), 'problem')}.")
    console.print(f"{card.title} is as its card says.")


def _verify_rendered(card: Card) -> None:
    """Render the data set and print its counts. Raises UserError if they contradict the card."""
    from bench.data.dataset import open_dataset

    split = open_dataset(card, Path()).split
    counts = ", ".join(f"{len(getattr(split, part)):,} {part}" for part in SPLITS)
    Console().print(f"{card.title} is built in and as its card says: {counts} images.", highlight=False)


@data.command()
@click.argument("name")
@_root
def get(name: str, root: Path | None) -> None:
    """Download a data set, or print what you have to do.

    NAME is the name of a card in datasets/. Files with a stable link and a known checksum are downloaded and
    unpacked; for the others, the steps are printed. An interrupted download continues when you run the
    command again.

    \b
    Example:
      bench data get svhn --root DATA
    """
    card, root, console = load_card(name), root or data_root(), Console()
    if card.layout is None:
        console.print(f"{card.title} is built in: there is nothing to download.")
        return
    console.print(f"{card.title}: {card.licence}", highlight=False, soft_wrap=True)
    failed = [d.what for d in card.download if d.automatic and not _fetch(d, root, console)]
    by_hand = [download for download in card.download if not download.automatic]
    if by_hand:
        console.print("Please do these steps yourself:")
    for number, download in enumerate(by_hand, 1):
        console.print(
            f"{number}. {_instruction(download, root)}", highlight=False, markup=False, soft_wrap=True
        )
    console.print(f"Then: bench data verify {name}", highlight=False)
    if failed:
        raise click.ClickException(
            f"{card.title}: not downloaded: {', '.join(failed)}. Run the command again."
        )


def _instruction(download: Download, root: Path) -> str:
    act = f"Unpack it into {root / download.to}" if download.unpack else f"Put it into {root / download.to}"
    check = f" Its sha256 is {download.sha256}." if download.sha256 else ""
    return f"Get the {download.what} from {download.url}. {download.manual or act + '.'}{check}"


def _fetch(download: Download, root: Path, console: Console) -> bool:
    """Download one file and unpack it. Returns False if that failed, after it has printed the reason."""
    from bench.data.download import fetch

    with Progress(
        TextColumn(download.what), BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console
    ) as bar:
        task = bar.add_task("", total=None)
        try:
            into = fetch(
                download, root, lambda done, total: bar.update(task, completed=done, total=total or None)
            )
        except UserError as error:
            console.print(f"- {error}", highlight=False, markup=False, soft_wrap=True)
            return False
    console.print(f"{download.what}: in {into}", highlight=False)
    return True
