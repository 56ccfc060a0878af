"""`bench data list | verify | get`, and `bench new-dataset`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from bench.data.draft import Wish, draft, suggested
from bench.errors import UserError
from bench.paths import data_root
from bench.plugins import DATASETS
from bench.words import counted


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
@options.root()
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
@options.root()
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
    with _images_bar(card.title, console) as progress:
        report = inspect(card, root or data_root(), progress)
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


@contextmanager
def _images_bar(title: str, console: Console) -> Iterator[Callable[[int, int], None]]:
    """A progress bar of images; its function gets the images done and the images in all."""
    with Progress(
        TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    ) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _verify_rendered(card: Card) -> None:
    """Render the data set and print its counts. Raises UserError if they contradict the card."""
    from bench.data.dataset import open_dataset

    split = open_dataset(card, Path()).split
    counts = ", ".join(f"{len(getattr(split, part)):,} {part}" for part in SPLITS)
    Console().print(f"{card.title} is built in and as its card says: {counts} images.", highlight=False)


@data.command()
@click.argument("name")
@options.root()
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


@click.command("new-dataset")
@click.argument("folder", type=options.PLACE)
@click.option("--name", help="Name of the data set. Default: the folder's, in small letters.")
@click.option(
    "--template",
    default=Wish.template,
    show_default=True,
    help="The hand prompt, with {} for the class name.",
)
@click.option("--title", default="", help="Title of the data set. Default: the folder's name.")
@click.option("--licence", default=Wish.licence, show_default=True, help="Licence of the images.")
@options.root()
def new_dataset(
    folder: Path, name: str | None, template: str, title: str, licence: str, root: Path | None
) -> None:
    """Write the card of a FOLDER of your own images.

    FOLDER holds one folder for each class. Its images are divided once: half of each class to train on, a
    fifth to validate, the rest to test. If FOLDER holds the folders train and test (and val) instead, with
    the classes in them, that division is kept. The division is written to a split file, and the card names
    the file's sha256. A class is called as its folder, with blanks for underscores. Notes say what was
    skipped, such as files that are no images.

    The card goes to $BENCH_DATASETS, else ./datasets. Images outside the data folder stay where they are; a
    link in the data folder leads to them. Every image is decoded once.

    \b
    Example:
      bench new-dataset photos/mushrooms --template "a photo of a {}, a fungus."
      bench run --datasets mushrooms
    """
    console = Console()
    wish = Wish(folder, name or suggested(folder), template, title, licence)
    with _images_bar(wish.name, console) as progress:
        made = draft(wish, root or data_root(), progress)
    counts = ", ".join(f"{getattr(made.card.images, split):,} {split}" for split in SPLITS)
    console.print(f"{counted(made.card.n_classes, 'class')}; images: {counts}", highlight=False)
    for left_out in made.skipped:
        console.print(f"note: {left_out}.", highlight=False, markup=False, soft_wrap=True)
    for double in made.findings.doubles:
        console.print(f"note: {double}.", highlight=False, markup=False, soft_wrap=True)
    console.print(f"wrote {made.path}", highlight=False, soft_wrap=True)
    where = f" --root {root}" if root else ""
    console.print(f"next: bench run --datasets {wish.name}{where}", highlight=False, soft_wrap=True)
