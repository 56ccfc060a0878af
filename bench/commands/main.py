"""`bench`: the group of all commands. A command's file is imported only when the command is used."""

import errno
import io
import signal
import sys
import warnings
from importlib import import_module
from typing import Any, ClassVar

import click

from bench import __version__
from bench.errors import UserError
from bench.files import reason, shown

LONGEST = 1500  # letters of a line of a message: it may quote what the user gave

EPILOG = """\b
Examples
  bench run --methods zip,blackvip --budget 5000      run two methods on the mini suite; no download
  bench run --methods all --seeds 1,2,3 --dry-run     print what would run and what is done; run nothing
  bench run --methods zip --set zip.rank=1,2,5        run one method with three values of a parameter
  bench table few-shot                                print the table of the records in runs/
  bench plot curves                                   draw accuracy against queries
  bench COMMAND --help                                show the options and examples of one command
"""


class Commands(click.Group):
    """The group: imports a command when it is used, and prints a UserError as one line with exit code 2."""

    # name -> (module, attribute, help). Commands are imported on use: `bench table` needs no torch, and
    # `bench --help` needs none of them.
    LAZY: ClassVar = {
        "run": ("run", "run", "Run every cell that has no record yet, and print the table."),
        "data": ("data", "data", "List, download and verify data sets."),
        "table": ("report", "table", "Print a table: accuracies, ranks, query efficiency and others."),
        "plot": ("report", "plot", "Draw a picture: accuracy against queries, and others."),
        "audit": ("report", "audit", "Recompute every average that the papers print."),
        "leaderboard": ("report", "leaderboard", "Write one web page with all results."),
        "serve": ("serve", "serve", "Serve a model as a prediction API, metered and with faults."),
        "results": ("results", "results", "Verify, show, export, pack, import or publish records."),
        "check": ("method", "check", "Check that a method keeps the contract (about a minute)."),
        "new-dataset": ("data", "new_dataset", "Write the card of a folder of your own images."),
        "new-method": ("method", "new_method", "Write a starting file for a method of your own."),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.LAZY)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.LAZY:
            return None
        module, attribute, _ = self.LAZY[name]
        command: click.Command = getattr(import_module(f"bench.commands.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.LAZY[name][2]) for name in self.list_commands(ctx)])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """As click's, but a warning is one line, and a letter that a stream cannot print is escaped."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        with warnings.catch_warnings():
            warnings.showwarning = _say
            return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("stopped by SIGINT", err=True)
            ctx.exit(128 + signal.SIGINT)
        except UserError as error:
            lines = [shown(line) for line in str(error).splitlines()]
            short = [line if len(line) <= LONGEST else f"{line[:LONGEST]}..." for line in lines]
            click.echo("Error: " + "\n".join(short), err=True)
        except OSError as error:  # from a place that nobody thought of
            if error.errno == errno.EPIPE:  # `bench table | head`: click knows what to do
                raise
            place = f"{shown(error.filename)}: " if error.filename else ""
            click.echo(f"Error: {place}{reason(error)}.", err=True)
        ctx.exit(2)


def _say(message: Warning | str, *where: Any, **more: Any) -> None:
    """A warning as one line on standard error, without the place in our code that it comes from."""
    click.echo(f"warning: {' '.join(str(message).split())}", err=True)


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """The reference benchmark for black-box prompt tuning of vision-language models.

    One query is one call of the model: one prompt on one batch of images. A method is a file in methods/, and
    a data set is a card in datasets/. A cell is one method on one data set with one seed and one budget; each
    cell leaves one record, a JSON file.
    """
