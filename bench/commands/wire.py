"""The options of a model behind an address, and the dollars that a run agrees on."""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.commands import options
from bench.errors import UserError
from bench.remote import DIALECTS, Wiring, is_address
from bench.words import counted

if TYPE_CHECKING:
    from bench.bill import Bill
    from bench.lab import Lab
    from bench.remote import Endpoint
    from bench.resolve import Resolved

ANSWERS = ".answers.sqlite"  # beside the records: what was paid for

wire = options.stack(
    [
        click.option(
            "--dialect",
            type=click.Choice(DIALECTS),
            help="How an endpoint is asked: oip (Open Inference Protocol v2), hf (Hugging Face's zero-shot "
            "image classification), rank (CLIP-API-service) or chat (an OpenAI-compatible vision chat, "
            "which answers with the label alone).",
        ),
        click.option("--fresh", is_flag=True, help="Ask an endpoint anew for what earlier runs paid for."),
        click.option(
            "--spend",
            type=click.FloatRange(0),
            metavar="DOLLARS",
            help="What the runs of this results folder may cost together, at the endpoint's declared price; "
            "no call is made that would pass it. What earlier runs have paid counts.",
        ),
    ]
)


def wiring_of(results: Path, fresh: bool, spend: float | None) -> Wiring:
    """How an endpoint is asked in this run."""
    return Wiring(str((results / ANSWERS).resolve()), uuid.uuid4().hex, fresh, spend)


def endpoint_given(
    backbone: str | None, dialect: str | None, wiring: Wiring, offline: bool
) -> "Endpoint | None":
    """The endpoint that --backbone names, if it names one. Raises UserError."""
    if not is_address(backbone):
        if dialect:
            raise UserError(f"--dialect {dialect} needs an address: --backbone http://127.0.0.1:8765/rank.")
        return None
    if offline:
        raise UserError("--offline uses no network, and --backbone is an address: leave one of them out.")
    from bench.wire.connect import endpoint

    assert backbone is not None
    found = endpoint(backbone, dialect)
    if wiring.spend is not None and found.price is None:
        raise UserError(f"--spend needs the price of {found.url}: declare it in a file (docs/serve.md).")
    return found


def echo_dollars(todo: "Sequence[Resolved]", lab: "Lab | None") -> None:
    """Print what these cells may cost, and what leaves the machine."""
    if lab is None or not (asking := [one.endpoint for one in todo if one.endpoint is not None]):
        return
    from bench.bill import bill

    found = bill(todo, lab)
    assert found is not None
    click.echo(f"images and class names leave this machine: they go to {asking[0].url}")
    for name, part in (("tuning", found.tuning), ("scoring", found.scoring)):
        dollars = f", ${found.dollars(part):,.2f}" if found.price else ""
        tokens = f" and {counted(sum(part.tokens), 'token')}" if any(part.tokens) else ""
        most = f"{counted(part.images, 'image')} in {counted(part.requests, 'request')}"
        click.echo(f"{name}: at most {most}{tokens}{dollars}")
    if found.price:
        click.echo(f"at most ${found.total:,.2f} at the prices of {found.price.date}")
    else:
        click.echo("no price is declared: dollars are not counted")


def agree_on_dollars(todo: "Sequence[Resolved]", lab: "Lab", wiring: Wiring) -> None:
    """Print the bill. Raises UserError if the run costs dollars and nobody said how many it may."""
    from bench.bill import bill

    echo_dollars(todo, lab)
    found = bill(todo, lab)
    if found is None or not found.total > 0:
        return
    paid = paid_before(wiring)
    if paid:
        left = "" if wiring.spend is None else f"; ${max(wiring.spend - paid, 0):,.4f} of --spend are left"
        click.echo(f"earlier runs of this results folder have paid ${paid:,.4f}{left}")
    if wiring.spend is None:
        most = paid + found.total
        before = f", and ${paid:,.2f} are paid" if paid else ""
        raise UserError(f"this run may cost ${found.total:,.2f}{before}: add --spend {most:.2f} or less.")
    fewer = any(one.cell.score == "test" for one in todo)
    leave_some_for_queries(found, wiring.spend, paid, "give more, or --score val" if fewer else "give more")


def leave_some_for_queries(found: "Bill", spend: float, paid: float, advice: str) -> None:
    """Warn if scoring the untuned prompts takes the dollars of --spend. Raises UserError if none are left.

    Answers that earlier runs have paid for cost nothing, so after these it only warns.
    """
    first = [found.dollars(part) for part in found.untuned]
    if not first or sum(first) < spend - paid:
        return
    said = f"--spend {spend:g} is little: before its first query, each data set's untuned prompt is scored"
    cost = f"which costs ${sum(first):,.4f} for {counted(len(first), 'data set')}"
    if not paid and min(first) >= spend:
        raise UserError(f"{said}, {cost}, so nothing would be left for queries: {advice}.")
    click.echo(f"warning: {said}, {cost} unless earlier runs paid for it: {advice}.", err=True)


def paid_before(wiring: Wiring) -> float:
    """Dollars that earlier runs of the same store have paid. Raises UserError."""
    from bench.wire.store import Answers

    answers = Answers(wiring.store)
    try:
        return answers.paid()
    finally:
        answers.close()
