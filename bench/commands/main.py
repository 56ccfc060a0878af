"""`bench`: the group of all commands. Each is found in its own file when it is asked for."""

from importlib import import_module
from typing import Any, ClassVar

import click

from bench import __version__
from bench.errors import UserError

EPILOG = """\b
Examples
  bench run --methods zip,blackvip --budget 5000      the mini suite, no download needed
  bench run --methods all --seeds 1,2,3 --dry-run     what would run, and what is done already
  bench run --methods zip --set zip.rank=1,2,5        one row for each value
  bench table few-shot                                the table of what has run
  bench plot curves                                   accuracy against queries
"""


class Commands(click.Group):
    """Turns a UserError into one line and exit code 2; finds the commands of other files when asked."""

    # name -> (module, attribute, help): loaded on use, so that tables import no torch and --help nothing
    LAZY: ClassVar = {
        "run": ("run", "run", "Run every cell that is not done yet."),
        "data": ("data", "data", "Data sets on disk: list, verify, get."),
        "table": ("report", "table", "The papers' tables, from records and from the papers."),
        "plot": ("report", "plot", "Pictures: accuracy against queries and others."),
        "audit": ("report", "audit", "Recompute every average the papers print."),
        "leaderboard": ("report", "leaderboard", "One static page of all results."),
        "results": ("report", "results", "Verify and export records."),
        "check": ("method", "check", "Check a method against the contract, in a minute."),
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

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(2)


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """The reference benchmark for black-box prompt tuning of vision-language models.

    One query is one call of the model: one prompt on one batch of images. Methods are files in methods/,
    data sets cards in datasets/, results JSON records, one per cell (method x data set x seed x budget).
    """
